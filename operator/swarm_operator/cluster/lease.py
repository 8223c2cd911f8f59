"""One operator at a time: a Lease that whoever writes has to hold.

Names that are computed, and preconditions, let two operators do no harm to what is there. One harm is left: one that
was stopped in the middle of a pass goes on, and creates a Job anew that its successor has done with. So nothing is
written by whoever does not hold the Lease, and who lost it to another ends.

Clocks are not compared. The holder counts from before it wrote, the others from when they saw what it wrote, each by
its own seconds; so it knows that its time is over before they do.
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
"""So long it is held without being renewed."""
PAUSE: Final = 3.0
"""Seconds between two looks at it."""


class Deposed(Exception):
    """Another operator has had the Lease since this one held it: what this one knows may be old."""


class Lease:
    """One Lease, and whether this process holds it.

    Args:
        holder: who this is: another one for each process that may run beside others.
        clock: for people, who may want to know when it was renewed.
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
        """Takes it as soon as it is free, and holds it until this is cancelled. Raises Deposed."""
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
        """Takes or renews it. Returns who else holds it; empty: this one does. Raises Deposed and errors.ApiError."""
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
        """The next one need not wait. Nothing may be written after this."""
        if not self.held:
            return
        self._until = None
        found = await self._kube.get(LEASES, self._namespace, self._name)
        if found is not None and found["spec"].get("holderIdentity") == self._holder:
            await self._write("", found["metadata"]["resourceVersion"])

    def _is_over(self, version: str) -> bool:
        """Whether it has not been renewed for long enough."""
        now = self._monotonic()
        if self._seen[0] != version:
            self._seen = (version, now)
        return now - self._seen[1] > SECONDS

    async def _write(self, holder: str, version: str) -> None:
        """Raises errors.Rejected where somebody else has written since that version."""
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
                # Without it, renewing would change nothing, and not be seen.
                "renewTime": self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }


class Fenced:
    """A Kube that writes only while the Lease is held; else Unavailable."""

    def __init__(self, kube: Kube, lease: Lease) -> None:
        self._kube, self._lease = kube, lease
        self.get, self.select, self.log = kube.get, kube.select, kube.log

    async def create(self, resource: Resource, namespace: str, body: Object) -> None:
        self._check()
        await self._kube.create(resource, namespace, body)

    async def apply(
        self, resource: Resource, namespace: str, name: str, body: Object, *, subresource: str = ""
    ) -> None:
        self._check()
        await self._kube.apply(resource, namespace, name, body, subresource=subresource)

    async def patch(self, resource: Resource, namespace: str, name: str, operations: Sequence[Object]) -> None:
        self._check()
        await self._kube.patch(resource, namespace, name, operations)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        self._check()
        await self._kube.delete(resource, namespace, name, uid)

    def _check(self) -> None:
        if not self._lease.held:
            raise errors.Unavailable("this operator does not hold its Lease, so it writes nothing")
