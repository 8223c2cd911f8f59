"""Only one operator writes at a time: the operator that holds a Lease.

Two operators do not damage each other's objects, since they compute the same names and write with preconditions. But an
operator that was paused may go on, and create a Job again that another operator has already finished and deleted. So an
operator writes only while it holds the Lease, and it ends when another operator has taken the Lease.

No operator compares its clock with another's clock. The holder counts the Lease's seconds from before its own write.
The other operators count from the moment when they saw this write. So the holder stops before another operator takes
over.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from swarm_operator.cluster import errors
from swarm_operator.cluster.client import Kube, Object
from swarm_operator.cluster.resources import Resource

log = logging.getLogger(__name__)

LEASES: Final = Resource("coordination.k8s.io/v1", "leases")
SECONDS: Final = 15
"""Seconds for which an operator holds the Lease after it has written it."""
PAUSE: Final = 3.0
"""Seconds between two reads of the Lease."""


class Deposed(Exception):
    """Another operator has taken the Lease from this operator. The facts that this operator has may be outdated."""


class Lease:
    """Takes and renews one Lease, and knows whether this process holds it.

    Args:
        holder: the name of this process; processes that may run at the same time need different names.
        clock: gives the time of renewal, which people can read in the Lease.
    """

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        holder: str,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube, self._namespace, self._name, self._holder = kube, namespace, name, holder
        self._clock, self._monotonic = clock, monotonic
        self._until: float | None = None
        self._seen: tuple[str, float] = ("", 0.0)

    @property
    def held(self) -> bool:
        return self._until is not None and self._monotonic() < self._until

    async def keep(self) -> None:
        """Takes the Lease as soon as it is free, and renews it until this task is cancelled.

        Raises Deposed if another operator has taken the Lease.
        """
        waits = False
        while True:
            try:
                other = await self.take()
            except errors.ApiError as error:
                log.warning("the Lease %s/%s: %s", self._namespace, self._name, error)
            else:
                if other and not waits:
                    log.info("waits for %s, which holds the Lease %s/%s", other, self._namespace, self._name)
                waits = bool(other)
            await asyncio.sleep(PAUSE)

    async def take(self) -> str:
        """Takes or renews the Lease. Returns another holder's name, or "" if this process holds it.

        Raises Deposed and errors.ApiError.
        """
        began = self._monotonic()
        found = await self._kube.get(LEASES, self._namespace, self._name)
        other = str((found or {}).get("spec", {}).get("holderIdentity") or "")
        if self._until is not None and other != self._holder:
            self._until = began
            raise Deposed(f"the Lease {self._namespace}/{self._name} was lost to {other or 'another operator'}")
        if found is None:
            await self._kube.create(LEASES, self._namespace, self._body(self._holder))
        else:
            version = found["metadata"]["resourceVersion"]
            if other not in ("", self._holder) and not self._is_over(version):
                return other
            await self._write(self._holder, version)
        self._until = began + SECONDS
        return ""

    async def release(self) -> None:
        """Gives up the Lease, so that the next holder need not wait. After this, this process writes nothing more."""
        if not self.held:
            return
        self._until = None
        found = await self._kube.get(LEASES, self._namespace, self._name)
        if found is not None and found["spec"].get("holderIdentity") == self._holder:
            await self._write("", found["metadata"]["resourceVersion"])

    def _is_over(self, version: str) -> bool:
        """Whether the Lease has expired: this process has seen no new version of it for longer than SECONDS."""
        now = self._monotonic()
        if self._seen[0] != version:
            self._seen = (version, now)
        return now - self._seen[1] > SECONDS

    async def _write(self, holder: str, version: str) -> None:
        """Writes the Lease. Raises errors.Rejected if another process has written the Lease since this version."""
        seen = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
        held = {"op": "replace", "path": "/spec", "value": self._body(holder)["spec"]}
        await self._kube.patch(LEASES, self._namespace, self._name, [seen, held])

    def _body(self, holder: str) -> Object:
        return {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": SECONDS,
                # A write that changes nothing gives the Lease no new version. Then other operators would not notice
                # that it was renewed.
                "renewTime": self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }


class Fenced:
    """A Kube that writes only while this process holds the Lease. At other times a write raises Unavailable."""

    def __init__(self, kube: Kube, lease: Lease) -> None:
        self._kube, self._lease = kube, lease
        self.get, self.select, self.log = kube.get, kube.select, kube.log

    async def create(self, resource: Resource, namespace: str, body: Object) -> None:
        self._check()
        await self._kube.create(resource, namespace, body)

    async def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Object,
        *,
        subresource: str = "",
        force: bool = False,
    ) -> None:
        self._check()
        await self._kube.apply(resource, namespace, name, body, subresource=subresource, force=force)

    async def patch(
        self, resource: Resource, namespace: str, name: str, operations: Sequence[Object], *, subresource: str = ""
    ) -> None:
        self._check()
        await self._kube.patch(resource, namespace, name, operations, subresource=subresource)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        self._check()
        await self._kube.delete(resource, namespace, name, uid)

    def _check(self) -> None:
        if not self._lease.held:
            raise errors.Unavailable("this operator does not hold its Lease, so it writes nothing")
