"""Starts scouts in the plan. In a scout, handles the effects that the optimizer needs."""

from collections.abc import Sequence
from typing import Any

from swarm_wire.records import Record
from swarm_worker.journal.store import Store
from swarm_worker.lookahead.forecast import Forecast
from swarm_worker.lookahead.guesses import Guesses, allowance
from swarm_worker.lookahead.placeholder import EXTREMES, LIKELY, QUORUM, Outlook
from swarm_worker.lookahead.scouts import Scout, Sighting, look
from swarm_worker.replay.asked import Asked
from swarm_worker.replay.course import Course
from swarm_worker.replay.effects.call import Call
from swarm_worker.replay.effects.effect import Effect
from swarm_worker.replay.effects.wave import Evaluation
from swarm_worker.replay.host import Options
from swarm_worker.replay.pruning import Entrant
from swarm_worker.replay.results import Results


class Scouting:
    """Starts scouts in a plan, and handles the needed effects in a scout.

    Attributes:
        scout: in a scout, its connection to the plan; None in the plan.
    """

    def __init__(self, store: Store, asked: Asked, course: Course, results: Results, options: Options) -> None:
        self._store, self._asked, self._course, self._results = store, asked, course, results
        self._options = options
        self._forecast = Forecast()
        self.scout: Scout | None = None

    @property
    def letter(self) -> str:
        """Returns the letter that is in this scout's marks."""
        assert self.scout is not None
        return self.scout.letter

    @property
    def is_on(self) -> bool:
        """Whether plans look ahead."""
        return self._options.looks_ahead

    def look(self) -> Scout | None:
        """Requests effects that do not depend on missing results.

        Returns:
            In a scout, its connection to the plan. In the plan, None.
        """
        return self._look(EXTREMES)

    def guess(self) -> Scout | None:
        """Requests guesses: effects that the plan will probably need. Returns what `look` returns."""
        if not self._options.speculation:
            return None
        certain = len(self._asked.tasks)
        paid, unneeded = self._store.usage().calls, self._store.waste(self._course.used).calls
        guesses = Guesses(allowance(paid, unneeded), self._course.prices())
        scout = self._look(LIKELY, quorum=QUORUM, limit=self._options.speculation, choice=guesses.take)
        self._asked.guess_since(certain)
        return scout

    def learn(self, evaluation: Evaluation, value: Any) -> None:
        """Adds an evaluation's scores to the forecast."""
        self._forecast.add(evaluation.program, evaluation.scores(value))

    def has_placeholder(self, effect: Effect) -> bool:
        """Whether scouts can go on without the effect's result."""
        return effect.placeholder(EXTREMES[0].letter, lambda *_: 0.0) is not None

    def stand_in(self, scout: Scout, effect: Effect) -> Any:
        """Returns the placeholder that a scout uses for the effect's result."""
        return effect.placeholder(scout.letter, lambda *about: scout.score(*self._forecast.of(*about)))

    def scouted(self, scout: Scout, effect: Effect) -> Any:
        """In a scout, returns the effect's result. If it is missing, reports the effect and returns a placeholder."""
        is_settled = not effect.unresolved and self._results.is_settled(effect)
        if is_settled and not self._results.competes(effect):
            return self._results.load(effect)
        cells = len(effect.keys) - len(self._results.known(effect))
        sighting = Sighting(effect.kind, effect.digest, effect.unresolved, cells, effect.errors_left(self._store))
        scout.report(sighting, lambda: self._request(effect))
        if is_settled:
            return self._results.load(effect)
        stand_in = self.stand_in(scout, effect)
        if stand_in is None:
            scout.end()
        return stand_in

    def _request(self, effect: Effect) -> Entrant | list[Record]:
        """Returns the records that request an effect. If the effect competes, returns its entrant for the contest."""
        if (entrant := self._results.entrant(effect)) is not None:
            return entrant
        return [] if effect.is_known(self._store) else self._results.missing(effect).records()

    def _look(self, outlooks: Sequence[Outlook], **limits: Any) -> Scout | None:
        places = dict.fromkeys((digest for _, digest in self._course.stream[-1:]), 0)

        def met(sighting: Sighting) -> None:
            place = places.setdefault(sighting.digest, len(places))
            self._asked.note(sighting.digest, place, sighting.errors_left)

        def found(sighting: Sighting, request: Any) -> None:
            met(sighting)
            if sighting.kind == Call.kind:
                self._asked.calls[sighting.digest] = request
            elif isinstance(request, Entrant):
                self._results.sighted(request)
            else:
                self._asked.ask(sighting.digest, request)

        self._results.look_again()
        self.scout = look(self._asked.joined | set(self._asked.calls), found, outlooks, met=met, **limits)
        return self.scout
