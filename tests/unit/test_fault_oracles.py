"""The faults tier checks the provider's bill and the statuses of a run. These tests show that its checks find
faults."""

from collections import Counter
from typing import Any

import pytest

from faults.bill import Bill
from faults.proxy import Call
from faults.stage import A_POD, Stage, Told, Undisturbed
from faults.test_sweep import always, written
from support.cluster import Namespace
from support.compiles import StockRun
from support.e2e import API_KEY
from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.model import object_names


def entry(digest: str | None, began: float, *, status: int = 200, latency: float = 1.0) -> dict[str, Any]:
    return {"digest": digest, "time": began, "latency": latency, "status": status}


@pytest.mark.parametrize(
    ("log", "paid", "again"),
    [
        ([entry("a", 0), entry("b", 1)], 2, {}),
        ([entry("a", 0), entry("a", 5)], 2, {"a": 1}),
        ([entry("a", 0), entry("a", 5), entry("a", 6)], 3, {"a": 2}),
        # A provider also charges for a request whose client died.
        ([entry("a", 0, status=499), entry("a", 5)], 2, {"a": 1}),
        # Failed or refused requests cost nothing.
        ([entry("a", 0, status=503), entry("a", 1, status=429), entry(None, 2, status=401), entry("a", 5)], 1, {}),
    ],
)
def test_the_bill_counts_paid_calls_and_repeated_calls(
    log: list[dict[str, Any]], paid: int, again: dict[str, int]
) -> None:
    bill = Bill.of(log)
    assert len(bill) == paid
    assert bill.again == Counter(again)


@pytest.mark.parametrize(
    ("log", "forgotten"),
    [
        ([entry("a", 0), entry("a", 12)], {"a"}),
        # The provider answered shortly before the fault, so perhaps no operator has read the answer.
        ([entry("a", 7), entry("a", 12)], set()),
        # Two pods made the same call before the fault.
        ([entry("a", 0), entry("a", 9)], set()),
        # The client of the first request left before the answer.
        ([entry("a", 0, status=499), entry("a", 12)], set()),
        ([entry("a", 0), entry("b", 12)], set()),
    ],
)
def test_the_bill_names_repeated_calls_whose_answers_the_operator_knew_before_the_fault(
    log: list[dict[str, Any]], forgotten: set[str]
) -> None:
    assert Bill.of(log).forgotten(known=7, harm=10) == forgotten


def told(*looks: tuple[str, int, int]) -> Told:
    found = Told()
    for run, generation, cells in looks:
        status = {"runId": run, "observedGeneration": generation, "progress": {"cellsDone": cells}}
        found.hear({"metadata": {"uid": "u"}, "status": status})
        found.hear({"metadata": {"uid": "u"}})
    return found


@pytest.mark.parametrize(
    ("looks", "falls"),
    [
        ([("r", 1, 0), ("r", 1, 3), ("r", 2, 3)], 0),
        ([("r", 1, 3), ("s", 2, 0), ("s", 2, 2)], 0),
        ([("r", 1, 3), ("r", 1, 2), ("r", 1, 3)], 1),
        ([("r", 2, 0), ("s", 1, 0)], 1),
    ],
)
def test_a_status_whose_numbers_go_down_is_detected(looks: list[tuple[str, int, int]], falls: int) -> None:
    assert len(told(*looks).falls) == falls


CALLS = [entry(f"call {number}", number) for number in range(60)]
HARM = 50.5
"""The moment at which a pod dies, after fifty answered calls."""


class Cluster:
    """Stands for the cluster whose status a Stage reads at the end of a run."""

    def __init__(self, log: list[dict[str, Any]], calls: int, repeated: int) -> None:
        self._log = log
        self._found = {
            "metadata": {"uid": "u", "generation": 1},
            "status": {"runId": "r", "usage": {"calls": calls, "repeatedCalls": repeated}},
        }

    def get(self, path: str) -> Any:
        return {"requests": self._log} if "/requests?" in path else self._found


def costs(log: list[dict[str, Any]], *, lost: int, repeated: int = A_POD) -> None:
    namespace = Namespace(None, "n")  # type: ignore[arg-type]
    stage = Stage(namespace, Cluster(log, 60, repeated), None, None)  # type: ignore[arg-type]
    stage.reference = Undisturbed(StockRun(requests=60), Bill.of(CALLS), [])
    stage.harmed_at = HARM
    stage.costs(lost, 0)


@pytest.mark.parametrize(
    ("again", "lost"),
    [
        pytest.param([], 0, id="no call is repeated"),
        pytest.param([entry("call 49", 61)], A_POD, id="a call in flight is repeated"),
        pytest.param(
            [entry(f"call {number}", 61) for number in range(48, 52)],
            A_POD,
            id="the calls of a cell in each thread are repeated",
        ),
    ],
)
def test_a_bill_that_repeats_only_calls_in_flight_is_accepted(again: list[dict[str, Any]], lost: int) -> None:
    costs([*CALLS, *again], lost=lost)


@pytest.mark.parametrize(
    ("again", "lost", "repeated"),
    [
        pytest.param([entry("call 49", 61)], 0, A_POD, id="a call is repeated although none may be lost"),
        pytest.param(
            [entry(f"call {n}", 61) for n in range(30, 50)], A_POD, A_POD, id="all calls of a pod are repeated"
        ),
        pytest.param([entry("call 3", 61)], A_POD, A_POD, id="a call that was read long ago is repeated"),
        pytest.param(
            [entry("call 49", 61), entry("call 50", 61)], A_POD, 1, id="more calls are repeated than the status says"
        ),
        pytest.param([entry(f"other {n}", 61) for n in range(5)], A_POD, A_POD, id="unnecessary calls are made"),
    ],
)
def test_a_bill_that_repeats_other_calls_is_rejected(again: list[dict[str, Any]], lost: int, repeated: int) -> None:
    with pytest.raises(AssertionError):
        costs([*CALLS, *again], lost=lost, repeated=repeated)


class Proxy:
    """Stands for the proxy that has recorded an operator's requests to its API server."""

    def __init__(self, *seen: tuple[str, str], pause: float = 1.0) -> None:
        self.seen = [
            Call(verb, resource, "compile", int(verb == "patch"), number * pause)
            for number, (verb, resource) in enumerate(seen, 1)
        ]
        self.writes = [call for call in self.seen if call.writes]
        self.rules: list[Any] = []


class Process:
    starts = 1


RUN = object_names.run_id("u", 1, None)
LOOK, WRITE = ("list", "dspycompilations"), ("patch", "dspycompilations/status")


@pytest.mark.parametrize(
    ("seen", "looks"),
    [
        ([WRITE, LOOK, LOOK, LOOK], 3),
        pytest.param([LOOK, WRITE, LOOK, WRITE, LOOK, WRITE], 0, id="each pass writes"),
        ([LOOK, LOOK, WRITE, LOOK], 1),
    ],
)
def test_the_stage_counts_passes_after_the_last_write(seen: list[tuple[str, str]], looks: int) -> None:
    assert Stage(None, None, Proxy(*seen), None).resyncs(0) == looks  # type: ignore[arg-type]


class Namespaced:
    """Stands for a cluster with a Compilation, its Events and its ConfigMaps."""

    def __init__(self, events: list[dict[str, str]], message: str, data: str) -> None:
        self._events, self._maps = events, [{"data": {"request.json": data}}]
        status = {"runId": "r", "observedGeneration": 1, "conditions": [{"message": message}]}
        self._found = {"metadata": {"uid": "u", "generation": 1}, "status": status}

    def get(self, path: str) -> Any:
        if "/events?" in path:
            return {"items": self._events}
        return {"items": self._maps} if "/configmaps" in path else self._found


def tells(
    *, events: tuple[str, ...] = ("a",), message: str = "", data: str = "{}", writes: int = 3, pause: float = 1.0
) -> None:
    said = [{"reason": "Planning", "message": text} for text in events]
    there, proxy = Namespaced(said, message, data), Proxy(*[WRITE] * writes, pause=pause)
    stage = Stage(Namespace(None, "n"), there, proxy, Process())  # type: ignore[arg-type]
    stage.tells(forgets=False)


def test_an_operator_that_reports_each_thing_once_is_accepted() -> None:
    tells()
    tells(events=("a", "b"))
    tells(writes=20)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"events": ("a", "b", "a")}, id="the same Event twice"),
        pytest.param({"writes": 20, "pause": 0.2}, id="five statuses a second"),
        pytest.param({"message": f"401: {API_KEY}"}, id="the key in the status"),
        pytest.param({"data": API_KEY}, id="the key in a ConfigMap"),
    ],
)
def test_an_operator_that_reports_something_twice_is_rejected(said: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        tells(**said)


@pytest.mark.parametrize(
    ("verb", "resource", "name", "kind", "certain"),
    [
        ("create", "jobs", object_names.job("c12345678", RUN, ObjectKind.PLAN, 0, 1), "p0-1", True),
        ("create", "jobs", object_names.job("c12345678", RUN, ObjectKind.WORK, 1, 2), "w1-2", True),
        ("patch", "pods", object_names.job("c12345678", RUN, ObjectKind.WORK, 1, 2) + "-0-x7k2p", "w1-2", True),
        ("create", "configmaps", object_names.run_map("c12345678", RUN), "run", True),
        ("create", "configmaps", object_names.shard_map("c12345678", RUN, "tasks", 0, 1, "ab" * 32), "t0-1", True),
        ("create", "configmaps", object_names.shard_map("c12345678", RUN, "results", 0, 1, "ab" * 32), "r0-1", True),
        ("create", "configmaps", object_names.shard_map("c12345678", RUN, "results", 0, 0, "ab" * 32), "r0-0", False),
        ("patch", "configmaps", "c12345678-artifact", "artifact", True),
        ("patch", "dspycompilations/status", "c12345678", "", False),
        ("create", "events", object_names.event("c12345678", "any"), "", False),
    ],
)
def test_a_write_is_identified_in_the_same_way_in_every_run(
    verb: str, resource: str, name: str, kind: str, certain: bool
) -> None:
    assert written(Call(verb, resource, name, 1, 0.0)) == (verb, resource, kind)
    assert always((verb, resource, kind)) is certain
