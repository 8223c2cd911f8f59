"""Gives all processes of a run one hash seed, so that the order of a set is the same in each."""

import os
import sys
from collections.abc import Mapping

VARIABLE = "PYTHONHASHSEED"


def hash_seed(environment: Mapping[str, str] = os.environ) -> int:
    """The environment's hash seed; 0 if it has none."""
    text = environment.get(VARIABLE, "")
    return int(text) if text.isdecimal() else 0


def adopt() -> None:
    """Restarts this process if its hash seed is not fixed, because Python reads the seed only at the start."""
    if not os.environ.get(VARIABLE, "").isdecimal():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, VARIABLE: str(hash_seed())})
