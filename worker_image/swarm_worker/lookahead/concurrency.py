"""What else an optimizer does at the same time, by threads or coroutines of its own.

They have no order among them that another process would repeat, and a fork has none of them: who waits for one of them
there waits for ever.
"""

import asyncio
import sys
import threading
import weakref
from concurrent.futures import thread as pools
from typing import Any

_seen: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_IDLE = pools._worker.__code__
"""What a thread of a pool runs that waits for work."""


def is_main() -> bool:
    """Whether the main thread runs this."""
    return threading.current_thread() is threading.main_thread()


def is_ordered() -> bool:
    """Whether every process comes to this place in the same order: in the main thread, with no coroutines that take
    turns. Notes threads that are not.
    """
    if not is_main():
        _seen.add(threading.current_thread())
        return False
    loop = asyncio._get_running_loop()
    return loop is None or len(asyncio.all_tasks(loop)) <= 1


def is_alone() -> bool:
    """Whether a fork would have all that goes on: only the main thread is at work, and not within an event loop."""
    if not is_main() or asyncio._get_running_loop() is not None:
        return False
    frames = sys._current_frames()
    return not any(_works(thread, frames) for thread in threading.enumerate())


def _works(thread: threading.Thread, frames: dict[int, Any]) -> bool:
    """Whether a thread of the optimizer's is at work. Clients and progress bars have daemons that wait for ever, and
    pools whose threads are idle.
    """
    if thread is threading.main_thread() or (thread.daemon and thread not in _seen):
        return False
    frame = frames.get(thread.ident or 0)
    if frame is None or frame.f_code is not _IDLE:
        return frame is not None
    # It waits for work that is there already, or has just taken it.
    found = frame.f_locals
    return found.get("work_item") is not None or found["work_queue"].qsize() > 0
