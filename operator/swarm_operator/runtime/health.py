"""Whether this process still works, and whether it is of use: what its probes tell."""

import time
from collections.abc import Callable, Mapping


class Pulse:
    """What watches told, and what looks at everything found.

    An API server that is away makes the process useless (not ready), and starting it again would not help. Where looks
    succeed and show objects in versions that no watch tells of, a watch is deaf (not alive): that happens without an
    error, and only starting anew ends it.

    Args:
        patience: seconds.
    """

    def __init__(self, patience: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._monotonic = patience, monotonic
        self._heard_at: float | None = None
        self._looked_at: float | None = None
        self._told: dict[str, str] = {}
        self._untold: dict[str, float] = {}
        self._deaf = False

    def told(self, uid: str, version: str) -> None:
        """A watch brings an object."""
        self._told[uid] = version
        self._untold.pop(uid, None)
        self._heard_at = self._monotonic()

    def looked(self, versions: Mapping[str, str]) -> None:
        """A look at everything found these objects: their resourceVersions by uid."""
        now = self._heard_at = self._looked_at = self._monotonic()
        untold = {uid for uid, version in versions.items() if self._told.get(uid) != version}
        self._told = {uid: version for uid, version in self._told.items() if uid in versions}
        self._untold = {uid: self._untold.get(uid, now) for uid in untold}
        self._deaf = any(now - since > self._patience for since in self._untold.values())

    def failed(self) -> None:
        """A look at everything failed: no watch can be blamed for being silent."""
        self._looked_at = self._monotonic()
        self._untold, self._deaf = {}, False

    @property
    def ready(self) -> bool:
        """Whether the cluster was heard of lately."""
        return self._heard_at is not None and self._monotonic() - self._heard_at <= self._patience

    @property
    def trouble(self) -> str:
        """Why the process has to be started anew; empty if it has not."""
        if self._deaf:
            return "a watch is deaf"
        if self._looked_at is not None and self._monotonic() - self._looked_at > self._patience:
            return "looks at everything have ceased"
        return ""
