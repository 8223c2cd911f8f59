"""worker_image/README.md agrees with the code."""

import json
import re
from pathlib import Path

import pytest

from swarm_wire import names
from swarm_wire.messages import Assignment, RunRequest
from swarm_wire.names import ExitCode, WorkerReason, api_key_env
from swarm_wire.pod_output import COMMIT_BYTES, LINE_PAYLOAD, parse_commit, read
from swarm_wire.records import MAX_FRAME, Record, RecordKind

ROOT = Path(__file__).parents[2]
README = (ROOT / "worker_image" / "README.md").read_text(encoding="utf-8")
WORKER = ROOT / "worker_image"


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for kind, text in found if kind == language]


def rows(section: str) -> list[list[str]]:
    """Returns the rows of the first table under a heading, without the table's head."""
    text = re.split(rf"^##+ {section}\n", README, flags=re.MULTILINE)[1]
    lines = re.search(r"^\|.*?(?=\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    assert lines is not None
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[0].splitlines()[2:]]


def test_the_example_output_in_the_readme_can_be_decoded() -> None:
    [line] = [block for block in blocks("") if block.startswith("swarm/1 a1b2")]
    [commit] = [block for block in blocks("json") if '"nonce"' in block]
    transcript = read(line.splitlines(), "a1b2c3d4e5f60718")
    header = json.loads(next(block for block in blocks("") if '"record":"result"' in block).splitlines()[1])
    assert header.pop("record") == "result"
    assert transcript.records == {0: Record(RecordKind.RESULT, header, b"opaque")}
    assert transcript.complete(parse_commit(commit, "a1b2c3d4e5f60718"))


def test_the_readme_lists_the_files_that_workers_read() -> None:
    request, assignment, _ = blocks("json")
    assert RunRequest.model_validate_json(request).schema_version == names.SCHEMA_VERSION
    assert Assignment.model_validate_json(assignment).slices[0][0].cells == [0, 2]


def test_the_readme_names_all_exit_codes() -> None:
    assert {(int(row[0]), row[1]) for row in rows("Exit codes")} == {(code.value, code.name) for code in ExitCode}
    for row in rows("Exit codes"):
        assert (row[3] == "the run fails") == (ExitCode(int(row[0])) in names.TERMINAL_EXITS)


def test_the_readme_names_all_variables_paths_files_and_record_kinds() -> None:
    variables = [value for name, value in vars(names).items() if name.startswith("ENV_")]
    paths = [str(value) for name, value in vars(names).items() if name.endswith(("_DIR", "_LOG")) and "ENV" not in name]
    files = [names.REQUEST_FILE, names.ASSIGNMENT_FILE, names.PROGRAM_FILE, names.REPORT_FILE, names.SHARD_SUFFIX]
    keys = [api_key_env(role) for role in ("student", "teacher", "prompt")]
    assert [name for name in [*variables, *paths, *files, *keys] if name not in README] == []
    assert [kind for kind in RecordKind if f"| `{kind}` |" not in README] == []


def test_the_readme_states_sizes_and_the_schema_version() -> None:
    assert f"pieces of {LINE_PAYLOAD:,} characters" in README
    assert f"{MAX_FRAME // 2**20} MiB" in README
    assert f"at most {COMMIT_BYTES} bytes" in README
    assert f"Schema version **{names.SCHEMA_VERSION}**" in README


def test_the_readme_names_exactly_the_reasons_of_the_code() -> None:
    assert {row[0] for row in rows("Reasons")} == set(WorkerReason)


@pytest.mark.parametrize("reason", WorkerReason)
def test_every_reason_is_used_in_the_code(reason: WorkerReason) -> None:
    assert any(f"WorkerReason.{reason.name}" in path.read_text(encoding="utf-8") for path in WORKER.rglob("*.py"))


@pytest.mark.parametrize("row", rows("Reasons"), ids=lambda row: row[0])
def test_a_reason_has_the_exit_code_of_its_error(row: list[str]) -> None:
    from swarm_worker import errors

    classes = {"SourceChanged": "Drift", "Nondeterministic": "Drift", "DigestDrift": "Drift", "StorageDamaged": "Drift"}
    classes["GitUnreachable"] = "SwarmError"
    kind = getattr(
        errors, classes.get(row[0], row[0]), errors.SwarmError if row[0] == "WorkerFailed" else errors.BadInput
    )
    assert int(row[1]) == kind.exit_code
