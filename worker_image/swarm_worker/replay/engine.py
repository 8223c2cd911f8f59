"""Serves the results of effects to the hooks, and ends the plan when a result is missing.

`need` takes a result from the journal. If a small wave is missing, the plan runs it itself. If any other effect is
missing, the plan looks ahead for further effects of this round, prints the tasks, and ends the process. It does not
raise an exception, because optimizers and programs might catch it.
"""

from collections.abc import Iterable
from math import inf
from typing import Any, NoReturn

from swarm_worker.content.codec import Codec
from swarm_worker.journal.store import Store
from swarm_worker.lookahead.concurrency import is_alone
from swarm_worker.lookahead.scouts import Scout
from swarm_worker.replay.asked import Asked
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.cell_timer import Watch
from swarm_worker.replay.course import Course
from swarm_worker.replay.effects.effect import Effect
from swarm_worker.replay.effects.tasks import Tasks
from swarm_worker.replay.effects.wave import Evaluation
from swarm_worker.replay.host import DEFAULTS, Host, Options
from swarm_worker.replay.output import Output
from swarm_worker.replay.own_calls import OwnCalls
from swarm_worker.replay.pruning import Contest, Entrant
from swarm_worker.replay.results import Results
from swarm_worker.replay.scouting import Scouting
from swarm_worker.replay.small_waves import SmallWaves
from swarm_worker.replay.tally import Tally


class Engine:
    """Serves effects to the hooks.

    Args:
        store: the journal.
        codec: writes and reads payloads and results.
        host: the engine's access to its process.
        watch: times the cells that run here.
        contest: compares the compile's evaluations; None if pruning is off.

    Attributes:
        asked: the tasks and LM calls that this round requests.
        output: the plan's output and end.
        course: the effects that the plan needed.
        results: the results of effects in the journal.
        scouting: the lookahead.
        calls: the optimizer's own LM calls.
        tally: the examples that the optimizer needed, and their failures.
    """

    def __init__(
        self,
        store: Store,
        codec: Codec,
        host: Host,
        options: Options = DEFAULTS,
        watch: Watch | None = None,
        contest: Contest | None = None,
    ) -> None:
        self._store, self._host = store, host
        self.asked, self.tally = Asked(), Tally()
        self.output = Output(store, self.asked, host)
        self.course = Course(store, self.asked, self.output, host)
        self.results = Results(store, codec, self.output, contest, looks_ahead=options.looks_ahead)
        self.scouting = Scouting(store, self.asked, self.course, self.results, options)
        self.calls = OwnCalls(store, codec, self.asked, self.output, self.course, self.scouting)
        answers = Answers(codec, store.answer, self.output.keep, is_reused=store.is_reused)
        self._small_waves = SmallWaves(answers, self.output, self.course, watch or Watch(inf), options)

    def need(self, effect: Effect) -> Any:
        """Returns the effect's result. Ends the process if it is missing, unless the plan computes it itself."""
        with self.output.ending():
            return self._needed(effect)

    def want(self, effect: Effect) -> None:
        """Requests an effect that the optimizer will need, and goes on: effects that begin together are one round."""
        if self.scouting.scout is None:
            with self.output.ending():
                if not self.results.is_settled(effect):
                    self._ask(self.results.missing(effect))

    def go_on(self, leftover: Iterable[Tasks]) -> NoReturn:
        """Requests the unfinished tasks of the last round again, and ends. The next plan requests new tasks."""
        for tasks in leftover:
            self._ask(tasks)
        self.course.stream = list(self._store.stream)
        self.output.end()

    def _needed(self, effect: Effect) -> Any:
        if self.scouting.scout is not None:
            return self.scouting.scouted(self.scouting.scout, effect)
        self.course.follow(effect.kind, effect.digest)
        while not (self.results.is_settled(effect) or self._is_passed_over(effect)):
            tasks = self.results.missing(effect)
            if self._small_waves.fits(tasks.task):
                self._run_here(tasks)
            elif (scout := self._block(effect, tasks)) is not None:
                return self.scouting.stand_in(scout, effect)
        if known := self.results.known(effect):
            self.course.use(effect.kind, known)
        value = self.results.load(effect)
        if isinstance(effect, Evaluation) and not effect.has_failed(self._store):
            self.scouting.learn(effect, value)
            self.results.enter(effect)
        return value

    def _is_passed_over(self, effect: Effect) -> bool:
        if not (isinstance(effect, Evaluation) and self._host.passes_over()):
            return False
        self.course.has_passed_over = True
        return True

    def _block(self, effect: Effect, tasks: Tasks) -> Scout | None:
        """Requests the missing effect and all other effects that may run now, and ends the plan.

        Returns:
            In a scout, its connection to the plan. In the plan, None if the plan can go on, because it has pruned or
            run the missing cells.
        """
        if not is_alone():
            self._ask(tasks)
            with self.output.quiet():
                self._leave()
        entrant = self.results.entrant(effect)
        if entrant is None:
            self._ask(tasks)
        if self.scouting.is_on:
            has_placeholder = self.scouting.has_placeholder(effect)
            if has_placeholder and (scout := self._find_independent()) is not None:
                return scout
            self._ask_for_part(entrant)
            if self.results.is_settled(effect):
                self.asked.forget()
                return None
            if len(self.asked.tasks) == 1 and self._small_waves.fits(self.asked.tasks[0], is_alone=True):
                self._run_here(self.asked.take())
                return None
            if has_placeholder and (scout := self.scouting.guess()) is not None:
                return scout
        self._leave()

    def _find_independent(self) -> Scout | None:
        """Requests effects that do not depend on missing results. Makes the LM calls among them at once."""
        while (scout := self.scouting.look()) is None:
            if not self.calls.make_sighted():
                return None
        return scout

    def _ask_for_part(self, at: Entrant | None) -> None:
        """Requests those cells of competing evaluations that best decide which evaluations cannot win."""
        for entrant, keys in self.results.wanted(at):
            if keys:
                self.asked.ask(entrant.digest, entrant.request.part(keys).records())
            self.asked.joined.add(entrant.digest)  # scouts must not guess its other cells

    def _ask(self, tasks: Tasks) -> None:
        self.asked.ask(tasks.task.digest, tasks.records())

    def _run_here(self, tasks: Tasks) -> None:
        if not self._small_waves.run(tasks):
            # This round finishes the rest of the wave. Without a task for it, the next plan might request something
            # else.
            self._ask(tasks.rest(self._store))
            self.output.end()

    def _leave(self) -> NoReturn:
        self.course.spend()
        self.output.end()
