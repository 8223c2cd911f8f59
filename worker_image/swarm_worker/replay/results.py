"""Reads the results of effects from the journal. Cuts evaluations short that can no longer win."""

from collections.abc import Collection, Mapping
from math import inf
from typing import Any, TypeGuard

from swarm_wire.messages import Result
from swarm_wire.names import WorkerReason
from swarm_wire.words import sentence
from swarm_worker.content.codec import Codec
from swarm_worker.errors import BadInput
from swarm_worker.journal.store import Store
from swarm_worker.lookahead.concurrency import is_main
from swarm_worker.replay.effects.effect import Effect
from swarm_worker.replay.effects.tasks import Tasks
from swarm_worker.replay.effects.wave import Evaluation
from swarm_worker.replay.output import Output
from swarm_worker.replay.pruning import Contest, Entrant


class Results:
    """Takes the results of effects from the journal.

    Args:
        contest: compares the compile's evaluations; None if pruning is off.
        looks_ahead: whether scouts find later evaluations. Only a later evaluation can show that the current one has
            lost.
    """

    def __init__(
        self, store: Store, codec: Codec, output: Output, contest: Contest | None, *, looks_ahead: bool
    ) -> None:
        self._store, self._codec, self._output = store, codec, output
        self._contest, self._looks_ahead = contest, looks_ahead

    @property
    def spared(self) -> Mapping[str, Collection[str]]:
        """Returns the keys of the missing cells of each evaluation that cannot win, by digest."""
        return self._contest.spared if self._contest is not None else {}

    def is_settled(self, effect: Effect) -> bool:
        """Whether no more cells of the effect are needed."""
        return effect.is_known(self._store) or (self.competes(effect) and effect.digest in self.spared)

    def load(self, effect: Effect) -> Any:
        """Returns the effect's result.

        If pruning is on, missing cells count with the highest possible score. If it is off, they count with -inf.
        """
        if isinstance(effect, Evaluation) and not effect.is_known(self._store):
            return effect.bounded(self._store, self._codec, -inf if self._contest is None else self._contest.most)
        return effect.load(self._store, self._codec)

    def known(self, effect: Effect) -> list[str]:
        """Returns the keys of the effect's cells that the journal has."""
        return [key for key in effect.keys if key in self._store]

    def headers(self, effect: Effect) -> list[Result]:
        """Returns the headers of the known cells' results."""
        return [self._store.result(key) for key in self.known(effect)]

    def missing(self, effect: Effect) -> Tasks:
        """Returns the effect's task. Ends the process if the task cannot be pickled.

        It raises no exception, because an optimizer might catch it.
        """
        try:
            return effect.tasks(self._store, self._codec)
        except Exception as error:
            self._output.end(
                BadInput(
                    WorkerReason.PROGRAM_NOT_PORTABLE,
                    f"the program, metric or data cannot travel to workers: {sentence(str(error))}",
                )
            )

    def competes(self, effect: Effect) -> TypeGuard[Evaluation]:
        """Whether the effect is an evaluation that may be cut short."""
        return (
            self._contest is not None
            and self._contest.is_on
            and self._looks_ahead
            and isinstance(effect, Evaluation)
            and is_main()
        )

    def entrant(self, effect: Effect) -> Entrant | None:
        """Returns the effect as an entrant of the contest; None if it does not compete."""
        if not self.competes(effect) or effect.has_failed(self._store):
            return None
        if (standing := effect.standing(self._store, self._codec)) is None:
            return None
        tasks = None if effect.is_known(self._store) else self.missing(effect)
        return Entrant(effect.digest, effect.keys, standing, tasks)

    def enter(self, effect: Evaluation) -> None:
        """Notes an evaluation whose scores the plan has."""
        if self._contest is None or not is_main():
            return
        if (standing := effect.standing(self._store, self._codec)) is not None:
            with self._output.ending():
                self._contest.passed(Entrant(effect.digest, effect.keys, standing))

    def look_again(self) -> None:
        """Forgets the evaluations that earlier scouts reported."""
        if self._contest is not None:
            self._contest.look_again()

    def sighted(self, entrant: Entrant) -> None:
        """Notes an evaluation that scouts reached."""
        if self._contest is not None:
            with self._output.ending():
                self._contest.sighted(entrant)

    def wanted(self, at: Entrant | None) -> list[tuple[Entrant, set[str]]]:
        """Returns, for each competing evaluation, the keys of the cells that best decide which evaluations cannot win.

        Args:
            at: the plan's current evaluation, if it competes.
        """
        return [] if self._contest is None else self._contest.decide(*([at] if at else []))
