"""Copies of a program share objects that DSPy cannot copy, such as clients. A payload names them by their place."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import httpx
import pytest

import clients
from support.worker import run_python
from swarm_worker.content import places
from swarm_worker.content.codec import Codec, SecretInPayload
from swarm_worker.content.digest import Walk
from swarm_worker.content.places import MARK, NotPortable, Places
from swarm_worker.errors import Drift

CODEC = Codec({"student model's API key": "sk-a-very-secret-key"})
PROGRAMS = Path(clients.__file__).parent


@pytest.fixture(autouse=True)
def _places_of_their_own() -> Iterator[None]:
    before = places.here()
    yield
    places.install(before)


def plan(program: Any, metric: Any = None) -> Any:
    places.install(Places.of(program=program, metric=metric), "clients:program")
    return program


def worker(program: Any, metric: Any = None) -> Any:
    """Makes this process a worker with its own program. It loads the program when a payload needs it."""
    places.install(Places.lazy(lambda: {"program": program, "metric": metric}), "clients:program")
    return program


PLAN = """
import base64, json, sys
import clients, dspy
from swarm_worker.content import places
from swarm_worker.content.codec import Codec
from swarm_worker.content.digest import Walk
found = {}
for name, make in clients.HELD.items():
    program = clients.Holder(make())
    places.install(places.Places.of(program=program), "clients:program")
    copy = program.deepcopy()
    data = Codec({}).dumps(copy.deepcopy())
    digests = [Walk().digest(program), Walk().digest(copy), Walk().digest(copy.deepcopy())]
    found[name] = digests, base64.b64encode(data).decode()
print(json.dumps(found))
"""
WORKER = """
import base64, json, sys
import clients
from swarm_worker.content import places
from swarm_worker.content.codec import Codec
from swarm_worker.content.digest import Walk
found = {}
for name, data in json.load(open(sys.argv[1] if len(sys.argv) > 1 else DATA)).items():
    places.install(places.Places.lazy(lambda: {"program": clients.Holder(clients.HELD[name]())}), "clients:program")
    found[name] = Walk().digest(Codec({}).loads(base64.b64decode(data[1])))
print(json.dumps(found))
"""


def test_a_program_with_clients_has_the_same_digest_in_the_plan_in_the_worker_and_in_its_copies(tmp_path: Path) -> None:
    planned = run_python(PLAN, PROGRAMS, PYTHONHASHSEED="1")
    assert planned.returncode == 0, planned.stderr
    data = tmp_path / "payloads.json"
    data.write_text(planned.stdout)
    worked = run_python(f"DATA = {str(data)!r}\n{WORKER}", PROGRAMS, PYTHONHASHSEED="2")
    assert worked.returncode == 0, worked.stderr
    digests = {name: found for name, (found, _) in json.loads(planned.stdout).items()}
    assert json.loads(worked.stdout) == {name: found[-1] for name, found in digests.items()}
    assert {name for name, found in digests.items() if len(set(found)) > 1} == set()


def test_a_worker_uses_its_own_object_at_the_same_place_for_all_payloads() -> None:
    data = CODEC.dumps(plan(clients.OwnLock()).deepcopy())
    again = CODEC.dumps(places.here().find("program.lock"))
    own = worker(clients.OwnLock())
    found = CODEC.loads(data)
    assert (found.lock is own.lock, found.connection is own.connection) == (True, True)
    assert CODEC.loads(again) is own.lock


def test_a_worker_loads_nothing_until_a_payload_refers_to_a_place() -> None:
    def load() -> Any:
        pytest.fail("not needed")

    plain = CODEC.dumps(plan(clients.Holder(1)))
    assert MARK.encode() not in plain
    places.install(Places.lazy(load))
    assert CODEC.loads(plain).held == 1
    assert MARK.encode() in CODEC.dumps(plan(clients.Holder(httpx.Client(verify=False))))


def test_data_beside_a_client_is_part_of_the_digest_and_is_sent_by_value() -> None:
    program = plan(clients.Holder(clients.Retriever(k=3)))
    candidate = program.deepcopy()
    candidate.held.k = 5
    assert Walk().digest(candidate) != Walk().digest(program)
    data = CODEC.dumps(candidate)
    own = worker(clients.Holder(clients.Retriever(k=3)))
    found = CODEC.loads(data)
    assert (found.held.k, found.held.http is own.held.http) == (5, True)


def test_clients_at_two_places_have_different_digests() -> None:
    program = plan(clients.Holder([httpx.Client(verify=False), httpx.Client(verify=False)]))
    swapped = program.deepcopy()
    swapped.held = swapped.held[::-1]
    assert Walk().digest(swapped) != Walk().digest(program)


def test_a_client_in_use_keeps_its_digest() -> None:
    program = plan(clients.Holder(httpx.Client(verify=False)))
    before = Walk().digest(program)
    with program.held:
        assert Walk().digest(program) == before
    assert Walk().digest(program.deepcopy()) == before


@pytest.mark.parametrize(
    "metric", [clients.metric_with(httpx.Client(verify=False)), clients.Judge()], ids=["closure", "object"]
)
def test_a_metric_may_hold_a_client(metric: Any) -> None:
    plan(clients.Holder(1), metric)
    asked = Walk().digest(metric)
    data = CODEC.dumps(metric)
    worker(clients.Holder(1), metric)
    assert Walk().digest(CODEC.loads(data)) == asked


def test_changes_that_a_worker_makes_to_its_client_do_not_change_the_digest() -> None:
    client = threading.local()
    client.limit = 3
    program = plan(clients.Holder(client))
    asked, data = Walk().digest(program), CODEC.dumps(program)
    worker(program)
    found = CODEC.loads(data)
    client.limit = 5
    assert Walk().digest(found) == asked


def test_a_variable_of_a_module_and_an_attribute_of_the_program_have_different_places() -> None:
    plan(clients.Holder(httpx.Client(verify=False)))
    held = places.here().find("program.held")
    assert places.here().find("clients:SHARED") is clients.SHARED
    assert held is not clients.SHARED


def test_a_worker_that_has_no_object_at_a_place_reports_the_place() -> None:
    data = CODEC.dumps(plan(clients.Holder(httpx.Client(verify=False))))
    worker(clients.Holder(None))
    with pytest.raises(Drift, match=r"cannot be copied at program\.held"):
        CODEC.loads(data)


def wave(program: Any, metric: Any = None) -> Any:
    def process_item(item: Any) -> Any:
        return program, metric, item

    return {"function": process_item, "settings": {}}


def late(program: Any) -> Any:
    """Gives a program a client after the worker has recorded the program's places."""
    places.install(Places.of(program=program), "clients:program")
    program.search = clients.Retriever()
    return program


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (lambda: wave(late(clients.Holder(1))), r"spec\.program: search\.http is a httpx\.Client, which cannot be"),
        (lambda: wave(plan(clients.Holder(clients.pages()))), r"spec\.program: held is a generator, .* make it a list"),
        (lambda: wave(1, clients.Judge()), r"spec\.metric: http is a httpx\.Client, which cannot be pickled: make it"),
        (lambda: wave(1, threading.Thread()), r"spec\.metric: it is a threading\.Thread"),
        (
            lambda: [dspy.Example(text="a"), dspy.Example(text="b", db=sqlite3.connect(":memory:"))],
            r"spec\.data, example number 1 from 0: db is a sqlite3\.Connection",
        ),
    ],
    ids=["late", "generator", "metric", "thread", "example"],
)
def test_an_object_that_cannot_be_serialized_is_named_with_its_path_and_a_remedy(payload: Any, says: str) -> None:
    with pytest.raises(NotPortable, match=says):
        CODEC.dumps(payload())


def test_a_client_changed_after_the_entrypoint_is_refused() -> None:
    client = threading.local()  # this object cannot be pickled, has attributes, and its class is not the user's
    client.limit = 3
    program = plan(clients.Holder(client))
    before = Walk().digest(program)
    client.limit = 5
    assert Walk().digest(program) != before
    with pytest.raises(NotPortable, match=r"program\.held is a _local, .* its limit was set after the entrypoint"):
        CODEC.dumps(program)


# --- keys --------------------------------------------------------------------------------------------------------


def test_api_keys_of_the_users_own_models_are_removed_from_payloads_and_restored() -> None:
    program = plan(clients.OwnModels())
    candidate = program.deepcopy()
    candidate.set_lm(program.draft.lm.copy(temperature=0.5))
    for thing in (program, candidate):
        data = CODEC.dumps(thing)
        assert clients.KEY.encode() not in data
    plan(clients.OwnModels())
    data = CODEC.dumps(candidate)
    own = worker(clients.OwnModels())
    own.draft.lm.kwargs["api_key"] = "sk-rotated-since-then"
    found = CODEC.loads(data)
    assert found.final.lm.kwargs["api_key"] == "sk-rotated-since-then"
    assert found.final.lm.kwargs["temperature"] == 0.5
    assert found.search["api_key"] == clients.KEY + "-3"


def test_an_api_key_that_no_worker_can_know_is_refused() -> None:
    program = plan(clients.OwnModels())
    program.draft.lm = dspy.LM("openai/other", api_key="sk-made-by-an-optimizer")
    with pytest.raises(SecretInPayload, match=r"an LM for openai/other carries an API key that is neither in the spec"):
        CODEC.dumps(program)


def test_a_users_api_key_inside_another_text_is_refused() -> None:
    program = plan(clients.OwnModels())
    program.header = f"Bearer {clients.KEY}"
    with pytest.raises(SecretInPayload, match=r"the API key at program\.draft\.lm\.kwargs\['api_key'\] is part of"):
        CODEC.dumps(program)
    assert clients.KEY not in CODEC.redact(program.header)
