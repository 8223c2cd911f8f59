"""What the runtime must know of a custom resource. Each kind defines it in its own folder."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from swarm_operator.cluster.client import Kube
from swarm_operator.cluster.resources import Resource
from swarm_operator.settings import Settings

Pass = Callable[[Any], Awaitable[float | None]]
"""Makes one pass over a key's object; returns the seconds until the next pass (None: when woken)."""


@dataclass(frozen=True)
class Kind:
    """
    Attributes:
        finalizer: is on pods that a pass must read before they are deleted.
        key: returns the hashable key of an object of this kind.
        owner: returns the key of the object that a Job or pod belongs to; None if it is not of this kind.
        passes: creates the function that makes passes, once per process.
    """

    resource: Resource
    finalizer: str
    key: Callable[[Any], Any]
    owner: Callable[[Any], Any]
    passes: Callable[[Kube, Settings, Callable[[], datetime]], Pass]
