"""One hash seed for all processes of a run, so that the order of a set is the same in each of them."""

import os
import sys
from collections.abc import Mapping

VARIABLE = "PYTHONHASHSEED"


def hash_seed(environment: Mapping[str, str] = os.environ) -> int:
    """The number that the environment has; 0 where it has none."""
    text = environment.get(VARIABLE, "")
    return int(text) if text.isdecimal() else 0


def adopt() -> None:
    """Starts this process again where its hash seed is not fixed: a seed counts from the start of a process."""
    if not os.environ.get(VARIABLE, "").isdecimal():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, VARIABLE: str(hash_seed())})
