"""Guards DSPy's records of LM calls: histories, the trace, and usage.

In stock DSPy one process runs all examples, so a program can read entries of earlier examples. Here examples run in
many processes, and an answer may come from the journal. An example finds its own entries, as in stock DSPy. Entries of
earlier examples depend on the order of examples, and so does whether a call was paid for. So a program that reads
either ends the run.
"""

import sys
from collections.abc import Iterator
from typing import Any, SupportsIndex

import dspy
from dspy.clients import base_lm
from dspy.dsp.utils.settings import main_thread_config
from dspy.primitives.prediction import Prediction
from dspy.utils.usage_tracker import UsageTracker

from swarm_wire.names import WorkerReason
from swarm_worker.exceptions import place
from swarm_worker.replay.calls import current, refuse

PAID_FOR = ("usage", "response")
"""Parts of a history's entry that differ when DSPy's cache answers."""


class _Process:
    """State of this process outside of cells.

    Attributes:
        effects: number of effects that the optimizer has needed; their examples ran in other processes.
    """

    effects = 0


_process = _Process()


def leave() -> None:
    """Notes that examples run in other processes. The entries of this process are then no longer the last ones."""
    _process.effects += 1
    if dspy.settings.trace is not main_thread_config["trace"] and type(dspy.settings.trace) is list:
        refuse(
            WorkerReason.ORDER_DEPENDENT,
            f"{place()} evaluates a program while it collects dspy.settings.trace: examples run in other processes, so "
            "their calls would be missing there. Collect the trace of a program's own call only.",
        )


class Recorded(list[Any]):
    """A list of recorded LM calls. This process may know only its last entries.

    Args:
        name: its name in messages.
        known: whether it has all entries that it has in stock DSPy.
    """

    def __init__(self, name: str, entries: Any = (), *, known: bool = False) -> None:
        super().__init__(entries)
        self._name, self._known, self._effects = name, known, _process.effects

    def append(self, entry: Any) -> None:
        self._look_back()
        super().append(Entry(entry) if type(entry) is dict and "usage" in entry else entry)

    def clear(self) -> None:
        super().clear()
        self._known, self._effects = True, _process.effects

    def pop(self, index: SupportsIndex = -1) -> Any:
        self._allow(self._has(int(index)))
        return super().pop(index)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            self._allow(index.start is not None and index.step in (None, 1) and self._has(index.start))
        else:
            self._allow(self._has(index))
        return super().__getitem__(index)

    def __bool__(self) -> bool:
        self._allow(self._has(-1))
        return super().__len__() > 0

    def __len__(self) -> int:
        self._allow(False)
        return super().__len__()

    def __iter__(self) -> Iterator[Any]:
        self._allow(False)
        return super().__iter__()

    def __reversed__(self) -> Iterator[Any]:
        self._allow(False)
        return super().__reversed__()

    def __contains__(self, entry: object) -> bool:
        self._allow(False)
        return super().__contains__(entry)

    def __eq__(self, other: object) -> bool:
        self._allow(False)
        return super().__eq__(other)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return list, (list(super().__iter__()),)

    def copy(self) -> list[Any]:
        self._allow(False)
        return super().copy()

    def _has(self, index: int) -> bool:
        """Whether the index is negative, and names an entry that was recorded in this process."""
        self._look_back()
        return -super().__len__() <= index < 0

    def _look_back(self) -> None:
        if self._effects != _process.effects and current() is None:
            super().clear()
            self._known, self._effects = False, _process.effects

    def _allow(self, is_known: bool) -> None:
        self._look_back()
        if not (is_known or self._known or _reader_is_ours()):
            refuse(
                WorkerReason.ORDER_DEPENDENT,
                f"{place()} reads what others left in {self._name}: that depends on the order in which examples run, "
                "which a swarm does not keep. Read the last entries of the example's own calls, "
                f"as in {self._name}[-1], or none.",
            )


class Entry(dict[str, Any]):
    """An entry of a history. It is unknown whether DSPy's cache would have answered its call."""

    def __getitem__(self, name: str) -> Any:
        self._allow(name)
        return super().__getitem__(name)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return Entry, (dict(self),)

    def get(self, name: str, default: Any = None) -> Any:
        self._allow(name)
        return super().get(name, default)

    def items(self) -> Any:
        self._allow(*PAID_FOR)
        return super().items()

    def values(self) -> Any:
        self._allow(*PAID_FOR)
        return super().values()

    def _allow(self, *names: str) -> None:
        if any(name in PAID_FOR for name in names):
            _allow_usage(f'the "{names[0]}" of an LM call')


class _Global:
    """Replaces DSPy's global history of LM calls. Each cell has its own, and the process has one outside of cells."""

    _outside = Recorded("dspy.inspect_history()")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._list(), name)

    def __getitem__(self, index: Any) -> Any:
        return self._list()[index]

    def __len__(self) -> int:
        return len(self._list())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._list())

    def __bool__(self) -> bool:
        return bool(self._list())

    def _list(self) -> Recorded:
        if (ledger := current()) is None:
            return self._outside
        found: Recorded = ledger.recorded.setdefault(id(self), (self, Recorded("dspy.inspect_history()")))[1]
        return found


def trace(*entries: Any) -> Recorded:
    """Returns the initial `dspy.settings.trace` of a cell or a process."""
    return Recorded("dspy.settings.trace", entries)


def install() -> None:
    """Replaces DSPy's records of LM calls in this process by guarded ones."""
    if isinstance(base_lm.GLOBAL_HISTORY, _Global):
        return
    base_lm.GLOBAL_HISTORY = _Global()
    for owner, name in ((dspy.BaseLM, "lm.history"), (dspy.Module, "the history of a dspy.Module")):
        owner.history = _history(name)
    _guard(Prediction, "get_lm_usage", "the usage of a prediction")
    _guard(UsageTracker, "get_total_tokens", "what a usage tracker counted")


def _history(name: str) -> property:
    """Returns a property for the `history` of LMs or modules. Within a cell, each object has another history."""

    def read(owner: Any) -> Any:
        if (ledger := current()) is not None:
            return ledger.recorded.setdefault(id(owner), (owner, Recorded(name)))[1]
        entries = vars(owner).get("history", [])
        if not isinstance(entries, Recorded) and isinstance(entries, list):
            entries = vars(owner)["history"] = Recorded(name, entries)
        return entries

    def write(owner: Any, entries: Any) -> None:
        kept = Recorded(name, entries, known=True) if isinstance(entries, list) else entries
        if (ledger := current()) is not None:
            ledger.recorded[id(owner)] = owner, kept
        else:
            vars(owner)["history"] = kept

    return property(read, write)


def _guard(owner: Any, method: str, what: str) -> None:
    stock = getattr(owner, method)

    def guarded(self: Any, *given: Any, **named: Any) -> Any:
        _allow_usage(what)
        return stock(self, *given, **named)

    setattr(owner, method, guarded)


def _allow_usage(what: str) -> None:
    if not _reader_is_ours():
        refuse(
            WorkerReason.ORDER_DEPENDENT,
            f"{place()} reads {what}. In stock DSPy only the first of equal calls is paid for, and the cache answers "
            "the others, so that this depends on the order in which examples run. Score what the program answers; the "
            "report has the LM calls and tokens of the run.",
        )


def _reader_is_ours() -> bool:
    """Whether the code that reads a record belongs to DSPy or this package. A history that DSPy prints may lack
    entries.
    """
    frame = sys._getframe(1)
    while frame.f_globals["__name__"] == __name__ and frame.f_back is not None:
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "")
    if module == "dspy.utils.inspect_history":
        return frame.f_locals.get("file") is None
    return module.partition(".")[0] in ("dspy", "swarm_worker")
