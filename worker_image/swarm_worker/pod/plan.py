"""The plan replays the compile from the journal until a result is missing. It prints tasks or the artifact."""

import hashlib
import json
import os
from collections.abc import Callable
from math import inf
from typing import Any, NoReturn

import dspy

from swarm_engine import gate
from swarm_wire import names
from swarm_wire.messages import ArtifactHeader, Bound, Ending, PlanEnd, PlanOutcome
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.report import TEST_SET, TRAINING_SET, Failures, Origin, Pruned, Report
from swarm_wire.shards import read_folder
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.variables import bound
from swarm_wire.spending import Spending
from swarm_wire.words import sentence
from swarm_worker.client import lazy, permanent_errors
from swarm_worker.content import shared_state
from swarm_worker.content.packages import packages
from swarm_worker.determinism.rehearsal import observe, rehearse
from swarm_worker.determinism.twin import Observation, Twin
from swarm_worker.errors import AllowanceSpent, BadInput, CompileFailed, Drift, SwarmError
from swarm_worker.finetuning import tuning
from swarm_worker.journal.body_store import files_folder
from swarm_worker.journal.run_journal import Stream
from swarm_worker.journal.store import Store, read_earlier
from swarm_worker.pod import artifact, explanation, rivals, script
from swarm_worker.pod.environment import Environment, load_compilation, load_environment, loading_user_code
from swarm_worker.pod.process import Process, folder
from swarm_worker.provider import budget
from swarm_worker.provider.price_list import Prices
from swarm_worker.replay import adapters, calls, hooks
from swarm_worker.replay.cell_timer import Watch
from swarm_worker.replay.engine import Engine
from swarm_worker.replay.host import SMALL, Host, Options
from swarm_worker.replay.pruning import Contest, Range
from swarm_worker.replay.unfinished import leftover
from swarm_worker.user import published
from swarm_worker.user.binding import binding, origin
from swarm_worker.user.data import Compilation
from swarm_worker.user.finetuning import Arms
from swarm_worker.user.optimizer import prepare
from swarm_worker.user.program import is_instance
from swarm_worker.user.sources import left_out


def main(process: Process, twin: Twin | None = None) -> None:
    with process.ending():
        environment = load_environment(process)
        Plan(process, environment, twin).run()


class Plan:
    """One replay of a compile.

    Args:
        twin: the connection between a run's first plan and its twin; None in later plans.
    """

    def __init__(self, process: Process, environment: Environment, twin: Twin | None) -> None:
        self._process, self._environment, self._twin = process, environment, twin
        depot = environment.depot
        self._store = Store.of(read_folder(folder(names.ENV_JOURNAL_DIR, names.JOURNAL_DIR)), depot)
        permanent_errors.here().knows, permanent_errors.here().tell = self._store.has_call, self._put
        if depot is not None:
            depot.end = self._leave
        ending = os.environ.pop(names.ENV_PARTIAL, "")
        self._ending = Ending.model_validate_json(ending) if ending else None
        self._progress = script.Progress(
            keeps_best=self._ending is not None,
            is_for_teacher=environment.request.spec.distill is not None,
            latest=lambda: self._engine.tally.latest,
            was_known=lambda: all(map(self._store.was_known, self._engine.course.latest)),
            note=process.note,
        )
        looks_ahead = os.environ.pop(names.ENV_LOOKAHEAD, "1") != "0"
        swarm, limits = environment.request.spec.swarm, environment.request.spec.limits
        # A plan for a partial artifact picks the best complete candidate, so it prunes none.
        self._contest = None if self._ending else _contest(environment.request.spec)
        host = Host(
            emit=self._put,
            leave=self._leave,
            check=self._meet_twin,
            is_full=lambda: process.is_full,
            prepare_calls=self._import_ahead,
            passes_over=lambda: self._ending is not None and self._progress.compiling,
        )
        options = Options(
            looks_ahead=looks_ahead and self._ending is None,
            speculation=swarm.speculation,
            threads=swarm.threads_per_pod,
            small=0 if self._ending else int(os.environ.pop(names.ENV_SMALL_WAVE, SMALL)),
        )
        watch = Watch(limits.cell_seconds, environment.throttle.clock)
        self._engine = Engine(self._store, environment.codec, host, options, watch, self._contest)
        process.work_on(self._engine.output)
        bound = self._store.bound
        self._binding, self._is_bound = bound.binding if bound else "", bound is not None
        self._origin: Origin | None = None
        self._observed: list[Observation] = []
        self._store.kept = self._store.plans[0].kept if self._store.plans else None
        self._loaded: Compilation | None = None
        self._instructions: dict[str, str] = {}
        self._own_lms: list[Any] = []

    def run(self) -> None:
        """Runs the plan to its end, which ends the process. Raises SwarmError."""
        spec = self._environment.request.spec
        # LM calls that user code makes while it loads are journaled, too.
        calls.install(self._engine.calls, self._leave)
        arms = Arms()
        with loading_user_code(self._environment, self._process, self._leave):
            loaded = load_compilation(self._environment)
            given = self._environment
            rival = rivals.rival(given.request, given.models, loaded.student, self._process.note, self._ending is None)
            compile_program = prepare(
                spec.optimizer, loaded.metric, loaded.data, given.models, self._process.note, arms, spec.distill
            )
        self._loaded, self._instructions = loaded, explanation.instructions(loaded.student)
        missing = published.notes(self._environment.request)
        for note in [*left_out(), *loaded.data.notes, *missing]:
            self._process.note(note)
        budget.check_gate(spec, loaded.student)
        self._own_lms = [predictor.lm for predictor in loaded.student.predictors() if predictor.lm is not None]
        if self._contest is not None:
            compile_program = self._contest.over(compile_program)
        image = os.environ.get(names.ENV_IMAGE, "")
        variables = bound(self._environment.variables)
        self._origin = origin(self._environment.request, self._environment.sources, loaded.data, image)
        seed = int(os.environ.get(names.ENV_PLAN_SEED) or self._process.hash_seed)
        self._binding = binding(self._origin, seed, variables)
        self._check_binding()
        self._read_earlier()
        self._finish_round()
        if self._twin is not None and not self._engine.course.has_checked:
            self._observed = self._rehearsed(loaded, self._twin)
        is_imaginary = given.imagination is not None
        run_id = given.request.run_id
        tuning.install(spec, given.models.by_name, self._store.pending, given.budget, is_imaginary, run_id)
        hooks.install(self._engine, self._watching(loaded))
        if spec.finetune is not None:
            adapters.watch()
        # The callback is set on the class, because `dspy.settings.callbacks` belongs to the user.
        dspy.Evaluate.callbacks = [self._progress]
        try:
            scored, test = loaded.data.scored(spec.optimizer), loaded.data.test
            winner = script.run(
                compile_program, loaded.student, loaded.metric, scored, test, self._progress, rival, arms
            )
        except (BadInput, CompileFailed) as error:
            self._leave(None if self._engine.course.has_passed_over else self._explained(error))
        except BaseException:
            self._end_scout()
            raise
        self._end_scout()
        if self._engine.course.has_passed_over:
            self._leave()
        self._engine.course.spend()
        self._put_artifact(winner)
        self._put_end(PlanOutcome.DONE)

    def _read_earlier(self) -> None:
        """Reads the journals of earlier runs. When a run begins, also deletes bodies that no journal names."""
        depot, twin = self._environment.depot, self._twin
        earlier = read_earlier(folder(names.ENV_EARLIER_DIR, names.EARLIER_DIR), depot)
        self._store.earlier = [*earlier.values()]
        self._store.bind(self._binding)
        if depot is not None and not self._store.plans and (twin is None or twin.is_plan):
            run_id = self._environment.request.run_id
            depot.keep_only([run_id, files_folder(run_id), *earlier])

    def _finish_round(self) -> None:
        """Requests the last round's missing cells again, and ends the process. Does nothing if no cells are missing."""
        if self._ending is None and self._store.last is not None:
            round_ = read_folder(folder(names.ENV_TASKS_DIR, names.TASKS_DIR))
            if rest := leftover(self._store, round_, self._environment.depot):
                self._progress.resume(self._store.last.scores)
                self._engine.go_on(rest)

    def _end_partial(self) -> NoReturn:
        """Ends a run that reached a limit: prints the best complete program, if there is one."""
        if (best := self._progress.best_program) is not None:
            self._progress.best, self._progress.test_winner = self._progress.best_score, None
            # These scores are those of the optimizer's winner, if it was found, and not of the best program by then.
            for on_test in (False, True):
                self._progress.by_example.pop(script.Arm(script.Which.WINNER, on_test), None)
            try:
                self._put_artifact(best, self._ending)
            except SwarmError as error:
                self._process.end(error)
        self._put_end(PlanOutcome.PARTIAL)
        self._process.end()

    def _import_ahead(self) -> None:
        """Imports the modules that LM calls need. It is called late, because most plans make no call."""
        if self._environment.imagination is None:
            lazy.import_for([*self._environment.models.all, *self._own_lms])

    def _rehearsed(self, loaded: Compilation, twin: Twin) -> list[Observation]:
        """Rehearses, and returns observations. Raises BadInput for changes that other processes would miss."""
        spec = self._environment.request.spec
        rehearsal = rehearse(
            loaded,
            spec.swarm.rehearsal_seconds if twin.is_plan else inf,
            twin.runs,
            backwards=twin.backwards,
            say=self._process.say,
        )
        twin.tell(rehearsal.runs, rehearsal.seconds)
        self._store.kept = rehearsal.kept if rehearsal.runs else None
        rehearsal.check(is_custom=spec.optimizer.which == "custom")
        return [*observe(loaded), *rehearsal.observations]

    def _watching(self, loaded: Compilation) -> Callable[[], None]:
        """Returns a check to run before each effect.

        The check ends the process if a custom optimizer has changed state that workers load from files.
        """
        if self._environment.request.spec.optimizer.which != "custom":
            return lambda: None
        before = shared_state.kept(loaded.student, loaded.metric)

        def look() -> None:
            found = shared_state.changes(before, shared_state.kept(loaded.student, loaded.metric))
            travels = shared_state.PROGRAM, shared_state.METRIC
            for path in found:
                if not path.startswith(travels) and path not in (self._store.kept or ()):
                    self._leave(
                        BadInput(
                            WorkerReason.SIDE_EFFECT,
                            f"the optimizer changes {path}, which program or metric can read: examples run in other "
                            "processes, where it is as the files say. Make it an attribute of the program, or set it "
                            "by dspy.context.",
                        )
                    )

        return look

    def _meet_twin(self, effects: Stream) -> None:
        """Compares observations with the twin before anything is paid for. Raises Drift if they differ."""
        if self._twin is not None:
            found = [
                Observation(f"effect {number}, a {kind}", digest, digest)
                for number, (kind, digest) in enumerate(effects, 1)
            ]
            if note := self._twin.checkpoint([*self._observed, *found]):
                self._process.note(note)

    def _end_scout(self) -> None:
        """Ends this process if it is a scout. At the end of the compile, a scout has nothing more to report."""
        if self._engine.scouting.scout is not None:
            os._exit(0)

    def _check_binding(self) -> None:
        if self._twin is not None and not self._twin.is_plan:
            return  # the plan checks its own; that of a twin with another hash seed is another
        if self._store.bound is not None and self._store.bound.binding != self._binding:
            raise Drift(
                WorkerReason.SOURCE_CHANGED,
                "the program's files, the data, the installed packages, the image, a variable of spec.env or "
                "spec.envFrom, or PYTHONHASHSEED changed while the run was under way, so its results are not those of "
                "the new state. A new run uses what is still valid of them: on a laptop the same command begins it.",
            )

    def _failures(self) -> Failures | None:
        names_of = self._loaded.data.name_of if self._loaded else lambda example: ""
        return self._engine.tally.told(names_of, self._process.redact)

    def _explained(self, error: SwarmError) -> SwarmError:
        if (failures := self._failures()) is None:
            return error
        for group in failures.groups:
            self._process.say(f"{group}\n{group.traceback or ''}")
        text = f"{sentence(str(error))} {failures}: {failures.lines[0]}. The log of this plan has tracebacks."
        return CompileFailed(text) if isinstance(error, CompileFailed) else BadInput(error.reason, text)

    def _leave(self, error: SwarmError | None = None) -> NoReturn:
        self._end_scout()
        if self._ending and (error is None or isinstance(error, AllowanceSpent)):
            self._end_partial()
        if error is None:
            self._put_end(PlanOutcome.BLOCKED)
        self._process.end(error)

    def _put(self, record: Record) -> None:
        """Prints a record, and the binding before the first record: readers need it even if the plan is killed."""
        if self._twin is not None and not self._twin.is_plan:
            return
        if self._binding and not self._is_bound:
            self._is_bound = True
            bound = Bound(binding=self._binding, packages=packages())
            self._process.put(Record(RecordKind.BOUND, bound.to_header()))
        self._process.put(record)

    def _put_end(self, outcome: PlanOutcome) -> None:
        asked, failures = self._engine.asked.tasks, self._failures()
        end = PlanEnd(
            outcome=outcome,
            round=len(self._store.plans),
            binding=self._binding,
            packages=packages(),
            tasks=[task.digest for task in asked],
            cells=len({cell.key for task in asked for cell in task.cells}),
            scores=self._progress.scores(),
            effects=len(self._engine.course.stream),
            guesses=self._engine.asked.guesses,
            ending=self._ending,
            failures=failures and failures.without_tracebacks(),
            notes=self._process.notes,
            kept=self._store.kept,
        )
        body = json.dumps(self._engine.course.stream, separators=(",", ":")).encode()
        self._process.put(Record(RecordKind.PLAN, end.to_header(), body))

    def _put_artifact(self, winner: Any, ending: Ending | None = None) -> None:
        """Prints the artifact.

        Args:
            ending: why this is a partial artifact; None if it is not.
        """
        program, spec = artifact.saved(winner), self._environment.request.spec
        optimizer, spared, loaded = spec.optimizer, self._engine.results.spared, self._loaded
        assert loaded is not None, "the optimizer has run"
        scored_on = loaded.data.scored_on(optimizer)
        tuned, unused = tuning.made(winner)
        report = Report(
            scores=self._progress.scores(),
            scored_on=scored_on,
            comparison=explanation.comparison(self._progress, seed=self._environment.request.run_id, gate=spec.gate),
            against=self._progress.against.value,
            published=self._progress.published,
            switched=self._progress.switched,
            switch=explanation.comparison(
                self._progress, seed=self._environment.request.run_id, gate=spec.gate, of=script.Which.SWITCHED
            ),
            current_model=rivals.current_model(self._environment.request, self._progress),
            teacher=self._progress.teacher,
            prompted=self._progress.prompted,
            retention=explanation.retention(self._progress, seed=self._environment.request.run_id, gate=spec.gate),
            tuned=tuned,
            unused=unused,
            drift=explanation.drift(self._progress, seed=self._environment.request.run_id),
            published_by=self._environment.request.published_by,
            compared_on=TEST_SET if loaded.data.test else scored_on,
            failures=self._failures(),
            candidates=script.candidates(winner, hundred=1 if optimizer.simba is not None else 100),
            candidates_on=TRAINING_SET if optimizer.scores_on_train else scored_on,
            usage=self._store.usage(),
            effects=len(self._engine.course.stream),
            rounds=len(self._store.plans),
            failed_cells=self._engine.tally.scored_zero,
            wasted=self._store.waste(self._engine.course.used),
            pruned=Pruned(candidates=len(spared), cells=len(set().union(*spared.values()))),
            reused=self._store.reused(self._engine.course.used),
            repeated_calls=self._store.accounts.repeated,
            spent=self._spent(),
            notes=self._notes(),
            hash_seed=self._process.hash_seed,
            origin=self._origin,
            is_instance=is_instance(spec),
            partial=ending and ending.why,
            by_example=explanation.by_example(self._progress, scored_on),
            prompts=explanation.prompts(self._instructions, winner, loaded.data),
            copied=explanation.copied(self._instructions, winner, loaded.data),
            costs=explanation.costs(self._progress, Prices(spec)),
        )
        # A run whose push to git has failed begins again with its own winner as the published program.
        if spec.gate is not None and not (ending is None and published.is_published(program)):
            report = report.model_copy(update={"refused": gate.refusals(spec.gate, report)})
        header = ArtifactHeader(sha256=hashlib.sha256(program.encode()).hexdigest(), report=report.summary)
        body = artifact.written(program, report, self._environment.codec)
        self._process.put(Record(RecordKind.ARTIFACT, header.to_header(), body))

    def _notes(self) -> list[str]:
        """Returns the notes of all plans, each once."""
        found = [*(note for end in self._store.plans for note in end.notes), *self._process.notes]
        return list(dict.fromkeys(found))

    def _spent(self) -> Spending | None:
        """Returns the spending of all pods of the run, this plan included; None without an allowance."""
        own = self._process.spent
        return self._store.accounts.total + own if own is not None and self._process.is_limited else None


def _contest(spec: CompilationSpec) -> Contest | None:
    """Returns the contest of the optimizer's evaluations; None if the spec does not prune."""
    return Contest(Range(spec.metric.range.min, spec.metric.range.max)) if spec.prunes else None
