"""Processes get keys in their environment, and leave no key behind in files and output."""

import json
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from simulated_provider.testing import running_provider
from support.canary import kinds_without, left
from support.compiles import KNOWLEDGE, Case, run_local, start_local
from support.kills import kill_one
from swarm_wire.records import RecordKind

KEY = "sk-canary-0123456789abcdef"
KEYS: dict[str, Any] = {"SWARM_API_KEY_STUDENT": KEY, "SWARM_API_KEY_TEACHER": KEY}
CASE = Case(
    "triage", parameters={"num_candidate_programs": 1, "max_labeled_demos": 2}, train=6, validation=6, teacher=True
)
"""A case whose tasks contain the teacher, which is a model with a key."""


def test_the_local_drivers_folder_holds_no_api_key(tmp_path: Path) -> None:
    """The test searches the folder in the middle of a run, when it has tasks, and at the run's end."""
    with running_provider(seed=1, knowledge=KNOWLEDGE, api_key=[KEY]) as wants:
        manifest = CASE.manifest(wants.url)
        for model in manifest["spec"]["models"].values():
            model["apiKey"] = {"secret": {"name": "provider", "key": "key"}}
        wants.set_faults(latency="0.3")
        driver = start_local(manifest, tmp_path, **KEYS)
        kill_one("work", driver, tmp_path, signal.SIGKILL)
        driver.send_signal(signal.SIGKILL)
        output, _ = driver.communicate()
        assert {RecordKind.TASK, RecordKind.BLOB} <= kinds_without(KEY, tmp_path, output)
        wants.set_faults()
        run = run_local(manifest, tmp_path, **KEYS)
    assert run.status == 0, run.output
    assert {RecordKind.RESULT, RecordKind.PLAN} <= kinds_without(KEY, tmp_path, run.output)


MODELS_KEY = "sk-canary-of-models-judge-0123"
JUDGE_KEY, TOKEN = "sk-canary-of-the-judge-0123", "canary of+a/tool\nof two lines\n"


@pytest.mark.parametrize("in_file", [False, True], ids=["from the shell", "from .env"])
def test_variables_reach_user_code_and_their_secrets_reach_nothing_else(tmp_path: Path, in_file: bool) -> None:
    """Program and metric print and raise all they know. They also keep one secret, and call a model with another
    secret."""
    with running_provider(seed=1, knowledge=KNOWLEDGE, api_key=[JUDGE_KEY, MODELS_KEY, "none"]) as provider:
        manifest = CASE.manifest(provider.url)
        spec = manifest["spec"]
        spec["program"]["entrypoint"], spec["metric"]["entrypoint"] = "telling:Telling", "telling:metric"
        spec["env"] = [
            {"name": "JUDGE_URL", "value": provider.url},
            {"name": "JUDGE_KEY", "valueFrom": {"secretKeyRef": {"name": "judge", "key": "key"}}},
            {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}},
            {"name": "TOOL_TOKEN", "valueFrom": {"secretKeyRef": {"name": "tools", "key": "token"}}},
        ]
        key = {"secret": {"name": "judge", "key": "key"}}
        spec["models"]["judge"] = {"model": "openai/small", "endpoint": provider.url, "apiKey": key}
        given: dict[str, Any] = {
            "JUDGE_KEY": JUDGE_KEY,
            "SWARM_API_KEY_JUDGE": MODELS_KEY,
            "LEVEL": "urgency",
            "TOOL_TOKEN": TOKEN,
        }
        if in_file:  # the secret is in the file .env in the run's folder
            spec["envFrom"], given["TOOL_TOKEN"] = [{"secretRef": {"name": "tools"}}], TOKEN.partition("\n")[0]
            del spec["env"][-1]
            (tmp_path / "c").mkdir()
            (tmp_path / "c" / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
            given = {}
        run = run_local(manifest, tmp_path / "c", SWARM_TWIN="1", **given)
        (tmp_path / "c" / ".env").unlink(missing_ok=True)
    assert run.status == 0, run.output
    logs = "".join(path.read_text() for path in (run.journal / "logs").iterdir())
    assert all(masked in logs for masked in ("(value of JUDGE_KEY)", "(value of TOOL_TOKEN)", "urgency"))
    failures = json.loads((run.journal / "artifact" / "report.json").read_text())["failures"]["groups"]
    kinds = {group["exception"].partition(":")[0]: group["exception"] for group in failures}
    assert kinds["ValueError"] == "ValueError: ('refused', '(value of TOOL_TOKEN)')"
    assert kinds["LookupError"].endswith("key=(value of TOOL_TOKEN)&judge=(value of JUDGE_KEY)")
    errors = [record.header["error"] for record in left(tmp_path) if "error" in record.header]
    assert any("(value of TOOL_TOKEN)" in error for error in errors)
    for secret in (JUDGE_KEY, MODELS_KEY, TOKEN):
        assert {RecordKind.RESULT, RecordKind.PLAN} <= kinds_without(secret, tmp_path, run.output)


def test_a_fine_tune_leaves_no_key_in_rows_records_and_artifact(tmp_path: Path) -> None:
    rows = {"min_traces": 10, "min_examples": 20}
    case = Case("", "bootstrapFinetune", rows, train=24, validation=6, teacher=True)
    with running_provider(seed=1, knowledge=KNOWLEDGE, api_key=[KEY]) as wants:
        manifest = case.manifest(wants.url)
        for model in manifest["spec"]["models"].values():
            model["apiKey"] = {"secret": {"name": "provider", "key": "key"}}
        wants.set_tuning(queue=3600)
        driver = start_local(manifest, tmp_path, **KEYS)
        assert driver.stdout is not None
        waits = next(line for line in driver.stdout if line.startswith("waits until"))
        driver.kill()
        driver.communicate()
        assert {RecordKind.TASK, RecordKind.BLOB, RecordKind.PENDING} <= kinds_without(KEY, tmp_path, waits)
        wants.advance(3600)
        run = run_local(manifest, tmp_path, **KEYS)
        [file] = wants.tuning()["files"]
        given = {"Authorization": f"Bearer {KEY}"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{wants.url}/files/{file['id']}/content", headers=given)
        ) as answer:
            uploaded = answer.read()
    assert run.status == 0, run.output
    assert {RecordKind.PENDING, RecordKind.RESULT, RecordKind.PLAN} <= kinds_without(KEY, tmp_path, run.output)
    assert b"messages" in uploaded
    assert KEY.encode() not in uploaded
