"""The worker runs the cells of one slice in threads, and prints each result as soon as it is complete."""

import json
import os
import threading
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from swarm_wire import names
from swarm_wire.messages import Assignment, SliceRef, Task
from swarm_wire.records import RecordKind
from swarm_wire.shards import read_folder
from swarm_worker.client import lazy, permanent_errors, prices
from swarm_worker.client.permanent_errors import RequestRefused
from swarm_worker.content import places
from swarm_worker.content.codec import Codec
from swarm_worker.content.places import MARK
from swarm_worker.errors import CellTimeout, OutputFull, ProviderFailed, SwarmError
from swarm_worker.finetuning import tuning
from swarm_worker.journal.body_store import Bodies
from swarm_worker.journal.run_journal import body_of, read_body
from swarm_worker.journal.store import Store, read_earlier
from swarm_worker.pod.environment import Environment, find_places_later, load_environment, loading_user_code
from swarm_worker.pod.process import Process, check_schema, folder
from swarm_worker.replay import adapters, calls
from swarm_worker.replay.call_sharing import Window
from swarm_worker.replay.calls import Answers, Loading
from swarm_worker.replay.cell_timer import Watch
from swarm_worker.replay.effects.failures import Failures
from swarm_worker.replay.effects.registry import Work, make_work
from swarm_worker.user.entrypoint import import_all


def main(process: Process) -> None:
    with process.ending():
        environment = load_environment(process)
        prices.remember()
        assignment = read_assignment(folder(names.ENV_WORK_DIR, names.WORK_DIR))
        index = int(os.environ.get(names.ENV_INDEX, "0"))
        depot = environment.depot
        bench = Bench(folder(names.ENV_TASKS_DIR, names.TASKS_DIR), environment.codec, depot)
        store = Store.of(read_folder(folder(names.ENV_JOURNAL_DIR, names.JOURNAL_DIR), growing=True), depot)
        permanent_errors.here().knows, permanent_errors.here().tell = store.has_call, process.put
        request, models = environment.request, environment.models
        is_imaginary = environment.imagination is not None
        tuning.install(request.spec, models.by_name, store.pending, environment.budget, is_imaginary, request.run_id)
        store.earlier = [*read_earlier(folder(names.ENV_EARLIER_DIR, names.EARLIER_DIR), depot).values()]
        if depot is not None:
            depot.end = process.end
        answers = Answers(environment.codec, store.answer, process.put, Window.of(os.environ), store.is_reused)
        # User code loads in the main thread, as in a plan. A thread that unpickles a task may not call dspy.configure.
        loading = Loading(None, answers)
        calls.install(loading, process.end)
        with loading_user_code(environment, process, process.end):
            import_all(environment.request.spec)
            find_places_later(environment)
            if bench.refers_to_places:
                places.here().load()
        loading.end()
        if request.spec.finetune is not None:
            adapters.watch()
        lazy.import_for(environment.models.all)
        Slice(process, environment, bench, answers, assignment.slices[index]).run()


def read_assignment(work: Path) -> Assignment:
    text = (work / names.ASSIGNMENT_FILE).read_text(encoding="utf-8")
    check_schema(json.loads(text).get("schemaVersion"), "assignment")
    return Assignment.model_validate_json(text)


class Bench:
    """The round's tasks, each unpickled when its first cell runs."""

    def __init__(self, tasks: Path, codec: Codec, bodies: Bodies | None = None) -> None:
        self._codec, self._lock = codec, threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._blobs: dict[str, bytes] = {}
        self._ready: dict[str, Work] = {}
        for record in read_folder(tasks):
            if record.kind is RecordKind.TASK:
                task = Task.model_validate(record.header)
                self._tasks[task.digest] = task
            elif record.kind is RecordKind.BLOB:
                self._blobs[record.header["key"]] = read_body(body_of(record), bodies)

    @property
    def refers_to_places(self) -> bool:
        """Whether a payload may refer to an object by its place (`content.places`)."""
        return any(MARK.encode() in blob for blob in self._blobs.values())

    def payload(self, digest: str) -> bytes:
        """Returns what a task is about. Raises KeyError if there is no such task."""
        return self._blobs[self._tasks[digest].payload]

    def work(self, digest: str) -> Work:
        with self._lock:
            if digest not in self._ready:
                self._ready[digest] = make_work(self._tasks[digest], self._blobs, self._codec)
            return self._ready[digest]


class Slice:
    """Runs the cells of a slice in threads.

    After SIGTERM, the slice begins no new cell. Cells in flight may go on for the grace time. It also begins no new
    cell when the output is full, a cell exceeds its time limit or a task has failed. In these cases, the cells in
    flight finish. If a task will probably fail, the slice begins no cell of later tasks. Another attempt runs these
    cells if they are needed.

    The slice has its own threads, because DSPy's executor repeats items that take longer than two minutes.
    """

    def __init__(
        self, process: Process, environment: Environment, bench: Bench, answers: Answers, cells: list[SliceRef]
    ) -> None:
        spec = environment.request.spec
        self._process, self._bench, self._answers = process, bench, answers
        self._threads = spec.swarm.threads_per_pod
        self._todo = deque((ref.task, position) for ref in cells for position in ref.cells)
        self._failed: list[SwarmError] = []
        self._watch = Watch(spec.limits.cell_seconds, environment.throttle.clock)
        self._failures = Failures(Counter(digest for digest, _ in self._todo))
        self._lock = threading.Lock()

    def run(self) -> None:
        """Runs the cells of the slice.

        Raises:
            SwarmError: the first error of a cell. After an error, the slice begins no new cell. Only if a provider does
                not answer or refuses requests, cells go on until as many have failed as there are threads.
        """
        process, watch = self._process, self._watch
        # Each thread takes its next cell itself, because checking all threads after every cell costs as much as a call.
        with ThreadPoolExecutor(self._threads) as pool:
            running = {pool.submit(self._run_cells) for _ in range(min(self._threads, len(self._todo)))}
            while running and process.stopped_for <= process.grace_seconds:
                if not process.is_heard:
                    # The local driver was killed. Results that cannot be printed are lost, so this process spends no
                    # more.
                    process.end(SwarmError("nobody reads the output"))
                if watch.only_late:
                    process.end(CellTimeout(watch.late, watch.seconds))
                _, running = wait(running, timeout=0.2)
            if process.stopping:
                process.interrupt()
        self._settle()
        if self._failed:
            raise next((error for error in self._failed if not isinstance(error, ProviderFailed)), self._failed[0])
        if self._todo and not self._failures.is_over:
            raise OutputFull

    @property
    def _is_over(self) -> bool:
        """Whether the slice begins no new cell."""
        process = self._process
        if process.stopping or process.is_full:
            return True
        return bool(self._watch.late or hopeless(self._failed, self._threads) or self._failures.is_over)

    def _run_cells(self) -> None:
        while not self._is_over:
            try:
                digest, position = self._todo.popleft()
            except IndexError:
                return
            if self._failures.doubtful - {digest}:
                self._todo.clear()
                return
            try:
                self._run_cell(digest, position)
            except RequestRefused as refused:
                refused.task = digest
                self._failed.append(refused)
            except BaseException as error:
                self._failed.append(_swarm_error(error))
            self._settle()

    def _run_cell(self, digest: str, position: int) -> None:
        work = self._bench.work(digest)
        with self._watch.timed(work.task.weight):
            record = work.run(position, self._answers)
        self._failures.note(work.task, record)
        self._process.put(record)

    def _settle(self) -> None:
        """Prints the results of refused cells whose address has meanwhile answered other requests."""
        with self._lock:
            refused = [error for error in self._failed if isinstance(error, RequestRefused)]
            for error in [error for error in refused if permanent_errors.here().has_answered(error.address)]:
                self._failed.remove(error)
                self._failures.note(self._bench.work(error.task).task, error.record)
                self._process.put(error.record)


def hopeless(failed: list[SwarmError], threads: int) -> bool:
    """Whether the slice begins no new cell after these errors."""
    return len(failed) >= threads or any(not isinstance(error, ProviderFailed | RequestRefused) for error in failed)


def _swarm_error(error: BaseException) -> SwarmError:
    return error if isinstance(error, SwarmError) else SwarmError(f"{type(error).__name__}: {error}")
