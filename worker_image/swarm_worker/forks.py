"""Forks this process, for lookahead and for the rehearsal. A fork affects its parent only by its messages."""

import contextlib
import os
import select
import signal
import socket
import stat
import sys
import threading
import weakref
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Queue
from typing import Any, NoReturn


@dataclass(frozen=True)
class Child:
    """The parent's access to a fork."""

    connection: Connection
    pid: int

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.connection.close()


def fork(*, duplex: bool) -> "Child | Connection":
    """Forks this process. Only its main thread may call this.

    The fork's output is discarded. SIGTERM ends the fork at once, because the handler that it inherits would write a
    commit record.

    Args:
        duplex: whether the fork also reads from the pipe.

    Returns:
        In the parent, the `Child`. In the fork, its end of the pipe.
    """
    ours, theirs = Pipe(duplex)
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        pid = os.fork()
        if pid:
            theirs.close()
            return Child(ours, pid)
        ours.close()
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
        os.dup2(sys.stdout.fileno(), 1)
        os.dup2(sys.stdout.fileno(), 2)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return theirs
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def end_with_reader(pipe: int, code: int) -> None:
    """Starts a thread that ends this process as soon as no process reads from the pipe any more."""

    def wait() -> NoReturn:
        poll = select.poll()
        poll.register(pipe, 0)
        poll.poll()
        os._exit(code)

    threading.Thread(target=wait, daemon=True).start()


def leave_connections() -> None:
    """Puts a closed socket in the place of every socket that this fork has inherited.

    A fork shares its parent's connections, and its messages on them would confuse the parent. A client that finds its
    connection closed opens a new one.
    """
    closed, other = socket.socketpair()
    other.close()
    for number in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        with contextlib.suppress(OSError):  # iterdir has closed its own descriptor already
            if stat.S_ISSOCK(os.fstat(number).st_mode) and number != closed.fileno():
                os.dup2(closed.fileno(), number, inheritable=False)
    closed.detach()


def restart_batching() -> None:
    """Makes every later fork restart the thread of each `Unbatchify` object of DSPy.

    `dspy.retrievers.Embeddings` waits for that thread, and a fork has no copy of it.
    """
    from dspy.utils.unbatchify import Unbatchify

    live: weakref.WeakSet[Any] = weakref.WeakSet()
    stock_init = Unbatchify.__init__

    def init(batching: Any, *given: Any, **named: Any) -> None:
        stock_init(batching, *given, **named)
        live.add(batching)

    def restart() -> None:
        for batching in list(live):
            if not batching.stop_event.is_set():
                # The parent's thread may have held the locks of the old queue and event, so the fork makes new ones.
                batching.input_queue, batching.stop_event = Queue(), threading.Event()
                batching.worker_thread = threading.Thread(target=batching._worker, daemon=True)
                batching.worker_thread.start()

    Unbatchify.__init__ = init
    os.register_at_fork(after_in_child=restart)
