"""A process's log, line by line, while it grows."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


@contextmanager
def following(log: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Within, what is written to a file is told, each line once; all of it when this is over."""
    log.write_bytes(b"")  # of an earlier process, perhaps
    over = threading.Event()

    def follow() -> None:
        rest, is_over = "", False
        with log.open(encoding="utf-8", errors="replace", newline="\n") as file:
            while not is_over:
                is_over = over.wait(POLL_SECONDS)
                *lines, rest = (rest + file.read()).split("\n")
                for line in [*lines, rest] if is_over and rest else lines:
                    say(line.rpartition("\r")[2])  # bars write over what they wrote

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
