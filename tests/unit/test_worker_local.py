"""The local driver reads manifests as kubectl does, and keeps its journal in a folder."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from support.wire import blob, digest
from support.wire_spec import a_spec
from swarm_wire import names
from swarm_wire.messages import Assignment, CallMade, Commit, Outcome, PlanEnd, PlanOutcome, Result, RunRequest
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.pod_output import Transcript
from swarm_wire.records import Record, RecordKind
from swarm_wire.report import Candidate, Pruned, Report, Scores, Waste
from swarm_wire.shards import read_folder
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spending import Booked, Spending, Usage
from swarm_worker.__main__ import main
from swarm_worker.errors import BadInput
from swarm_worker.local import command
from swarm_worker.local.compile import Compiled
from swarm_worker.local.display import Display, print_report
from swarm_worker.local.documents import Manifest, read
from swarm_worker.local.driver import Driver, OfAnotherState, RunFailed, Watcher
from swarm_worker.local.folder import JournalFolder
from swarm_worker.local.launcher import Launched, Launcher
from swarm_worker.local.log_tail import following
from swarm_worker.local.processes import Ended, Processes

MAPS = {
    "program.source": {"configMap": {"name": "code"}},
    "data.train": {"configMap": {"name": "data", "key": "train.jsonl"}},
}
KEY = {"models.student.apiKey": {"secret": {"name": "keys", "key": "student"}}}


def compilation(**changes: Any) -> dict[str, Any]:
    return {"kind": "DSPyCompilation", "metadata": {"name": "triage"}, "spec": a_spec(**changes)}


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def write(folder: Path, *documents: Any, name: str = "c.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(yaml.safe_dump_all(documents))
    return folder / name


CODE, TRAIN = config_map("code", **{"a.py": "x = 1"}), config_map("data", **{"train.jsonl": "{}"})
SECRET = {"kind": "Secret", "metadata": {"name": "keys"}, "data": {"student": "c2stMQ=="}}


# --- the command line ----------------------------------------------------------------------------------------------


def test_the_option_version_prints_our_version_and_that_of_dspy(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"dspy-swarm {version('swarm-worker')}, DSPy {version('dspy')}\n"


def test_each_line_of_a_log_is_printed_once(tmp_path: Path) -> None:
    log, said = tmp_path / "work.log", list[str]()
    log.write_text("of an earlier process\n")
    with following(log, said.append), log.open("a") as file:
        for text in ("one\ntw", "o\n", "10 %\r20 %\n", "no end"):
            file.write(text)
            file.flush()
    assert said == ["one", "two", "20 %", "no end"]


# --- manifests ---------------------------------------------------------------------------------------------------


def test_a_file_may_hold_all_objects_that_the_compilation_names(tmp_path: Path) -> None:
    binary = {"kind": "ConfigMap", "metadata": {"name": "code"}, "binaryData": {"b.py": "eCA9IDI="}} | {
        "data": {"a.py": "x = 1"}
    }
    path = write(tmp_path, None, {"kind": "Service"}, binary, compilation(**MAPS, **KEY), TRAIN, SECRET)
    manifest = read(path, {})
    assert (manifest.name, manifest.folder, manifest.keys) == ("triage", tmp_path, {"student": "sk-1"})
    assert manifest.config_maps == {"code": {"a.py": b"x = 1", "b.py": b"x = 2"}, "data": {"train.jsonl": b"{}"}}


@pytest.mark.parametrize("what", ["c.yaml", ""], ids=["the file", "the folder"])
def test_a_kustomization_may_generate_the_objects(tmp_path: Path, what: str) -> None:
    write(tmp_path, compilation(**MAPS, **KEY))
    write(tmp_path, SECRET, name="secret.yaml")
    (tmp_path / "triage.py").write_text("x = 1")
    (tmp_path / "rows.jsonl").write_text("{}")
    kustomization = {
        "resources": ["c.yaml", "secret.yaml"],
        "configMapGenerator": [
            {"name": "code", "files": ["triage.py"]},
            {"name": "data", "files": ["train.jsonl=rows.jsonl"], "literals": ["a=b=c"]},
        ],
    }
    write(tmp_path, kustomization, name="kustomization.yaml")
    manifest = read(tmp_path / what, {})
    assert manifest.config_maps["code"] == {"triage.py": b"x = 1"}
    assert manifest.config_maps["data"] == {"train.jsonl": b"{}", "a": b"b=c"}
    assert manifest.keys == {"student": "sk-1"}


def test_a_generator_makes_the_same_objects_as_kustomize(tmp_path: Path) -> None:
    """The expected values are those of `kubectl kustomize` on 30 November 2026."""
    (tmp_path / "s.env").write_bytes(b'\xef\xbb\xbfF="q r" # c\n\n# note\n  G= b \nH\nI=\r\n')
    literals = ['A="x y"', "B='q'", 'C="odd', "D=a=b", "E="]
    generator = {"name": "code", "literals": literals, "envs": ["s.env"], "options": {"disableNameSuffixHash": True}}
    write(tmp_path, {"configMapGenerator": [generator]}, name="kustomization.yaml")
    maps = {"program": {"entrypoint": "m:P", "source": {"configMap": {"name": "code"}}}}
    found = read(write(tmp_path, compilation(**maps)), {}).config_maps["code"]
    assert {key: value.decode() for key, value in found.items()} == {
        "A": "x y", "B": "q", "C": '"odd', "D": "a=b", "E": "", "F": '"q r" # c', "G": " b ", "H": "", "I": "",
    }  # fmt: skip


def test_a_kustomization_may_include_another(tmp_path: Path) -> None:
    write(tmp_path / "base", compilation(), CODE, SECRET)
    write(tmp_path / "base", {"resources": ["c.yaml"]}, name="kustomization.yaml")
    write(tmp_path / "over", {"resources": ["../base"]}, name="kustomization.yaml")
    manifest = read(write(tmp_path / "over", compilation(**MAPS, **KEY), TRAIN), {})
    assert (set(manifest.config_maps), manifest.keys) == ({"code", "data"}, {"student": "sk-1"})
    assert read(tmp_path / "over", {}).folder == tmp_path / "over"


def test_the_message_about_invalid_yaml_names_the_line_without_its_text(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("kind: Secret\nstringData:\n  key: sk-of-mine: 1\n")
    with pytest.raises(BadInput, match=r"c\.yaml is not YAML: line 3, column 18: mapping values are not") as refused:
        read(tmp_path / "c.yaml", {})
    assert "sk-of-mine" not in str(refused.value)


def test_an_api_key_in_the_environment_replaces_that_of_the_secret(tmp_path: Path) -> None:
    path = write(tmp_path, compilation(**KEY), SECRET)
    assert read(path, {"SWARM_API_KEY_STUDENT": "sk-2"}).keys == {"student": "sk-2"}


def trigger(template: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "DSPyCompilationTrigger",
        "metadata": {"name": "nightly"},
        "spec": {"schedules": [{"cron": "0 2 * * *"}], "template": {"spec": template["spec"]}},
    }


def test_the_template_of_a_trigger_is_a_compilation_like_any_other(tmp_path: Path) -> None:
    manifest = read(write(tmp_path, trigger(compilation()), TRAIN), {})
    assert (manifest.name, manifest.spec) == ("nightly", read(write(tmp_path, compilation(), TRAIN), {}).spec)
    path = write(tmp_path, trigger(compilation(**{"swarm": {"pods": 0}})))
    with pytest.raises(BadInput, match=r"line (\d+): spec.swarm.pods must be") as refused:
        read(path, {})
    [line] = re.findall(r"line (\d+)", str(refused.value))
    assert path.read_text(encoding="utf-8").splitlines()[int(line) - 1].strip() == "pods: 0"


@pytest.mark.parametrize(
    ("documents", "reason", "says"),
    [
        ([], "InvalidSpec", "c.yaml has 0 documents of the kinds DSPyCompilation and DSPyCompilationTrigger; name a"),
        ([compilation(), compilation()], "InvalidSpec", "c.yaml has 2 documents of the kinds"),
        ([compilation(**{"swarm": {"pods": 0}})], "InvalidSpec",
         "c.yaml: the spec is invalid:\n  line 23: spec.swarm.pods must be greater than or equal to 1 (it is 0)"),
        ([TRAIN, compilation(**{"metric.max_range": 1, "data.train": {}})], "InvalidSpec",
         "  line 14: spec.data.train: exactly one of configMap, path, volume, url, entrypoint must be set\n"
         "  line 19: spec.metric.max_range is not a field. Did you mean range?"),
        ([compilation(**{"optimizer": {"bootstrapFewShot": {"max_rounds": 1}}})], "InvalidSpec",
         "spec.optimizer.bootstrapFewShot.max_rounds is not a field. Did you mean maxRounds?"),
        ([{"kind": "DSPyCompilation", "spec": "text"}], "InvalidSpec", "the spec is invalid"),
        ([compilation(**MAPS), TRAIN], "MissingConfigMap", "names ConfigMap 'code', and there is none in this file or"),
        ([compilation(**MAPS), TRAIN], "MissingConfigMap",
         "or name the ConfigMap's file in kustomization.yaml: resources: [FILE]. On a laptop you may also leave "
         "program.source out, and write data as path: FILE."),
        ([compilation(**MAPS), CODE, config_map("data", other="")], "MissingConfigMapKey",
         "the spec names key 'train.jsonl' of ConfigMap 'data', which has: other."),
        ([compilation(**{"data.validation": {"volume": {"claimName": "tickets", "path": "new/val.jsonl"}}})],
         "NeedsCluster",
         "c.yaml: line 11: spec.data.validation.volume: the volume of claim 'tickets' is in a cluster, where this "
         "machine cannot read it. To run here, copy new/val.jsonl from the volume, and write data.validation as path: "
         "FILE."),
        ([compilation(**KEY)], "MissingSecret", "Set SWARM_API_KEY_STUDENT to the key, in the shell or in .env"),
        ([{"kind": "ConfigMap", "metadata": "text"}], "InvalidSpec", "a ConfigMap is malformed"),
        ([{"kind": "Secret", "data": {"a": "no base64!"}}], "InvalidSpec", "a Secret is malformed"),
        ([{"kind": "ConfigMap", "data": ["a"]}], "InvalidSpec", "a ConfigMap is malformed"),
    ],
)  # fmt: skip
def test_invalid_manifests_are_refused(tmp_path: Path, documents: list[Any], reason: str, says: str) -> None:
    with pytest.raises(BadInput) as error:
        read(write(tmp_path, *documents), {})
    assert error.value.reason == reason
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "is not a kustomization: ParserError"),
        ("text", "is not a kustomization"),
        ("configMapGenerator: [{files: [a]}]", "is not a kustomization: KeyError: 'name'"),
        ("configMapGenerator: [{name: a, behavior: merge}]", "the generator of 'a' has behavior, and the local driver"),
        ("secretGenerator: [{name: a, envs: [missing.env]}]", "missing.env, which cannot be read: No such file"),
        ("configMapGenerator: [{name: a, files: [missing.py]}]", "missing.py, which cannot be read: No such file"),
        ("resources: [missing.yaml]", "missing.yaml cannot be read: No such file"),
    ],
)
def test_invalid_kustomizations_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "kustomization.yaml").write_text(text)
    with pytest.raises(BadInput) as error:
        read(write(tmp_path, compilation()), {})
    assert error.value.reason == "InvalidSpec"
    assert says in str(error.value)


@pytest.mark.parametrize(("content", "says"), [(None, "cannot be read: No such file"), (b"a: [", "is not YAML")])
def test_a_missing_or_malformed_file_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content:
        (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(BadInput, match=says):
        read(tmp_path / "c.yaml", {})


# --- the journal's folder ----------------------------------------------------------------------------------------


def manifest_of(folder: Path, code: str = "x = 1", **changes: Any) -> Manifest:
    documents = [compilation(**MAPS, **changes), config_map("code", **{"a.py": code}), TRAIN]
    return read(write(folder, *documents), {})


def opened(root: Path, manifest: Manifest) -> tuple[JournalFolder, RunRequest]:
    folder = JournalFolder(root)
    root.mkdir(exist_ok=True)
    return folder, folder.open(manifest)


PUBLISHED: dict[str, Any] = {"gate": {"against": "published"}}


def with_artifact(place: Path, text: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "program.json").write_text(text)


def kept(root: Path) -> str | None:
    file = root / "published.json"
    return file.read_text() if file.exists() else None


def test_a_run_keeps_the_program_that_was_published_when_it_began(tmp_path: Path) -> None:
    folder, first = opened(tmp_path / "j", manifest_of(tmp_path, **PUBLISHED))
    assert kept(folder.root) is None
    with_artifact(folder.artifact, "first")
    assert folder.open(manifest_of(tmp_path, **PUBLISHED)) == first
    assert kept(folder.root) is None, "the run goes on"
    folder.open(manifest_of(tmp_path, "x = 2", **PUBLISHED))
    assert kept(folder.root) == "first"
    with_artifact(folder.artifact, "second")
    folder.open(manifest_of(tmp_path, "x = 2", **PUBLISHED))
    assert kept(folder.root) == "first", "the run goes on"
    folder.open(manifest_of(tmp_path, "x = 3", **PUBLISHED))
    assert kept(folder.root) == "second"
    folder.append(result(1))
    folder.open(manifest_of(tmp_path, "x = 4", **PUBLISHED))
    assert kept(folder.root) == "second", "the run before has published nothing"
    folder.open(manifest_of(tmp_path, "x = 5"))
    assert kept(folder.root) is None, "the spec does not ask for it"


def test_the_published_program_is_that_of_the_output_folder_if_there_is_one(tmp_path: Path) -> None:
    folder, _ = opened(tmp_path / "j", manifest_of(tmp_path))
    with_artifact(folder.artifact, "in the journal")
    folder.open(manifest_of(tmp_path, **PUBLISHED), tmp_path / "out")
    assert kept(folder.root) == "in the journal"
    with_artifact(tmp_path / "out", "elsewhere")
    folder.open(manifest_of(tmp_path, "x = 2", **PUBLISHED), tmp_path / "out")
    assert kept(folder.root) == "elsewhere"


def result(number: int, body: bytes = b"") -> Record:
    header = Result(key=digest(number), outcome=Outcome.OK)
    return Record(RecordKind.RESULT, header.model_dump(by_alias=True, mode="json", exclude_none=True), body)


def call(number: int, body: bytes = b"") -> Record:
    return Record(RecordKind.CALL, CallMade(key=digest(number), usage=Usage(calls=1)).to_header(), body)


def test_the_local_driver_lays_out_a_folder_and_later_continues_it(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path)
    folder, _ = opened(tmp_path / "j", manifest)
    folder.append(result(1))
    folder.append(result(2))
    again, _ = opened(tmp_path / "j", manifest)
    assert list(again.records()) == [result(1), result(2)]
    assert (tmp_path / "j" / "sources" / "code" / "a.py").read_text() == "x = 1"


def test_a_run_goes_on_where_its_yaml_has_keys_and_values_that_json_writes_as_text(tmp_path: Path) -> None:
    body = {"logit_bias": {50256: -100}, "since": date(2026, 1, 1)}
    change: dict[str, Any] = {"models.student.parameters": {"body": body}}
    manifest = manifest_of(tmp_path, **change)
    _, first = opened(tmp_path / "j", manifest)
    _, second = opened(tmp_path / "j", manifest)
    assert second.run_id == first.run_id


@pytest.mark.parametrize("change", [{"code": "x = 2"}, {"swarm": {"pods": 3}}, {"limits": {"cellSeconds": 5}}])
def test_changed_files_or_a_changed_spec_start_a_new_run_in_the_same_folder(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    folder, first = opened(tmp_path / "j", manifest_of(tmp_path))
    folder.append(result(1))
    folder, second = opened(tmp_path / "j", manifest_of(tmp_path, **change))
    assert second.run_id != first.run_id
    assert list(folder.records()) == []
    [before] = folder.earlier.runs
    assert before.name == f"000001-{first.run_id}"
    assert list(read_folder(before)) == [result(1)]


def test_a_run_without_results_leaves_nothing(tmp_path: Path) -> None:
    folder, first = opened(tmp_path / "j", manifest_of(tmp_path))
    (folder.tasks_folder(0)).mkdir(parents=True)
    folder, second = opened(tmp_path / "j", manifest_of(tmp_path, code="x = 2"))
    assert (folder.earlier.runs, (tmp_path / "j" / "rounds").exists()) == ([], False)
    assert second.run_id != first.run_id


def test_a_file_is_deleted_if_the_config_map_no_longer_has_its_key(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path)
    opened(tmp_path / "j", replace(manifest, config_maps={**manifest.config_maps, "code": {"old.py": b""}}))
    opened(tmp_path / "j", manifest)
    assert [path.name for path in (tmp_path / "j" / "sources" / "code").iterdir()] == ["a.py"]


def test_a_local_driver_that_is_killed_while_it_archives_a_run_loses_nothing(tmp_path: Path) -> None:
    folder, first = opened(tmp_path / "j", manifest_of(tmp_path))
    folder.append(result(1))
    aside = folder.earlier.root / f"000001-{first.run_id}"
    aside.mkdir(parents=True)
    folder.journal.rename(aside / "journal")
    folder, _ = opened(tmp_path / "j", manifest_of(tmp_path, code="x = 2"))
    assert (list(folder.records()), folder.earlier.runs) == ([], [aside])
    assert list(read_folder(aside)) == [result(1)]


def test_a_damaged_journal_of_an_earlier_run_is_repaired(tmp_path: Path) -> None:
    folder, _ = opened(tmp_path / "j", manifest_of(tmp_path))
    folder.append(result(1))
    folder, _ = opened(tmp_path / "j", manifest_of(tmp_path, code="x = 2"))
    [shard] = folder.earlier.root.rglob("*.shard")
    shard.write_bytes(shard.read_bytes() + b"garbage")
    opened(tmp_path / "j", manifest_of(tmp_path, code="x = 2"))
    assert list(read_folder(folder.earlier.root)) == [result(1)]


@pytest.mark.parametrize("lost", [1, 3, 30])
def test_a_shard_that_is_cut_short_is_repaired(tmp_path: Path, lost: int) -> None:
    manifest = manifest_of(tmp_path)
    folder, _ = opened(tmp_path / "j", manifest)
    folder.append(result(1))
    folder.append(result(2))
    [shard] = folder.journal.glob("*.shard")
    shard.write_bytes(shard.read_bytes()[:-lost])
    again, _ = opened(tmp_path / "j", manifest)
    assert list(again.records()) == [result(1)]
    again.append(result(3))
    assert list(again.records()) == [result(1), result(3)]


def test_two_local_drivers_do_not_share_a_folder(tmp_path: Path) -> None:
    with JournalFolder(tmp_path / "j").locked():
        with pytest.raises(BadInput) as error, JournalFolder(tmp_path / "j").locked():
            pass
        assert error.value.reason == "JournalInUse"
    with JournalFolder(tmp_path / "j").locked():
        pass


def test_a_folder_with_other_files_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "sources").mkdir(parents=True)
    (theirs / "sources" / "mine.py").write_text("x = 1")
    (tmp_path / "file").write_text("")
    for path, says in ((theirs, "holds files that are no journal's"), (tmp_path / "file", "File exists")):
        with pytest.raises(BadInput, match=says) as error, JournalFolder(path).locked():
            pass
        assert error.value.reason == "NotAJournal"
    assert [path.name for path in theirs.rglob("*")] == ["sources", "mine.py"]


def test_a_journal_stays_valid_if_the_local_driver_is_killed_at_any_moment(tmp_path: Path) -> None:
    for left in ((), ("lock",), ("lock", "journal"), ("lock", "earlier", "rounds")):
        root = tmp_path / "-".join(("j", *left))
        root.mkdir()
        for name in left:
            (root / name).touch()
        with JournalFolder(root).locked():
            assert (root / "lock").exists()


def test_the_tasks_of_a_round_replace_the_tasks_that_a_killed_driver_left(tmp_path: Path) -> None:
    folder = JournalFolder(tmp_path)
    folder.put_tasks(0, [blob(key="old")])
    (folder.tasks_folder(0) / "0001.shard").write_bytes(b"torn")
    folder.put_tasks(0, [blob(key="new")])
    work = folder.put_assignment(Assignment(run_id="r", round=0, attempt=1, slices=[]))
    assert list(read_folder(folder.tasks_folder(0))) == [blob(key="new")]
    assert Assignment.model_validate_json((work / "assignment.json").read_text()).attempt == 1


@pytest.mark.parametrize(
    ("wasted", "line"),
    [
        (Waste(), "waste: none"),
        (Waste(cells=2, calls=3), "waste: 3 LM calls (1.5 %) for 2 cells that were not needed"),
    ],
)
def test_the_summary_shows_wasted_calls(tmp_path: Path, wasted: Waste, line: str) -> None:
    report = Report(scores=Scores(baseline=50.0, best=75.0), usage=Usage(calls=200), rounds=2, wasted=wasted)
    console = Console(file=StringIO(), width=200)
    print_report(console, report, tmp_path, "triage:Triage", 3.0)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert "200 LM calls, 0 tokens, 2 rounds, 3 s in this run" in lines
    assert line in lines


def test_the_summary_of_a_continued_run_shows_what_this_command_paid(tmp_path: Path) -> None:
    folder = JournalFolder(tmp_path)
    folder.journal.mkdir()
    folder.append(call(1))
    request = RunRequest(run_id="r", name="n", spec=CompilationSpec.model_validate(a_spec()))
    driver = Driver(folder, request, None, None, workers=1)  # type: ignore[arg-type]
    console = Console(file=StringIO(), width=200)
    print_report(console, Report(scores=Scores(), usage=Usage(calls=1)), tmp_path, "m:P", 3.0, driver.paid_before)
    assert isinstance(console.file, StringIO)
    assert "1 LM calls, 0 tokens, 0 rounds by the run so far; 0 LM calls and 3 s now" in console.file.getvalue()


def test_the_summary_shows_reused_results(tmp_path: Path) -> None:
    candidates = [Candidate(name="seed 1", score=75.0), Candidate(name="seed 0", score=74.0, bound=True)]
    pruned = Pruned(candidates=1, cells=1200)
    report = Report(scores=Scores(baseline=50.0, best=75.0), candidates=candidates, pruned=pruned)
    console = Console(file=StringIO(), width=200)
    print_report(console, report, tmp_path, "triage:Triage", 3.0)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert "2 candidates, best first: seed 1 75.0, seed 0 ≤ 74.0" in lines
    assert "saved: 1,200 cells of 1 candidates that could not win any more" in lines


def printed(report: Report, entrypoint: str = "triage:Triage") -> list[str]:
    console = Console(file=StringIO(), width=200)
    print_report(console, report, Path("artifact"), entrypoint, 3.0)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("entrypoint", "is_instance", "lines"),
    [
        ("triage:Triage", False, ["from triage import Triage", "program = Triage()"]),
        ("triage:triage", True, ["from triage import triage", "program = triage"]),
        ("app.triage:Triage.make", False, ["from app.triage import Triage", "program = Triage.make()"]),
        ("triage:programs.small", True, ["from triage import programs", "program = programs.small"]),
    ],
)
def test_the_summary_shows_python_code_that_loads_the_artifact(
    entrypoint: str, is_instance: bool, lines: list[str]
) -> None:
    told = [line.strip() for line in printed(Report(scores=Scores(), is_instance=is_instance), entrypoint)]
    assert told[-3:] == [*lines, 'program.load("artifact/program.json")']


def test_the_summary_names_the_data_of_candidates_if_the_winner_was_scored_on_other_data() -> None:
    candidates = [Candidate(name="candidate 0", score=80.0)]
    told = [
        printed(Report(scores=Scores(), candidates=candidates, candidates_on=on))
        for on in ("the training set", "the validation set")
    ]
    assert [[line for line in lines if "candidates" in line] for lines in told] == [
        ["1 candidates, best first on the training set: candidate 0 80.0"],
        ["1 candidates, best first: candidate 0 80.0"],
    ]


def test_a_shortened_list_of_candidates_ends_in_an_ellipsis() -> None:
    candidates = [Candidate(name=f"seed {n}", score=90.0 - n) for n in range(7)]
    [line] = [line for line in printed(Report(scores=Scores(), candidates=candidates)) if "candidates" in line]
    assert line.startswith("7 candidates, best first: seed 0 90.0, ")
    assert line.endswith(", seed 4 86.0, …")


@pytest.mark.parametrize(
    ("micro_usd", "line"),
    [(1_230_000, "2 LM calls, 30 tokens, 1.2300 USD, 0 rounds, 3 s in this run"),
     (0, "2 LM calls, 30 tokens, 0.0000 USD, 0 rounds, 3 s in this run"),
     (None, "2 LM calls, 30 tokens, 0 rounds, 3 s in this run")],
)  # fmt: skip
def test_the_summary_shows_usd_if_prices_are_known(micro_usd: int | None, line: str) -> None:
    usage = Usage(calls=2, prompt_tokens=20, completion_tokens=10, micro_usd=micro_usd)
    assert line in printed(Report(scores=Scores(), usage=usage))


@pytest.mark.parametrize(
    ("costs", "told"),
    [((), "0 calls"), ((1_000, 200), "2 calls, 0.0012 USD"), ((1_000, None), "2 calls")],
    ids=["no call", "known", "not known"],
)
def test_the_line_about_a_new_round_shows_the_spending_before_the_round(
    costs: tuple[int | None, ...], told: str
) -> None:
    console = Console(file=StringIO(), width=200)
    display = Display(console)
    for number, cost in enumerate(costs):
        display.called(CallMade(key=digest(number), usage=Usage(calls=1, micro_usd=cost)))
    display.scattering(1, 1, cells=4, processes=2)
    assert console.file.getvalue().splitlines() == [f"round 1  2 workers: 4 cells, {told}"]  # type: ignore[attr-defined]


def test_only_the_first_result_of_a_cell_is_journaled(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path)
    folder, request = opened(tmp_path / "j", manifest)
    driver = Driver(folder, request, Processes(folder, manifest), Watcher(), workers=1)
    printed = (result(1, b"first"), result(1, b"second"), blob(b"no result"), call(1, b"first"), call(1), call(2))
    for record in printed:
        driver._journal(record)
    assert list(folder.records()) == [result(1, b"first"), call(1, b"first"), call(2)]
    again = Driver(folder, request, Processes(folder, manifest), Watcher(), workers=1)
    for found in (driver.journal, again.journal):
        assert (set(found.keys), found.calls) == ({digest(1)}, {digest(1), digest(2)})
        assert found.usage == Usage(calls=2)
    assert again.resumed == 1, "calls are no cells"


@pytest.mark.parametrize(
    ("allowance", "booked", "spent"),
    [
        ({}, 0, Spending(calls=1 + 8, tokens=30)),
        ({names.ENV_ALLOWANCE: "{}"}, 0, Spending(calls=1, tokens=30)),
        ({names.ENV_ALLOWANCE: "{}"}, 5, Spending(calls=5, tokens=30)),
    ],
)
def test_a_killed_process_spent_at_least_what_its_results_cost(
    tmp_path: Path, allowance: dict[str, str], booked: int, spent: Spending
) -> None:
    """If the process did not report its spending in advance, each thread may have lost one paid answer."""
    said = Record(RecordKind.BOOKED, Booked(spent=Spending(calls=booked)).to_header())
    finished = Result(key=digest(1), outcome=Outcome.OK, usage=Usage(calls=1, prompt_tokens=20, completion_tokens=10))
    printed = (said, Record(RecordKind.RESULT, finished.to_header()))

    class Killed(Processes):
        def run(self, command: str, label: str, extra: Any, on_record: Callable[[Record], None]) -> Ended:
            for record in printed:
                on_record(record)
            return Ended(-9, None, Transcript(dict(enumerate(printed))), False)

    manifest = manifest_of(tmp_path)
    folder, request = opened(tmp_path / "j", manifest)
    driver = Driver(folder, request, Killed(folder, manifest), Watcher(), workers=1)
    driver._process("work", "work-0-1-0", allowance)
    assert driver.journal.accounts.total == spent


EDITED = (ExitCode.DRIFT, WorkerReason.SOURCE_CHANGED)


@pytest.mark.parametrize(
    ("journal", "plans", "kind"),
    [
        ([], [EDITED], RunFailed),
        ([result(1)], [EDITED], OfAnotherState),
        ([result(1)], [(ExitCode.FAILED, None), EDITED], OfAnotherState),
        ([result(1)], [(ExitCode.BAD_INPUT, WorkerReason.DATA_INVALID)], RunFailed),
        ([result(1)], [(ExitCode.DONE, None), EDITED], RunFailed),
        ([result(1)], [(ExitCode.DRIFT, WorkerReason.STORAGE_DAMAGED)], RunFailed),
    ],
    ids=[
        "a new run",
        "an older run",
        "after another attempt",
        "another end",
        "edited while the run goes on",
        "a damaged journal",
    ],
)
def test_the_first_plan_decides_whether_program_and_data_still_belong_to_the_journal(
    journal: list[Record], plans: list[tuple[ExitCode, str | None]], kind: type[RunFailed], tmp_path: Path
) -> None:
    blocked = Record(RecordKind.PLAN, PlanEnd(outcome=PlanOutcome.BLOCKED, round=0, binding="b", tasks=[]).to_header())
    ends = iter(plans)

    class Planned(Processes):
        def run(self, command: str, label: str, extra: Any, on_record: Callable[[Record], None]) -> Ended:
            code, reason = next(ends)
            commit = Commit(nonce="n", exit_code=code, reason=reason)
            return Ended(code, commit, Transcript({0: blocked}), code == ExitCode.DONE)

    manifest = manifest_of(tmp_path)
    folder, request = opened(tmp_path / "j", manifest)
    for record in journal:
        folder.append(record)
    with pytest.raises(RunFailed) as error:
        Driver(folder, request, Planned(folder, manifest), Watcher(), workers=1).run()
    assert type(error.value) is kind


def test_no_process_starts_after_the_driver_is_stopped(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path)
    folder, _ = opened(tmp_path / "j", manifest)
    processes = Processes(folder, manifest)
    processes.stop()
    ended = processes.run("plan", "plan", {}, lambda record: None)
    assert (ended.exit_code, ended.is_done) == (75, False)


def test_a_signal_handler_may_stop_the_driver_while_a_process_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = manifest_of(tmp_path)
    folder, _ = opened(tmp_path / "j", manifest)
    processes, start, started = Processes(folder, manifest), Launcher.start, []

    def interrupted(*arguments: Any) -> Launched:
        processes.stop()  # as the signal handler does, in the thread that holds the lock
        started.append(start(*arguments))
        return started[0]

    monkeypatch.setattr(Launcher, "start", interrupted)
    ended = processes.run("plan", "plan", {}, lambda record: None)
    assert len(started) == 1
    assert ended.exit_code in (-15, 75), "by SIGTERM, before or after it has a handler of its own"


@pytest.mark.parametrize("pushes", [True, False])
def test_a_note_says_that_a_laptop_pushes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pushes: bool
) -> None:
    done = Compiled(tmp_path / "artifact", Report(scores=Scores()), is_published=True, paid_before=0)
    monkeypatch.setattr(command, "compile_here", lambda *_, **__: done)
    git = {"url": "https://h/r.git", "branch": "main", "path": "p", "secret": {"name": "git"}}
    path = write(tmp_path, compilation(**({"artifact": {"git": git}} if pushes else {})))
    assert main(["run", "-f", str(path)]) == 0
    told = f"note: spec.artifact.git is for clusters: the artifact is in {done.artifact}, and nothing was pushed"
    assert (told in capsys.readouterr().out.splitlines()) == pushes
