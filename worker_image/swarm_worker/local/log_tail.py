"""Follows a process's log, line by line."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


@contextmanager
def following(log: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Within the block, passes on each line that is written to a file. At the end, passes on an unfinished line."""
    log.write_bytes(b"")  # this drops the log of an earlier process
    over = threading.Event()

    def follow() -> None:
        rest, is_over = "", False
        with log.open(encoding="utf-8", errors="replace", newline="\n") as file:
            while not is_over:
                is_over = over.wait(POLL_SECONDS)
                *lines, rest = (rest + file.read()).split("\n")
                for line in [*lines, rest] if is_over and rest else lines:
                    say(line.rpartition("\r")[2])  # a progress bar overwrites its line

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
