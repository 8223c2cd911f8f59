"""What happens inside a pod: processes die, user code misbehaves, the provider fails.

Each program here is the triage program, which does one more thing while it works on the first attempt of a slice. So
its winner is that of the triage program, whatever it does.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults.kinds import case, every_kind
from faults.stage import A_PLAN, A_POD, PODS, Stage
from support.cluster import config_map
from support.e2e import TRIAGE

WORK = PODS * A_POD

PROGRAM = """
import ctypes, json, os, random, signal, sys, threading, time
from pathlib import Path

import triage

ASSIGNMENT = Path("/swarm/work/assignment.json")
FIRST = ASSIGNMENT.exists() and json.loads(ASSIGNMENT.read_text())["attempt"] == 1
CELLS = []
LAST_WORDS = Path("/dev/termination-log")
FORGED = dict(schemaVersion=1, nonce="0123456789abcdef", exitCode=0, records=0, bytes=0, digest="0" * 64)


def misbehave():
    BODY


class Program(triage.Triage):
    def forward(self, ticket):
        if FIRST:
            CELLS.append(ticket)
            if len(CELLS) >= 3:
                misbehave()
        return super().forward(ticket)
"""

# What user code may do, and the run is still good. First: the process dies of it.
DEATHS = [
    case("worker exits 0 without a word", "os._exit(0)"),
    case("worker exits with an unknown code", "os._exit(42)"),
    case("worker killed by itself", "os.kill(os.getpid(), signal.SIGKILL)", some=True),
    case("worker tells itself to end", "os.kill(os.getpid(), signal.SIGTERM)"),
    case("worker interrupted", "os.kill(os.getpid(), signal.SIGINT)"),
    case("worker crashes (segmentation fault)", "ctypes.string_at(0)"),
    case("worker out of memory", "list(range(400_000_000))"),
    # Once: what takes its number next is a connection, and another thread's answer may come through the one after that.
    case("worker's output closed", "len(CELLS) == 3 and os.close(1)"),
    case("termination message of garbage", "LAST_WORDS.write_bytes(os.urandom(3000)); os._exit(0)"),
    case("termination message too long", "LAST_WORDS.write_text('{' * 100_000); os._exit(0)"),
    case("termination message forged", "LAST_WORDS.write_text(json.dumps(FORGED)); os._exit(0)"),
]
# Then: it does not matter. All of a group are done in one run.
OUTPUT = {
    "forged record with a wrong nonce": "os.write(1, b'swarm/1 0123456789abcdef 0 1/1 5 ' + b'0' * 32 + b' AAAA\\n')",
    "forged record, truncated": "os.write(1, b'\\nswarm/1 0123456789abcdef 3 1/9\\n')",
    "output of binary garbage": "os.write(1, os.urandom(5000) + b'\\n')",
    "output with terminal codes": "os.write(1, b'\\x1b[2J\\x1b]0;owned\\x07\\r\\r\\x00\\n')",
    "output of one huge line": "os.write(1, b'x' * 1_000_000 + b'\\n')",
    "output of very many lines": "os.write(1, b'x\\n' * 100_000)",
    "error output of very many lines": "os.write(2, b'x\\n' * 100_000)",
    "output without a line end": "os.write(1, b'no line end')",
}
STATE = {
    "random state changed": "random.seed(1)",
    "environment changed": "os.environ.clear(); os.environ['SWARM_NONCE'] = 'x' * 16",
    "working directory changed": "os.chdir('/proc')",
    "child process left behind": "os.fork() or (time.sleep(3), os._exit(0))",
    "thread left behind": "threading.Thread(target=time.sleep, args=(600,), daemon=False).start()",
    "worker hangs for a while": "len(CELLS) == 3 and time.sleep(10)",
}


def with_program(stage: Stage, body: str) -> dict[str, Any]:
    """The spec's program, made from what it does besides."""
    files = {
        "triage.py": (TRIAGE / "triage.py").read_text(encoding="utf-8"),
        "hostile.py": PROGRAM.replace("BODY", body.replace("\n", "\n    ")),
    }
    stage.api.send("POST", stage.core("configmaps"), config_map(f"{stage.name}-program", files))
    return {"entrypoint": "hostile:Program", "source": {"configMap": {"name": f"{stage.name}-program"}}}


@pytest.mark.parametrize("body", DEATHS)
def test_workers_that_die(stage: Stage, body: str) -> None:
    resources = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "500Mi"}}
    swarm = {"pods": 2, "threadsPerPod": 2, "resources": resources}
    stage.begin(program=with_program(stage, body), swarm=swarm)
    stage.holds(lost=WORK)


@every_kind(OUTPUT)
def test_workers_that_print(stage: Stage) -> None:
    stage.begin(program=with_program(stage, "\n".join(OUTPUT.values())))
    stage.holds(lost=WORK)


@every_kind(STATE)
def test_workers_that_change_what_is_around_them(stage: Stage) -> None:
    stage.begin(program=with_program(stage, "\n".join(STATE.values())))
    stage.holds(lost=WORK)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        case("program exits", "sys.exit(3)", "ProgramExits"),
        case("worker exits with a code that ends runs", "os._exit(64)", "WorkerFailed"),
        case("worker exits as if the spec had drifted", "os._exit(67)", "DigestDrift"),
    ],
)
def test_workers_that_end_the_run(stage: Stage, body: str, reason: str) -> None:
    stage.begin(program=with_program(stage, body))
    stage.ends(reason)


METRIC = """
import triage

def metric(example, prediction, trace=None):
    return {value}
"""


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        case("metric returns text", "'good'", "EvaluationFailed"),
        case("metric returns infinity", "'1e999'", "ScoreOutOfRange"),
        case("metric returns nothing", "None", "EvaluationFailed"),
        case("metric raises", "1 / 0", "EvaluationFailed"),
    ],
)
def test_scores_that_are_none(stage: Stage, value: str, reason: str) -> None:
    files = {"triage.py": (TRIAGE / "triage.py").read_text(encoding="utf-8"), "lies.py": METRIC.format(value=value)}
    stage.api.send("POST", stage.core("configmaps"), config_map(f"{stage.name}-program", files))
    source = {"entrypoint": "triage:Triage", "source": {"configMap": {"name": f"{stage.name}-program"}}}
    stage.begin(program=source, metric={"entrypoint": "lies:metric"})
    stage.ends(reason)


# From outside.


def inside(pod: dict[str, Any]) -> list[int]:
    """Processes of a pod's container, as this machine knows them."""
    mark = pod["metadata"]["uid"]
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "cgroup").read_text().replace("_", "-"):
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if b"swarm_worker" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def signalled(pod: dict[str, Any], number: signal.Signals) -> None:
    processes = inside(pod)
    assert processes
    for pid in processes:
        os.kill(pid, number)


def killed(pod: dict[str, Any]) -> None:
    signalled(pod, signal.SIGKILL)


def told_to_end(pod: dict[str, Any]) -> None:
    signalled(pod, signal.SIGTERM)


def paused(pod: dict[str, Any]) -> None:
    signalled(pod, signal.SIGSTOP)
    time.sleep(8)
    signalled(pod, signal.SIGCONT)


@pytest.mark.parametrize("role", ["plan", "work"])
@pytest.mark.parametrize(
    "harm",
    [
        case("pod's process killed", killed),
        case("pod's process told to end", told_to_end),
        case("pod's process paused", paused),
    ],
)
def test_processes_of_pods(stage: Stage, harm: Callable[[dict[str, Any]], None], role: str) -> None:
    stage.slow()
    stage.begin()
    pod = stage.pod(role)
    stage.when(lambda: inside(pod))
    stage.paid(2 if role == "plan" else 30)
    harm(pod)
    stage.provider_faults()
    stage.holds(lost=A_PLAN if role == "plan" else WORK)


# The provider.


@pytest.mark.parametrize(
    ("faults", "lost"),
    [
        case("provider answers 429", {"rpm": 600, "burst": 4}, 200),
        case("provider answers 500", {"error_rate": 0.2, "error_status": 500, "first_attempts": 2}, 200),
        case("provider answers 503", {"error_rate": 0.2, "error_status": 503, "first_attempts": 2}, 200),
        case("provider slow", {"latency": "uniform:0.1:1.5"}, 0),
    ],
)
def test_a_provider_in_trouble(stage: Stage, faults: dict[str, Any], lost: int) -> None:
    """Never a score: the call is made again, by the client or by another pod."""
    stage.provider_faults(**faults)
    stage.begin()
    stage.holds(lost=lost)


@pytest.mark.fault("provider refuses the key")
def test_a_key_that_is_refused(stage: Stage) -> None:
    stage.slow()
    stage.begin()
    stage.pod("work")
    stage.provider_faults(error_rate=1.0, error_status=401)
    stage.ends("CredentialsRejected")


@pytest.mark.fault("provider away for good")
def test_a_provider_that_is_away(stage: Stage) -> None:
    stage.begin(swarm={"pods": 2, "threadsPerPod": 2, "maxAttempts": 2})
    stage.provider_faults(error_rate=1.0, error_status=503)
    stage.ends("AttemptsExhausted", "ProviderFailed")


@pytest.mark.fault("provider restarted")
def test_a_provider_that_starts_again(stage: Stage) -> None:
    """Its count begins anew, so requests are not compared."""
    stage.slow(0.4)
    stage.begin()
    stage.pod("work")
    (provider,) = stage.api.get(f"{stage.core('pods')}?labelSelector=app.kubernetes.io/name%3Dprovider")["items"]
    stage.drop("pods", provider["metadata"]["name"], gracePeriodSeconds=0)
    assert stage.reference
    stage.holds(lost=stage.reference.requests, saved=stage.reference.requests)
