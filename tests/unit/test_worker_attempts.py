"""BestOfN and Refine count failed attempts. Each example of a wave begins with the count of the plan's program."""

from typing import Any

import dspy
import pytest

from swarm_wire.messages import EffectKind
from swarm_worker.content.codec import Codec
from swarm_worker.errors import BadInput
from swarm_worker.journal.store import Store
from swarm_worker.replay import attempts
from swarm_worker.replay.attempts import counting_apart
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.effects.registry import make_work
from swarm_worker.replay.effects.wave import Wave

N = 3


class Echo(dspy.Module):
    def forward(self, question: str) -> Any:
        return dspy.Prediction(answer=question)

    def get_lm(self) -> Any:
        return dspy.LM("openai/nobody", api_key="none")

    def set_lm(self, lm: Any) -> None: ...


def failing_once() -> Any:
    """Returns a reward function that raises in the first attempt of each example."""
    seen: set[str] = set()

    def reward(arguments: dict[str, str], prediction: Any) -> float:
        if prediction.answer not in seen:
            seen.add(prediction.answer)
            raise ValueError("no number")
        return 1.0

    return reward


@pytest.fixture(params=[dspy.BestOfN, dspy.Refine], autouse=True)
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    for kind in (dspy.BestOfN, dspy.Refine):
        monkeypatch.setattr(kind, "forward", kind.forward)
    attempts.install()
    return request.param(module=Echo(), N=N, reward_fn=failing_once(), threshold=1.0)


def run(program: Any, count: int) -> list[str | None]:
    answers: list[str | None] = []
    for number in range(count):
        try:
            with dspy.context(trace=[]):
                answers.append(program(question=str(number)).answer)
        except ValueError:
            answers.append(None)
    return answers


def test_outside_of_waves_failed_attempts_accumulate_as_in_stock(program: Any) -> None:
    assert run(program, 6) == ["0", "1", "2", "3", None, None]
    assert program.fail_count < 0


def test_each_example_of_a_wave_begins_with_the_plans_count_of_failed_attempts(program: Any) -> None:
    with counting_apart():
        assert run(program, 6) == [str(number) for number in range(6)]
    assert program.fail_count == N


def test_threads_that_a_program_of_a_wave_starts_also_count_failed_attempts_separately(program: Any) -> None:
    parallel = dspy.Parallel(num_threads=2, disable_progress_bar=True)
    with counting_apart(), dspy.context(trace=[]):
        found = parallel([(program, {"question": str(number)}) for number in range(6)])
    assert [prediction.answer for prediction in found] == [str(number) for number in range(6)]


def test_a_cell_in_which_an_attempt_of_best_of_n_or_refine_fails_ends_the_run(program: Any) -> None:
    def judge(example: Any) -> str:
        with dspy.context(trace=[]):
            return str(program(**example).answer)

    codec = Codec({})
    tasks = Wave(judge, [{"question": str(number)} for number in range(6)], 10).tasks(Store(), codec)
    assert tasks.task.kind is EffectKind.WAVE
    work, answers = make_work(tasks.task, tasks.blobs, codec), Answers(codec, lambda key: None, lambda record: None)
    # Stock DSPy counts across examples, so the number of remaining attempts would differ between processes.
    for position in range(2):
        with pytest.raises(BadInput, match=r"an attempt of dspy\.\w+ failed, and its fail_count counts that"):
            work.run(position, answers)
