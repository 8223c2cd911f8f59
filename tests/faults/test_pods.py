"""A run survives faults of its pods: processes die, user code misbehaves, and the provider fails.

Each program here is the triage program with an additional action in the first attempt of a slice. So it has the same
winner as the triage program.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults import harm
from faults.kinds import case, every_kind
from faults.node import on_node
from faults.stage import A_PLAN, CALLS_PER_CELL, PODS, PUBLISHED, THREADS, TRAIN, Stage, conditions
from support.cluster import config_map
from support.e2e import TRIAGE
from support.sampling import paired
from testbed import Cluster

AWAY = 30.0
"""Seconds in which the provider is unreachable."""
IN_FLIGHT = PODS * THREADS
"""The calls in flight when all workers die. The operator can still read their logs."""

BOOTSTRAP = TRAIN * CALLS_PER_CELL
"""The calls of a whole bootstrap."""
ROUND = 18
"""The calls of all workers of a round."""

DEAF = """[
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
    for fd in range(3, 10)
    if Path(f"/proc/self/fd/{fd}").exists() and stat.S_ISFIFO(os.fstat(fd).st_mode)
]"""
MISBEHAVES = b"it misbehaves"
PROGRAM = """
import base64, ctypes, hashlib, json, os, random, re, signal, stat, sys, threading, time, zlib
from pathlib import Path

import triage

ASSIGNMENT = Path("/swarm/work/assignment.json")
FIRST = ASSIGNMENT.exists() and json.loads(ASSIGNMENT.read_text())["attempt"] == 1
CELLS, LOCK = Path("/tmp/cells"), threading.Lock()
LAST_WORDS = Path("/dev/termination-log")
FORGED = dict(schemaVersion=1, nonce="0123456789abcdef", exitCode=0, records=0, bytes=0, digest="0" * 64)


def misbehave(number):
    os.write(1, b"\\nit misbehaves\\n")
    BODY


class Program(triage.Triage):
    def forward(self, ticket):
        if FIRST:
            # In a file: a program may not keep what one example leaves for the next.
            with LOCK, CELLS.open("ab") as cells:
                cells.write(b".")
                number = cells.tell()
            if number >= 3:
                misbehave(number)
        return super().forward(ticket)
"""

# Actions of user code that end its process, but not the run
DEATHS = [
    case("worker exits 0 without a word", "os._exit(0)"),
    case("worker exits with an unknown code", "os._exit(42)"),
    # The kernel ignores a signal that a container's first process sends to itself, so other actions end it.
    case("worker aborts", "os.abort()", some=True),
    case("worker tells itself to end", "os.kill(os.getpid(), signal.SIGTERM)"),
    case("worker interrupted", "os.kill(os.getpid(), signal.SIGINT)"),
    case("worker crashes (segmentation fault)", "ctypes.string_at(0)"),
    case("worker out of memory", "list(range(400_000_000))"),
    # DEAF sends the output to /dev/null. If it closed the output, a connection to the provider would get its number.
    case("worker's output goes nowhere", f"number == 3 and {DEAF}"),
    case("termination message of garbage", "LAST_WORDS.write_bytes(os.urandom(3000)); os._exit(0)"),
    case("termination message too long", "LAST_WORDS.write_text('{' * 100_000); os._exit(0)"),
    case("termination message forged", "LAST_WORDS.write_text(json.dumps(FORGED)); os._exit(0)"),
]
# Harmless actions of user code. One run does all actions of a group.
# Each run of the program prints all of this. A pod must print less than 10 MB, since kubelets keep no more of a log.
OUTPUT = {
    "forged record with a wrong nonce": "os.write(1, b'swarm/1 0123456789abcdef 0 1/1 5 ' + b'0' * 32 + b' AAAA\\n')",
    "forged record, truncated": "os.write(1, b'\\nswarm/1 0123456789abcdef 3 1/9\\n')",
    "output of binary garbage": "os.write(1, os.urandom(5000) + b'\\n')",
    "output with terminal codes": "os.write(1, b'\\x1b[2J\\x1b]0;owned\\x07\\r\\r\\x00\\n')",
    "output of one huge line": "os.write(1, b'x' * 100_000 + b'\\n')",
    "output of very many lines": "os.write(1, b'x\\n' * 1_000)",
    "error output of very many lines": "os.write(2, b'x\\n' * 1_000)",
    "output without a line end": "os.write(1, b'no line end')",
}
STATE = {
    "random state changed": "random.seed(1)",
    "environment changed": "os.environ.clear(); os.environ['SWARM_NONCE'] = 'x' * 16",
    "working directory changed": "os.chdir('/proc')",
    "child process left behind": "os.fork() or (time.sleep(3), os._exit(0))",
    "thread left behind": "threading.Thread(target=time.sleep, args=(600,), daemon=False).start()",
    "worker hangs for a while": "number == 3 and time.sleep(10)",
}


def with_program(stage: Stage, body: str) -> dict[str, Any]:
    """Creates a ConfigMap of the program with this additional code, and returns the spec's program field."""
    files = {
        "triage.py": (TRIAGE / "triage.py").read_text(encoding="utf-8"),
        "hostile.py": PROGRAM.replace("BODY", body.replace("\n", "\n    ")),
    }
    stage.api.send("POST", stage.core("configmaps"), config_map(f"{stage.name}-program", files))
    return {"entrypoint": "hostile:Program", "source": {"configMap": {"name": f"{stage.name}-program"}}}


@pytest.fixture
def outputs(stage: Stage) -> harm.Recorded:
    """Records the logs of pods as the operator received them."""
    found = harm.Recorded()
    stage.proxy.add(lambda call: call.resource == "pods/log", found, times=None)
    return found


def printed(outputs: harm.Recorded, text: bytes) -> bool:
    return any(text in body for body in outputs.bodies)


@pytest.mark.parametrize("body", DEATHS)
def test_a_run_survives_workers_that_die(stage: Stage, outputs: harm.Recorded, body: str) -> None:
    resources = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "500Mi"}}
    swarm = {"pods": 2, "threadsPerPod": 2, "resources": resources}
    stage.begin(program=with_program(stage, body), swarm=swarm)
    # If a worker can no longer print, the operator can read nothing of it.
    stage.holds(lost=BOOTSTRAP + A_PLAN if DEAF in body else IN_FLIGHT)
    assert printed(outputs, MISBEHAVES)
    # On SIGTERM, a process finishes the cells in flight, and perhaps no others are left.
    assert stage.attempts("work") > 1 or "SIGTERM" in body


@pytest.mark.parametrize(
    "body",
    [
        case("cell hangs", "number == 3 and time.sleep(3600)"),
        case("cell hangs and holds the interpreter", "number == 3 and re.match('(a+)+$', 'a' * 64 + 'b')"),
    ],
)
def test_a_run_survives_cells_that_hang(stage: Stage, outputs: harm.Recorded, body: str) -> None:
    """These cells run again, but the calls that they reported are not made again."""
    stage.begin(program=with_program(stage, body), limits={"cellSeconds": 5})
    stage.holds(lost=IN_FLIGHT)
    assert printed(outputs, MISBEHAVES)
    assert stage.attempts("work") > 1


@every_kind(OUTPUT)
def test_a_run_survives_workers_whose_user_code_prints(stage: Stage, outputs: harm.Recorded) -> None:
    stage.begin(program=with_program(stage, "\n".join(OUTPUT.values())))
    stage.holds()
    assert printed(outputs, MISBEHAVES)
    assert printed(outputs, b"swarm/1 0123456789abcdef 3 1/9")
    assert printed(outputs, b"no line end")


@pytest.mark.fault("output larger than what a kubelet keeps")
def test_a_run_survives_workers_whose_user_code_prints_too_much(stage: Stage) -> None:
    """Each run of the program adds about ten megabytes to the log, so the kubelet deletes older parts meanwhile."""
    stage.slow()
    stage.begin(program=with_program(stage, "os.write(1, b'x\\n' * 200_000)"))
    # In each attempt but the last, the kubelet may delete a record before the operator reads it.
    stage.holds(lost=2 * ROUND)


BOMB = """
given = Path("/proc/self/environ").read_bytes().split(b"\\0")
mark = next(entry for entry in given if entry.startswith(b"SWARM_NONCE="))
head = json.dumps({"record": "result"}).encode()
frame = zlib.compress(len(head).to_bytes(4, "big") + head + bytes(50_000_000), 9)
text, digest = base64.b64encode(frame), hashlib.sha256(frame).hexdigest()[:32].encode()
parts = [text[at : at + 3000] for at in range(0, len(text), 3000)]
for part, piece in enumerate(parts, 1):
    where = b"%d %d/%d %d " % (1000 + number, part, len(parts), len(frame))
    os.write(1, b"swarm/1 " + mark.partition(b"=")[2] + b" " + where + digest + b" " + piece + b"\\n")
"""
PEAK = 250
"""MiB of memory, twice as many as an operator takes without faults."""


@pytest.mark.fault("records that inflate to very much")
def test_the_operator_inflates_no_deflate_bomb(stage: Stage, outputs: harm.Recorded) -> None:
    """User code can find the nonce, so it can forge records. Each record here would inflate to 50 MB of zeros."""
    stage.begin(program=with_program(stage, BOMB))
    stage.holds(lost=ROUND)
    assert printed(outputs, b" 1003 1/")
    peak = stage.operator.peak_mebibytes
    print(f"the operator had {peak:.0f} MiB at most")
    assert peak < PEAK


@every_kind(STATE)
def test_a_run_survives_user_code_that_changes_its_process(stage: Stage, outputs: harm.Recorded) -> None:
    stage.begin(program=with_program(stage, "\n".join(STATE.values())))
    stage.holds()
    assert printed(outputs, MISBEHAVES)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        case("program exits", "sys.exit(3)", "ProgramExits"),
        case("worker exits with a code that ends runs", "os._exit(64)", "WorkerFailed"),
        case("worker exits as if the spec had drifted", "os._exit(67)", "DigestDrift"),
    ],
)
def test_user_code_that_ends_its_process_or_uses_our_exit_codes_can_end_the_run(
    stage: Stage, body: str, reason: str
) -> None:
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
        case("metric returns too much", "2", "ScoreOutOfRange"),
        case("metric returns nothing", "None", "EvaluationFailed"),
        case("metric returns infinity", "float('inf')", "EvaluationFailed"),
    ],
)
def test_a_metric_that_returns_no_score_ends_the_run(stage: Stage, value: str, reason: str) -> None:
    begin_with_metric(stage, value)
    stage.ends(reason)


@pytest.mark.fault("metric raises")
def test_a_metric_that_always_raises_leads_to_the_winner_of_stock(stage: Stage) -> None:
    """Failed examples score 0, so all candidates are equal and the first of them wins, as in stock."""
    begin_with_metric(stage, "1 / 0")
    compilation = stage.over()
    assert conditions(compilation) == PUBLISHED, compilation["status"]
    assert compilation["status"]["artifact"]["score"] == 0
    stage.settles()
    stage.vanishes()


def begin_with_metric(stage: Stage, value: str) -> None:
    files = {"triage.py": (TRIAGE / "triage.py").read_text(encoding="utf-8"), "lies.py": METRIC.format(value=value)}
    stage.api.send("POST", stage.core("configmaps"), config_map(f"{stage.name}-program", files))
    source = {"entrypoint": "triage:Triage", "source": {"configMap": {"name": f"{stage.name}-program"}}}
    stage.begin(program=source, metric={"entrypoint": "lies:metric"})


# Faults from outside of the pod


def inside(pod: dict[str, Any]) -> list[int]:
    """Returns the ids of the processes on this machine that belong to a pod."""
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


@pytest.mark.parametrize(
    ("act", "lost", "role"),
    [
        case(kind, act, lost[role], role, id=f"{kind}, {role}")
        for (kind, act, lost), role in paired(
            [
                ("pod's process killed", killed, {"plan": THREADS, "work": THREADS}),
                ("pod's process told to end", told_to_end, {"plan": THREADS, "work": 0}),
                ("pod's process paused", paused, {"plan": 0, "work": 0}),
            ],
            ["plan", "work"],
        )
    ],
)
def test_a_run_survives_killed_processes_in_pods(
    stage: Stage, act: Callable[[dict[str, Any]], None], lost: int, role: str
) -> None:
    """The operator reads the output of the killed processes, so the run makes only calls in flight again."""
    stage.slow()
    stage.begin()
    stage.paid(50 if role == "plan" else 27)
    pod = stage.pod(role)
    stage.harms()
    act(pod)
    stage.provider_faults()
    stage.holds(lost=lost)


@pytest.mark.fault("pod's process stopped for good")
def test_kubernetes_ends_a_frozen_process(stage: Stage, tmp_path: Path) -> None:
    """A stopped process cannot end itself. Kubernetes ends it at the pod's deadline."""
    stage.operator.halt(signal.SIGKILL)
    folder = tmp_path / "impatient"
    folder.mkdir()
    with stage.operator.twin(folder, module="faults.impatient"):
        stage.slow()
        # On a busy machine a cell takes seconds, and a cell that is late costs further calls.
        stage.begin(limits={"cellSeconds": 10})
        stage.paid(27)
        pod = stage.pod("work")
        stage.harms()
        signalled(pod, signal.SIGSTOP)
        stage.provider_faults()
        stage.over(seconds=300)
        stage.holds(lost=THREADS)


# Faults of the provider


@pytest.mark.parametrize(
    "faults",
    [
        case("provider answers 429", {"rpm": 600, "burst": 4}),
        case("provider answers 500", {"error_rate": 0.2, "error_status": 500, "first_attempts": 2}),
        case("provider answers 503", {"error_rate": 0.2, "error_status": 503, "first_attempts": 2}),
        case("provider slow", {"latency": "uniform:0.1:1.5"}),
    ],
)
def test_a_run_survives_a_failing_provider(stage: Stage, faults: dict[str, Any]) -> None:
    """A failed call never becomes a score, since the client or another pod repeats it. Failed calls cost nothing."""
    stage.provider_faults(**faults)
    stage.begin()
    stage.holds()


@pytest.mark.fault("provider refuses the key")
def test_a_refused_api_key_ends_the_run(stage: Stage) -> None:
    stage.slow()
    stage.begin()
    stage.pod("work")
    stage.provider_faults(error_rate=1.0, error_status=401)
    # Each thread gets the error once, and then makes no other call.
    stage.ends("CredentialsRejected", more=PODS * THREADS)


@pytest.mark.fault("provider away for good")
def test_a_provider_that_fails_every_request_ends_the_run(stage: Stage) -> None:
    stage.begin(swarm={"pods": 2, "threadsPerPod": 2, "maxAttempts": 2})
    stage.provider_faults(error_rate=1.0, error_status=503)
    stage.ends("AttemptsExhausted", "ProviderFailed")


@pytest.mark.parametrize(
    "verdict",
    [
        case("connections to the provider refused for a while", "REJECT"),
        case("packets to the provider lost for a while", "DROP"),
    ],
)
def test_a_run_survives_an_unreachable_provider(stage: Stage, cluster: Cluster, verdict: str) -> None:
    """A broken connection does not use up an attempt of a cell."""
    stage.slow(0.3)
    stage.begin()
    stage.paid(20)
    (provider,) = stage.api.get(f"{stage.core('pods')}?labelSelector=app.kubernetes.io/name%3Dprovider")["items"]
    rule = ("FORWARD", "--destination", provider["status"]["podIP"], "--jump", verdict)
    on_node(cluster, "iptables", "--insert", *rule)
    try:
        time.sleep(AWAY)
    finally:
        on_node(cluster, "iptables", "--delete", *rule)
    # The fault may drop answers that are on their way back.
    stage.holds(lost=IN_FLIGHT)


@pytest.mark.alone
@pytest.mark.fault("no names are resolved for a while")
def test_a_run_survives_a_failure_of_dns(stage: Stage) -> None:
    scale = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
    replicas = stage.api.get(scale)["spec"]["replicas"]
    stage.slow(0.3)
    stage.begin()
    stage.pod("plan")
    stage.merge(scale, {"spec": {"replicas": 0}})
    try:
        time.sleep(AWAY)
    finally:
        stage.merge(scale, {"spec": {"replicas": replicas}})
    stage.holds()


@pytest.mark.fault("provider restarted")
def test_a_run_survives_a_restarted_provider(stage: Stage) -> None:
    """The restarted provider counts from 0, so the run shows fewer calls than stock. It repeats no earlier call."""
    stage.slow(0.4)
    stage.begin()
    stage.pod("work")
    (provider,) = stage.api.get(f"{stage.core('pods')}?labelSelector=app.kubernetes.io/name%3Dprovider")["items"]
    stage.drop("pods", provider["metadata"]["name"], gracePeriodSeconds=0)
    assert stage.reference
    stage.holds(saved=stage.reference.requests)
