"""A fork has only the thread that forks, so the plan forks scouts only while no other thread works."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as pools
from queue import SimpleQueue
from typing import Any

import pytest

from swarm_worker.lookahead.concurrency import is_alone


class Full(SimpleQueue[Any]):
    """A queue that has work which its thread has not yet taken."""

    def qsize(self) -> int:
        return 1


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def idle(queue: SimpleQueue[Any]) -> threading.Thread:
    """Starts a thread of a pool, which waits for work in this queue."""
    thread = threading.Thread(target=pools._worker, args=(lambda: None, queue, None, ()))
    thread.start()
    return thread


def test_a_main_thread_beside_an_idle_thread_pool_counts_as_alone(pool: ThreadPoolExecutor) -> None:
    assert is_alone()
    pool.submit(int).result()
    for _ in range(1000):
        if is_alone():
            return
    raise AssertionError("the pool is idle")


def test_a_main_thread_beside_a_busy_thread_pool_does_not_count_as_alone(pool: ThreadPoolExecutor) -> None:
    end = threading.Event()
    pool.submit(end.wait)
    assert not is_alone()
    end.set()


@pytest.mark.parametrize(("queue", "expected"), [(SimpleQueue[Any], True), (Full, False)], ids=["empty", "full"])
def test_a_thread_pool_with_work_in_its_queue_counts_as_busy(queue: type[SimpleQueue[Any]], expected: bool) -> None:
    waiting = queue()
    thread = idle(waiting)
    try:
        # The thread needs a moment until it waits at its queue.
        assert expected in [is_alone() for _ in range(10_000)]
        assert is_alone() is expected
    finally:
        waiting.put(None)
        thread.join()
