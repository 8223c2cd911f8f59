"""Tries an access to a storage again, so that a brief failure of a volume or bucket ends no pod."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from swarm_worker.errors import Drift

T = TypeVar("T")


def tried(act: Callable[[], T], pauses: Sequence[float]) -> T:
    """Calls the function and returns its result. After the last retry, raises its error. Raises Drift at once.

    Args:
        pauses: seconds before each retry.
    """
    for pause in pauses:
        try:
            return act()
        except Drift:
            raise
        except Exception:
            time.sleep(pause)
    return act()
