"""Threads and coroutines of a worker wait for the limiter over TCP."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from swarm_limiter import server
from swarm_limiter.rate import Rate, Turn
from swarm_wire.rates import Answered, Ask, LimitedModel, RateLimit, RateLimits
from swarm_worker.errors import LimiterUnreachable
from swarm_worker.local.limiter import LocalLimiter
from swarm_worker.provider.limiter_client import LimiterTurns


@contextmanager
def limiter(port: int = 0) -> Iterator[str]:
    """Yields the address of a limiter. At the end of the block, the limiter closes all connections."""
    model = LimitedModel(model="m", endpoint="e", limit=one_at_a_time())
    with LocalLimiter(RateLimits(models=(model,)), port) as served:
        yield served.address


@pytest.fixture
def address() -> Iterator[str]:
    with limiter() as served:
        yield served


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LimiterTurns]]:
    """Yields a function that makes clients. At the end, their connections close as those of real processes."""
    lines: list[socket.socket] = []
    connect = socket.create_connection

    def remembered(*arguments: Any, **more: Any) -> socket.socket:
        lines.append(connect(*arguments, **more))
        return lines[-1]

    monkeypatch.setattr(socket, "create_connection", remembered)
    yield LimiterTurns
    for line in lines:
        line.close()


Pod = Callable[..., LimiterTurns]


def one_at_a_time(group: str = "g") -> RateLimit:
    return RateLimit(group=group, concurrency=1)


def begins(turns: LimiterTurns, tokens: int = 0) -> tuple[threading.Event, list[Any]]:
    """Starts a thread that waits for the limiter. Returns an event for its turn, and functions that end the turn."""
    came, ends = threading.Event(), list[Any]()

    def wait() -> None:
        ends.append(turns.wait(tokens))
        came.set()

    threading.Thread(target=wait, daemon=True).start()
    return came, ends


def test_under_a_limit_of_one_concurrent_request_the_limiter_allows_one_request_at_a_time(
    pod: Pod, address: str
) -> None:
    turns = pod(address, one_at_a_time())
    end = turns.wait(0)
    came, ends = begins(turns)
    assert not came.wait(0.3)
    end(Answered(tokens=1))
    assert came.wait(5)
    ends[0](Answered())


def test_groups_are_independent_and_pods_of_the_same_group_share_limits(pod: Pod, address: str) -> None:
    end = pod(address, one_at_a_time("a")).wait(0)
    other, _ = begins(pod(address, one_at_a_time("b")))
    assert other.wait(5)
    same, _ = begins(pod(address, one_at_a_time("a")))
    assert not same.wait(0.3)
    end(Answered())
    assert same.wait(5)


def test_a_group_keeps_to_the_smallest_limit_that_one_of_its_waiting_pods_names(pod: Pod, address: str) -> None:
    many = pod(address, RateLimit(group="g", concurrency=50))
    ends = [many.wait(0) for _ in range(3)]
    few, ended = begins(pod(address, RateLimit(group="g", concurrency=1, requests_per_minute=60_000)))
    assert not few.wait(0.3)
    waits, _ = begins(many)  # the limiter lets the other pod go first
    assert not waits.wait(0.3)
    for end in ends:
        end(Answered())
    assert few.wait(5)
    assert not waits.wait(0.3)
    ended[0](Answered())
    assert waits.wait(5)


def test_the_limiter_waits_after_its_start_before_it_allows_the_first_request(pod: Pod) -> None:
    """The limiter does not know the requests that pods sent just before it started."""
    began, came = time.monotonic(), list[str]()

    def wait(group: str) -> None:
        pod(address, RateLimit(group=group, requests_per_minute=60)).wait(0)
        came.append(group)

    with limiter() as address:
        wait("g")
        assert time.monotonic() - began >= 1
        with ThreadPoolExecutor(2) as pool:
            pool.submit(wait, "g")
            pool.submit(wait, "another, whose pause is over by now")
    assert came == ["g", "another, whose pause is over by now", "g"]


def test_many_threads_together_keep_to_the_rate_limit(pod: Pod, address: str) -> None:
    limit = RateLimit(group="g", requests_per_minute=3000)
    sent: list[float] = []

    def ask(turns: LimiterTurns) -> None:
        for _ in range(10):
            end = turns.wait(0)
            sent.append(time.monotonic())
            end(Answered(tokens=1))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, [pod(address, limit) for _ in range(16)]))
    sent.sort()
    first = sent[0]
    # The limiter allows the requests of one second at once, and afterwards 47.5 requests a second.
    assert all(at - first >= (number - 50) / 50 for number, at in enumerate(sent))


@pytest.mark.parametrize(
    "last",
    [
        lambda line: line.close(),
        lambda line: line.sendall(b"what?\n"),
        lambda line: line.sendall(b'{"tokens": -1}\n'),
        lambda line: line.sendall(b"x" * 100_000),
    ],
    ids=["it disconnects", "it sends no JSON", "it sends an impossible number", "it sends too many bytes"],
)
@pytest.mark.parametrize("has_turn", [True, False])
def test_the_limiter_forgets_a_client_that_disconnects_or_sends_nonsense(
    pod: Pod, address: str, has_turn: bool, last: Callable[[socket.socket], None]
) -> None:
    first = None if has_turn else pod(address, one_at_a_time()).wait(0)
    host, port = address.split(":")
    line = socket.create_connection((host, int(port)))
    line.sendall((Ask(limit=one_at_a_time()).to_json() + "\n").encode())
    if has_turn:
        assert line.recv(3) == b"go\n"
    else:
        time.sleep(0.2)
    came, _ = begins(pod(address, one_at_a_time()))
    assert not came.wait(0.2)
    last(line)
    if first is not None:
        first(Answered())
    assert came.wait(5)
    line.close()


@pytest.mark.parametrize("said", [b"", b"\n", b"{}\n", b"\xff\xfe\n", b"GET / HTTP/1.1\r\n\r\n", b"x" * 100_000])
def test_clients_with_a_wrong_protocol_are_rejected(pod: Pod, address: str, said: bytes) -> None:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as line:
        line.sendall(said)
        if not said:
            line.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert line.recv(100) == b""
    pod(address, one_at_a_time()).wait(0)(Answered())


def test_a_request_gives_up_its_place_at_the_limiter_even_if_an_error_occurs(
    pod: Pod, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = pod(address, one_at_a_time()).wait(0)
    came, ends = begins(pod(address, one_at_a_time()))
    assert not came.wait(0.2)

    def fails(rate: Rate, *arguments: Any) -> None:
        rate.under_way -= 1
        raise OverflowError

    with monkeypatch.context() as patch:
        patch.setattr(Rate, "end", fails)
        end(Answered())
        assert came.wait(5)
    ends[0](Answered())


def test_a_request_of_a_pod_on_a_lost_node_soon_stops_counting() -> None:
    """TCP keepalive does not end a connection with unacknowledged data, so the limiter also sets TCP_USER_TIMEOUT."""
    with socket.socket() as line:
        server._keep_alive(SimpleNamespace(get_extra_info=lambda name: line))  # type: ignore[arg-type]
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 40_000


def test_a_pause_goes_on_even_if_all_clients_leave() -> None:
    rate = Rate()
    turn = rate.take(one_at_a_time(), 0, 0.0)
    assert isinstance(turn, Turn)
    rate.end(turn, Answered(throttled=True, retry_after=1e9), 0.0, luck=1.0)
    assert isinstance(rate.take(one_at_a_time(), 0, server.FORGET_SECONDS), Turn)


def test_clients_reconnect_to_a_restarted_limiter(pod: Pod) -> None:
    with limiter() as address:
        turns = pod(address, one_at_a_time())
        end = turns.wait(0)
        came, ends = begins(turns)
        assert not came.wait(0.2)
    end(Answered())  # the limiter has stopped
    assert not came.wait(1)
    with limiter(int(address.split(":")[1])):
        assert came.wait(10)
        ends[0](Answered())
        turns.wait(0)(Answered())


def test_a_request_without_a_reachable_limiter_fails_with_a_message(pod: Pod) -> None:
    with limiter() as address:
        pass
    began = time.monotonic()
    with pytest.raises(LimiterUnreachable, match=f"has not answered at {address}.*NetworkPolicy"):
        pod(address, one_at_a_time(), patience=1).wait(0)
    assert time.monotonic() - began >= 1
    with pytest.raises(LimiterUnreachable, match="NetworkPolicy"):
        asyncio.run(pod(address, one_at_a_time(), patience=1).async_wait(0))


def test_coroutines_wait_for_the_limiter_as_threads_do(pod: Pod, address: str) -> None:
    turns, order = pod(address, one_at_a_time()), list[str]()

    async def ask(number: int) -> None:
        end = await turns.async_wait(0)
        order.append(f"begin {number}")
        await asyncio.sleep(0.05)
        order.append(f"end {number}")
        end(Answered(tokens=1))

    async def ask_all() -> None:
        await asyncio.gather(*(ask(number) for number in range(4)))

    asyncio.run(ask_all())
    assert [word.split()[0] for word in order] == ["begin", "end"] * 4


def test_a_cancelled_coroutine_gives_up_its_place(pod: Pod, address: str) -> None:
    turns = pod(address, one_at_a_time())

    async def give_up() -> None:
        end = await turns.async_wait(0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(turns.async_wait(0), 0.2)
        end(Answered())
        end = await asyncio.wait_for(turns.async_wait(0), 5)
        end(Answered())

    asyncio.run(give_up())
