"""Runs small waves in the plan, because that is faster than a round."""

from concurrent.futures import Future, ThreadPoolExecutor, wait

from swarm_wire.messages import Task
from swarm_worker.client import permanent_errors
from swarm_worker.client.permanent_errors import RequestRefused
from swarm_worker.errors import CellTimeout, NoMoreCalls
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.cell_timer import Watch
from swarm_worker.replay.course import Course
from swarm_worker.replay.effects.failures import Failures
from swarm_worker.replay.effects.registry import make_work
from swarm_worker.replay.effects.tasks import Tasks
from swarm_worker.replay.host import Options
from swarm_worker.replay.output import Output

ALONE = 5
"""How many times as large a small wave may be if no other work can run beside it."""


class SmallWaves:
    """Runs the cells of small waves in this process, as a worker would.

    Args:
        answers: the finished LM calls.
        watch: times the cells.
    """

    def __init__(self, answers: Answers, output: Output, course: Course, watch: Watch, options: Options) -> None:
        self._answers, self._output, self._course, self._watch = answers, output, course, watch
        self._threads, self._small = options.threads, options.small
        self._small_alone = ALONE * min(options.small, options.threads)

    def fits(self, task: Task, *, is_alone: bool = False) -> bool:
        """Whether a task is small enough to run here.

        Args:
            is_alone: whether no other work can run beside it.
        """
        return len(task.cells) <= (self._small_alone if is_alone else self._small) and task.weight == 1

    def run(self, tasks: Tasks) -> bool:
        """Runs all cells of a task. Returns False if some are left because further LM calls are not allowed."""
        self._course.spend_here()
        task = tasks.task
        work, failures = make_work(task, tasks.blobs, self._answers.codec), Failures()

        def run(position: int) -> None:
            if failures.is_over:
                return
            with self._watch.timed():
                record = work.run(position, self._answers)
            failures.note(task, record)
            self._output.keep(record)

        with self._output.working(), ThreadPoolExecutor(self._threads) as pool:
            cells = [pool.submit(run, position) for position in range(len(task.cells))]
            while wait(cells, timeout=0.2).not_done:
                if self._watch.only_late:
                    self._output.end(CellTimeout(self._watch.late, self._watch.seconds))
        try:
            for cell in cells:
                self._settle(cell)
        except NoMoreCalls:
            return failures.is_over
        return True

    def _settle(self, cell: Future[None]) -> None:
        """Raises a cell's exception. Journals a refused cell if the provider has answered at its address."""
        try:
            cell.result()
        except RequestRefused as refused:
            if not permanent_errors.here().has_answered(refused.address):
                raise
            self._output.keep(refused.record)
