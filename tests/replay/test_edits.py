"""A user runs a compile on a laptop, edits files, and runs it again. The second run pays only for what is new."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.compiles import LocalRun, run_file

HELPER = "def is_same(example, pred):\n    return example.office == pred.office\n"
PROGRAM = '''from typing import Literal

import dspy
from harbour_helper import is_same


class Sort(dspy.Signature):
    """Say which harbour office handles the radio message."""

    message: str = dspy.InputField()
    office: Literal["berth", "fuel", "repair", "customs"] = dspy.OutputField()


class Sorter(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict(Sort)

    def forward(self, message):
        return self.sort(message=message)


def metric(example, pred, trace=None):
    return is_same(example, pred)
'''
MESSAGES = {
    "a mooring for the night": "berth",
    "diesel for the engine": "fuel",
    "torn mainsail": "repair",
    "stamp our passports": "customs",
    "space at the quay": "berth",
    "top up the tank": "fuel",
    "the propeller is bent": "repair",
    "declare two crates of wine": "customs",
}
NEW = {"message": "engine will not start", "office": "repair"}


def rows(folder: Path, *more: dict[str, str]) -> None:
    data = [{"message": message, "office": office} for message, office in MESSAGES.items()]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (*data, *more)), encoding="utf-8")


def spec(folder: Path, provider: Any, **changes: Any) -> None:
    written = {
        "program": {"entrypoint": "harbour:Sorter"},
        "metric": {"entrypoint": "harbour:metric"},
        "data": {"inputs": ["message"], "train": {"path": "train.jsonl"}},
        "models": {"student": {"model": "openai/small", "endpoint": provider.url}},
        "optimizer": {"bootstrapFewShot": {"maxBootstrappedDemos": 2, "maxLabeledDemos": 2}},
        **changes,
    }
    manifest = {"kind": "DSPyCompilation", "metadata": {"name": "harbour"}, "spec": written}
    (folder / "compilation.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")


def laid_out(folder: Path, provider: Any) -> Path:
    folder.mkdir()
    (folder / "harbour.py").write_text(PROGRAM, encoding="utf-8")
    (folder / "harbour_helper.py").write_text(HELPER, encoding="utf-8")
    rows(folder)
    spec(folder, provider)
    return folder


def replaced(name: str, old: str, new: str) -> Callable[[Path, Any], None]:
    def edit(folder: Path, provider: Any) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return edit


@dataclass(frozen=True)
class Edit:
    """An edit of the user's files.

    Attributes: new: if true, the edit makes new calls necessary.
    """

    make: Callable[[Path, Any], None]
    new: bool = False


EDITS: dict[str, Edit] = {
    "a comment in the program": Edit(replaced("harbour.py", "import dspy", "import dspy  # as ever")),
    "a helper beside the program": Edit(replaced("harbour_helper.py", "return ", "return bool(1) and ")),
    "another metric": Edit(
        replaced("harbour.py", "return is_same(example, pred)", "return pred.office == 'fuel'"), new=True
    ),
    "one more example": Edit(lambda folder, provider: rows(folder, NEW), new=True),
    "another optimizer": Edit(
        lambda folder, provider: spec(folder, provider, optimizer={"labeledFewShot": {"k": 2}}), new=True
    ),
}


@pytest.fixture(scope="module")
def before(providers: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LocalRun]:
    """Returns a folder with the files and the journal of a first run."""
    provider = providers(1)
    folder = laid_out(tmp_path_factory.mktemp("edits") / "first", provider)
    first = run_file(folder, provider, "--journal", "mine")
    assert first.status == 0, first.output
    return folder, first


def copied(before: tuple[Path, LocalRun], to: Path) -> tuple[Path, LocalRun]:
    shutil.copytree(before[0], to)
    return to, before[1]


@pytest.mark.parametrize("what", EDITS)
def test_a_run_after_an_edit_pays_only_for_new_calls(
    what: str, before: tuple[Path, LocalRun], providers: Any, tmp_path: Path
) -> None:
    edit, provider = EDITS[what], providers(1)
    folder, first = copied(before, tmp_path / "edited")
    edit.make(folder, provider)
    second = run_file(folder, provider, "--journal", "mine")
    assert second.status == 0, second.output
    fresh = run_file(folder, provider, "--journal", "../mine")
    assert (second.program, second.scores) == (fresh.program, fresh.scores)
    reused = second.report["reused"]["calls"]
    assert (reused > 0, second.requests > 0) == (True, edit.new)
    assert "a new run begins" in second.output or what == "another optimizer", "a changed spec needs no plan to tell"
    assert second.requests + reused == fresh.requests
    if not edit.new:
        assert reused == first.requests


def test_a_run_after_an_undone_edit_pays_for_no_call_again(
    before: tuple[Path, LocalRun], providers: Any, tmp_path: Path
) -> None:
    """The run with `--keep 0` keeps only the answers of the first run, and they are enough."""
    provider = providers(1)
    folder, first = copied(before, tmp_path / "edited")
    replaced("harbour.py", "Say which", "Name the one")(folder, provider)
    assert run_file(folder, provider, "--journal", "mine", "--keep", "0").requests > 0
    [left] = (folder / "mine" / "earlier").iterdir()
    assert left.name.startswith("000000-answers-")
    replaced("harbour.py", "Name the one", "Say which")(folder, provider)
    third = run_file(folder, provider, "--journal", "mine", "--keep", "0")
    assert (third.status, third.requests, third.program) == (0, 0, first.program), third.output


def test_a_run_uses_the_calls_that_a_failed_run_paid_for(providers: Any, tmp_path: Path) -> None:
    provider = providers(1)
    folder = laid_out(tmp_path / "failed", provider)
    replaced("harbour.py", "return is_same(example, pred)", "return 'none'")(folder, provider)
    failed = run_file(folder, provider)
    assert (failed.status, failed.requests > 0) == (1, True), failed.output
    replaced("harbour.py", "return 'none'", "return is_same(example, pred)")(folder, provider)
    mended = run_file(folder, provider)
    assert mended.status == 0, mended.output
    assert mended.report["reused"]["calls"] == failed.requests
    fresh = run_file(folder, provider, "--journal", "../mine")
    assert (mended.program, mended.requests + failed.requests) == (fresh.program, fresh.requests)


def test_a_run_resumes_after_an_edited_file_is_restored(
    before: tuple[Path, LocalRun], providers: Any, tmp_path: Path
) -> None:
    provider = providers(1)
    folder, first = copied(before, tmp_path / "edited")
    (folder / "train.jsonl").unlink()
    lost = run_file(folder, provider, "--journal", "mine")
    assert (lost.status, lost.requests) == (1, 0)
    assert "train.jsonl" in lost.output
    rows(folder)
    again = run_file(folder, provider, "--journal", "mine")
    assert (again.status, again.requests, again.program) == (0, 0, first.program), again.output
    assert "new run" not in again.output
