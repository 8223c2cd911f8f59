"""Watches how user code sets `dspy.settings`.

While the program is loaded, `dspy.configure` works as in a script, except that the spec's models stay. While an example
runs, `dspy.configure` ends the run. Stock DSPy would show the change to other examples, but here these run in other
processes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dspy
from dspy.dsp.utils.settings import DEFAULT_CONFIG, Settings

from swarm_wire.names import WorkerReason
from swarm_worker.exceptions import place
from swarm_worker.replay import recorded
from swarm_worker.replay.calls import current, refuse

OURS = "swarm_"
"""Prefix of this package's own settings."""
_NOT_IN_FORCE = frozenset(
    {
        # These settings hold records of calls, see `replay.recorded`.
        "trace",
        "usage_tracker",
        "_decision_evidence",
        # These settings say which call is under way.
        "caller_modules",
        "caller_predict",
        "send_stream",
        "stream_listeners",
        "_lm_stream_progress",
    }
)


def in_force() -> dict[str, Any]:
    """Returns the current settings: the LM, the adapter, and all others that differ from DSPy's defaults."""
    names = sorted(name for name in dspy.settings.config if name not in _NOT_IN_FORCE and not name.startswith(OURS))
    found = {name: dspy.settings.get(name) for name in names}
    changed = {name: value for name, value in found.items() if not _is_default(name, value)}
    return {"lm": found["lm"], "adapter": found["adapter"], **changed, **_trace()}


def with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns these settings with DSPy's defaults for all others, except the trace."""
    return {name: value for name, value in DEFAULT_CONFIG.items() if name != "trace"} | settings


def _trace() -> dict[str, None]:
    """Returns the setting that turns off the recording of calls, if it is set."""
    return {"trace": None} if dspy.settings.trace is None else {}


def _is_default(name: str, value: Any) -> bool:
    if name not in DEFAULT_CONFIG:
        return False
    default = DEFAULT_CONFIG[name]
    return value is default or (type(value) is type(default) and bool(value == default))


@contextmanager
def loading(tell: Callable[[str], None], fixed: dict[str, Any]) -> Iterator[None]:
    """Within the block, user code may configure DSPy, except for the spec's settings.

    Args:
        tell: receives a sentence about each ignored setting.
        fixed: the spec's settings, each with its name in the spec.
    """
    _watch.tell, _watch.fixed = tell, fixed
    try:
        yield
    finally:
        _watch.tell, _watch.fixed = None, {}


class _Watch:
    tell: Callable[[str], None] | None = None
    fixed: dict[str, Any] = {}  # noqa: RUF012


_watch = _Watch()


def watch() -> None:
    """Replaces `dspy.configure` in this process, also under its name `dspy.settings.configure`."""
    stock = Settings.configure
    if getattr(stock, "is_watched", False):
        return

    def configure(settings: Any, **given: Any) -> None:
        if current() is not None:
            refuse(
                WorkerReason.SIDE_EFFECT,
                f"{place()} calls dspy.configure while an example is run: that would change what other examples see, "
                "which run in other processes. Use dspy.context around the call instead.",
            )
        if type(given.get("trace")) is list:
            given["trace"] = recorded.trace(*given["trace"])
        stock(settings, **_without_fixed(given))

    configure.is_watched = True  # type: ignore[attr-defined]
    Settings.configure = configure
    dspy.configure = dspy.settings.configure


def _without_fixed(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the given settings without those of the spec."""
    for name in [name for name in given if name in _watch.fixed]:
        where, value = _watch.fixed[name]
        if given[name] is not value and _watch.tell is not None:
            _watch.tell(f"{place()} configures {_described(given[name])}, and {where} ({_described(value)}) is used.")
    return {name: value for name, value in given.items() if name not in _watch.fixed}


def _described(value: Any) -> str:
    return str(value.model) if isinstance(value, dspy.BaseLM) else type(value).__name__
