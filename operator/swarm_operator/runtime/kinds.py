"""What the runtime must know of a custom resource: each kind says it in its own folder."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from swarm_operator.cluster.client import Kube
from swarm_operator.cluster.resources import Resource
from swarm_operator.settings import Settings

Pass = Callable[[Any], Awaitable[float | None]]
"""One pass over the object of a key; returns after how many seconds it wants another one (None: when woken)."""


@dataclass(frozen=True)
class Kind:
    """
    Attributes:
        finalizer: is on pods that a pass has to read before they go.
        key: of an object of this kind; hashable.
        owner: of a Job or pod: the key of the object that it belongs to; None where it belongs to none of this kind.
        passes: makes the passes, for one process.
    """

    resource: Resource
    finalizer: str
    key: Callable[[Any], Any]
    owner: Callable[[Any], Any]
    passes: Callable[[Kube, Settings, Callable[[], datetime]], Pass]
