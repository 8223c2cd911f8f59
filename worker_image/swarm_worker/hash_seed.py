"""Gives all processes of a run one hash seed, so that the order of a set is the same in each."""

import os
import sys
from collections.abc import Mapping

VARIABLE = "PYTHONHASHSEED"


def hash_seed(environment: Mapping[str, str] = os.environ) -> int:
    """Returns the environment's hash seed; 0 if it has none."""
    text = environment.get(VARIABLE, "")
    return int(text) if text.isdecimal() else 0


def adopt() -> None:
    """Restarts this process with a fixed hash seed if it has none, because Python reads the seed only at its start."""
    if not os.environ.get(VARIABLE, "").isdecimal():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, VARIABLE: str(hash_seed())})
