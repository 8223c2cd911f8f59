"""The health of the operator's process, which its liveness and readiness probes report."""

import time
from collections.abc import Callable, Mapping


class Pulse:
    """Compares the objects that watches reported with the objects that resyncs found.

    While the API server does not answer, the process is not ready. A restart would not help then, so it counts as
    alive. A watch is deaf if resyncs find versions of objects that no watch has reported. Then the process counts as
    not alive, because a deaf watch raises no error, and only a restart of the process repairs it.

    Args:
        patience: seconds for which nothing may be heard before the process counts as not ready or not alive.
    """

    def __init__(self, patience: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._monotonic = patience, monotonic
        self._heard_at: float | None = None
        self._looked_at: float | None = None
        self._told: dict[str, str] = {}
        self._untold: dict[str, float] = {}
        self._deaf = False

    def told(self, uid: str, version: str) -> None:
        """Notes that a watch has reported an object."""
        self._told[uid] = version
        self._untold.pop(uid, None)
        self._heard_at = self._monotonic()

    def looked(self, versions: Mapping[str, str]) -> None:
        """Notes the objects that a resync has found: resourceVersion by uid."""
        now = self._heard_at = self._looked_at = self._monotonic()
        untold = {uid for uid, version in versions.items() if self._told.get(uid) != version}
        self._told = {uid: version for uid, version in self._told.items() if uid in versions}
        self._untold = {uid: self._untold.get(uid, now) for uid in untold}
        self._deaf = any(now - since > self._patience for since in self._untold.values())

    def failed(self) -> None:
        """Notes that a resync has failed.

        While resyncs fail, a silent watch may just mean that the API server is away.
        """
        self._looked_at = self._monotonic()
        self._untold, self._deaf = {}, False

    @property
    def ready(self) -> bool:
        """Whether a watch or a resync has reported something in the last `patience` seconds."""
        return self._heard_at is not None and self._monotonic() - self._heard_at <= self._patience

    @property
    def trouble(self) -> str:
        """Returns why the process must be restarted, or an empty text if it need not be restarted."""
        if self._deaf:
            return "a watch is deaf"
        if self._looked_at is not None and self._monotonic() - self._looked_at > self._patience:
            return "looks at everything have ceased"
        return ""
