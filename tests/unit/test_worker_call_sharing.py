"""Processes of one machine make each LM call once."""

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.models import CODEC
from support.worker import run_python
from swarm_worker.replay.call_sharing import Desk, Window
from swarm_worker.replay.calls import Answers


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as found:
        yield found


def window(desk: Desk) -> Window:
    found = Window.of(desk.environment)
    assert found is not None
    return found


def test_the_first_process_that_asks_makes_the_call_and_the_others_wait(desk: Desk) -> None:
    one, other = window(desk), window(desk)
    assert one.claim("a") is None
    assert one.claim("b") is None
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(other.claim, "a"), pool.submit(one.claim, "a")]
        assert not any(claim.done() for claim in waiting)
        one.land("a", b"answer")
        assert [claim.result() for claim in waiting] == [b"answer", b"answer"]
    assert other.claim("a") == b"answer"
    one.land("b", b"")
    assert other.claim("b") == b""


def test_the_next_waiting_process_makes_a_call_that_got_no_answer(desk: Desk) -> None:
    one, other = window(desk), window(desk)
    assert one.claim("a") is None
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.claim, "a")
        one.land("a", None)
        assert waiting.result() is None


def answers(desk: Desk) -> Answers:
    return Answers(CODEC, lambda key: None, lambda record: None, window(desk))


async def test_a_coroutine_waits_for_another_process_without_blocking_other_coroutines(desk: Desk) -> None:
    one, other = window(desk), answers(desk)
    assert one.claim("a") is None
    waiting = asyncio.create_task(other.aclaim("a"))
    assert await other.aclaim("b") is None, "it is served while the first one waits"
    assert not waiting.done()
    one.land("a", b"answer")
    assert await waiting == b"answer"


async def test_the_call_of_a_cancelled_coroutine_is_made_by_another_process(desk: Desk) -> None:
    one, other = window(desk), answers(desk)
    assert one.claim("a") is None
    waiting = asyncio.create_task(other.aclaim("a"))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    one.land("a", None)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(one.claim, "a").result(timeout=10) is None


DIES = """
import os, sys
from swarm_worker.replay.call_sharing import Window
assert Window.of(os.environ).claim("a") is None
"""


def test_the_calls_of_a_dead_process_are_made_by_other_processes(desk: Desk) -> None:
    done = run_python(DIES, **desk.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert window(desk).claim("a") is None


def socket_to(desk: Desk) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.connect(desk.environment["SWARM_EXCHANGE"].partition(":")[2])
    return line


def test_a_process_that_dies_while_it_connects_blocks_no_other_process(desk: Desk) -> None:
    for words in (b"", b"no", b"\0\0\0\4else"):
        with socket_to(desk) as line:
            line.sendall(words)
    assert window(desk).claim("a") is None


def test_a_process_that_stops_while_it_connects_blocks_no_other_process(desk: Desk) -> None:
    with socket_to(desk):
        assert window(desk).claim("a") is None


def test_without_a_server_each_process_makes_its_own_calls(desk: Desk) -> None:
    found = window(desk)
    environment = desk.environment
    desk.__exit__()
    assert found.claim("a") is None
    found.land("a", b"answer")
    late = Window.of(environment)
    assert late is not None
    assert late.claim("a") is None
    assert Window.of({}) is None


def test_a_client_with_a_wrong_key_can_neither_get_nor_store_an_answer(desk: Desk) -> None:
    address = desk.environment["SWARM_EXCHANGE"].partition(":")[2]
    one = window(desk)
    assert one.claim("a") is None
    one.land("a", b"answer")
    stranger = Window(f"{'00' * 16}:{address}")
    assert stranger.claim("a") is None, "it makes its own calls"
    stranger.land("a", b"a lie")
    assert window(desk).claim("a") == b"answer", "others are still served"
