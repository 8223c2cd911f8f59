"""The health of this process, which its probes report: whether it works, and whether it is useful."""

import time
from collections.abc import Callable, Mapping


class Pulse:
    """Compares the objects that watches reported with those that resyncs found.

    Without an API server the process is not ready, and a restart would not help. If resyncs succeed and find versions
    of objects that no watch reported, a watch is deaf: the process is not alive. That happens without an error, and
    only a restart ends it.

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
        """A watch reported an object."""
        self._told[uid] = version
        self._untold.pop(uid, None)
        self._heard_at = self._monotonic()

    def looked(self, versions: Mapping[str, str]) -> None:
        """A resync found these objects: resourceVersion by uid."""
        now = self._heard_at = self._looked_at = self._monotonic()
        untold = {uid for uid, version in versions.items() if self._told.get(uid) != version}
        self._told = {uid: version for uid, version in self._told.items() if uid in versions}
        self._untold = {uid: self._untold.get(uid, now) for uid in untold}
        self._deaf = any(now - since > self._patience for since in self._untold.values())

    def failed(self) -> None:
        """A resync failed, so the silence of a watch is no evidence against it."""
        self._looked_at = self._monotonic()
        self._untold, self._deaf = {}, False

    @property
    def ready(self) -> bool:
        """Whether a watch or a resync reported something lately."""
        return self._heard_at is not None and self._monotonic() - self._heard_at <= self._patience

    @property
    def trouble(self) -> str:
        """Why the process must be restarted; empty if it need not be."""
        if self._deaf:
            return "a watch is deaf"
        if self._looked_at is not None and self._monotonic() - self._looked_at > self._patience:
            return "looks at everything have ceased"
        return ""
