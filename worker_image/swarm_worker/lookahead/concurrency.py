"""Detects whether an optimizer uses threads or coroutines of its own.

Threads and coroutines run in another order in each process. A fork lacks its parent's threads. So code in the fork that
waits for such a thread waits forever.
"""

import asyncio
import sys
import threading
import weakref
from concurrent.futures import thread as pools
from typing import Any

_seen: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_IDLE = pools._worker.__code__
"""The code that an idle thread of a pool runs."""


def is_main() -> bool:
    """Whether this code runs in the main thread."""
    return threading.current_thread() is threading.main_thread()


def is_ordered() -> bool:
    """Whether every process runs this code in the same order: in the main thread, without concurrent coroutines.

    Remembers any other thread as one of the optimizer's.
    """
    if not is_main():
        _seen.add(threading.current_thread())
        return False
    loop = asyncio._get_running_loop()
    return loop is None or len(asyncio.all_tasks(loop)) <= 1


def is_alone() -> bool:
    """Whether a fork can go on as this process would: only the main thread works, and it runs no event loop."""
    if not is_main() or asyncio._get_running_loop() is not None:
        return False
    frames = sys._current_frames()
    return not any(_works(thread, frames) for thread in threading.enumerate())


def _works(thread: threading.Thread, frames: dict[int, Any]) -> bool:
    """Whether a thread is one of the optimizer's and is at work.

    Daemon threads of LM clients and progress bars do not count, because they wait forever. Idle threads of a pool do
    not count, either.
    """
    if thread is threading.main_thread() or (thread.daemon and thread not in _seen):
        return False
    frame = frames.get(thread.ident or 0)
    if frame is None or frame.f_code is not _IDLE:
        return frame is not None
    # An idle thread is about to work if its queue has work, or if it has just taken some.
    found = frame.f_locals
    return found.get("work_item") is not None or found["work_queue"].qsize() > 0
