"""The course of a compile: the effects that the optimizer needs, in order."""

from collections.abc import Sequence

from swarm_wire.names import WorkerReason
from swarm_worker.errors import Drift, OutputFull
from swarm_worker.journal.run_journal import Stream
from swarm_worker.journal.store import Store
from swarm_worker.lookahead.concurrency import is_ordered
from swarm_worker.replay.asked import Asked
from swarm_worker.replay.host import Host
from swarm_worker.replay.output import Output


class Course:
    """The effects that this plan has needed so far.

    Attributes:
        stream: kind and digest of each effect that every process needs in the same order.
        used: keys of results that were needed.
        has_checked: whether `Host.check` has run, which runs once, before the plan spends anything.
        has_passed_over: whether the plan went on without an evaluation's result. Later effects may then differ.
    """

    def __init__(self, store: Store, asked: Asked, output: Output, host: Host) -> None:
        self._store, self._asked, self._output, self._host = store, asked, output, host
        self._used_by_kind: list[tuple[str, Sequence[str]]] = []
        self.stream: Stream = []
        self.used: set[str] = set()
        self.has_checked = self.has_passed_over = False

    def follow(self, kind: str, digest: str) -> None:
        """Notes that the plan needs an effect.

        Ends the process if the previous plan needed another effect at this point.

        Threads and coroutines of an optimizer run in no fixed order, so their effects are not compared.
        """
        self._output.touch()
        if self._host.is_full():
            self._output.wait_for_others()
            self._output.end(OutputFull())
        if not is_ordered():
            return
        number, found = len(self.stream), (kind, digest)
        self.stream.append(found)
        if number < len(self._store.stream) and self._store.stream[number] != found and not self.has_passed_over:
            before, now = (" ".join(effect) for effect in (self._store.stream[number], found))
            self._output.end(
                Drift(
                    WorkerReason.NONDETERMINISTIC,
                    f"effect {number + 1} was the {before} before and is the {now} now: the "
                    "program, metric or data differs from process to process. Look for time, unseeded randomness, "
                    "the order of a set, or the environment; make it the same each time.",
                )
            )

    def use(self, kind: str, keys: Sequence[str]) -> None:
        """Notes that an effect's results are needed."""
        self._used_by_kind.append((kind, keys))
        self.used.update(keys)

    @property
    def latest(self) -> Sequence[str]:
        """Returns the keys of the results of the latest effect."""
        return self._used_by_kind[-1][1] if self._used_by_kind else ()

    def prices(self) -> dict[str, float]:
        """Returns how many LM calls a cell takes, by the kind of its effect.

        This is the average over the cells of the most expensive effect so far.
        """
        prices: dict[str, float] = {}
        calls = self._store.calls_by_cell()
        for kind, keys in self._used_by_kind:
            price = sum(calls[key] for key in keys) / len(keys)
            prices[kind] = max(price, prices.get(kind, 0.0))
        return prices

    def spend(self) -> None:
        """Runs `Host.check` once. Call this before the plan spends anything, and before it ends."""
        with self._asked.lock:
            if not self.has_checked:
                self.has_checked = True
                with self._output.ending():
                    self._host.check([*self.stream, *self._asked.found()])

    def spend_here(self) -> None:
        """Call this before this process makes LM calls."""
        self.spend()
        self._host.prepare_calls()
