"""Defines what the runtime must know of a custom resource.

Each custom resource has a folder of its own that says it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from swarm_operator.cluster.client import Kube
from swarm_operator.cluster.resources import Resource
from swarm_operator.settings import Settings

Pass = Callable[[Any], Awaitable[float | None]]
"""A function that makes one pass over the object of a key.

It returns the seconds until the next pass; None if only an event starts the next pass.
"""


@dataclass(frozen=True)
class Kind:
    """A custom resource that the operator serves.

    Attributes:
        finalizer: is on the pods whose output a pass must read before Kubernetes deletes them; empty: on none.
        key: returns the hashable key of an object of this kind.
        owner: returns the key of the object of this kind to which another object belongs; None if it belongs to none.
        passes: creates the function that makes passes. The runtime calls it once per process.
    """

    resource: Resource
    finalizer: str
    key: Callable[[Any], Any]
    owner: Callable[[Any], Any]
    passes: Callable[[Kube, Settings, Callable[[], datetime]], Pass]
