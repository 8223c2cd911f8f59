"""Optimizers that start threads or coroutines. Their results do not depend on which thread is first."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import dspy
from dspy.utils.parallelizer import ParallelExecutor

Score = Callable[[Any], float]


def candidates(student: Any, trainset: list[Any], count: int = 6) -> list[Any]:
    """Returns programs, each with one demonstration more than the program before."""
    return [dspy.LabeledFewShot(k=k).compile(student, trainset=trainset) for k in range(1, count + 1)]


def scorer(valset: list[Any], metric: Any) -> Score:
    return lambda program: float(dspy.Evaluate(devset=valset, metric=metric)(program).score)


def submitted(pool: ThreadPoolExecutor, function: Callable[..., Any], items: Iterable[Any]) -> list[Future[Any]]:
    """Submits the function for each item, with the dspy.settings of this thread."""
    return [pool.submit(contextvars.copy_context().run, function, item) for item in items]


def best(programs: list[Any], scores: list[float]) -> Any:
    winner = programs[scores.index(max(scores))]
    winner.candidate_programs = [{"score": score} for score in sorted(scores, reverse=True)]
    return winner


def pooled(student: Any, trainset: list[Any], valset: list[Any], metric: Any) -> Any:
    """Evaluates all candidates at the same time."""
    found, score = candidates(student, trainset), scorer(valset, metric)
    with ThreadPoolExecutor(8) as pool:
        return best(found, [future.result() for future in submitted(pool, score, found)])


def nested(student: Any, trainset: list[Any], valset: list[Any], metric: Any) -> Any:
    """Evaluates candidates in threads that start two threads each, one for each half of the validation set."""
    found, middle = candidates(student, trainset), len(valset) // 2
    scores = [scorer(valset[:middle], metric), scorer(valset[middle:], metric)]

    def score(candidate: Any) -> float:
        with ThreadPoolExecutor(2) as pool:
            halves = submitted(pool, lambda part: part(candidate), scores)
            return float(sum(half.result() for half in halves))

    with ThreadPoolExecutor(3) as pool:
        return best(found, [future.result() for future in submitted(pool, score, found)])


def asking(student: Any, trainset: list[Any], valset: list[Any], metric: Any) -> Any:
    """Makes LM calls in threads. Some calls are equal, some differ, and some use the answer to another call."""
    score, propose = scorer(valset, metric), dspy.Predict("topic -> instruction")

    def candidate(number: int) -> Any:
        first = propose(topic=f"sorting tickets, {number % 3}").instruction
        text = propose(topic=first).instruction
        made = student.deepcopy()
        for predictor in made.predictors():
            predictor.signature = predictor.signature.with_instructions(f"{text} ({number})")
        return made, score(made)

    with ThreadPoolExecutor(6) as pool:
        found = [future.result() for future in submitted(pool, candidate, range(6))]
    return best([made for made, _ in found], [scored for _, scored in found])


def bootstrapping(student: Any, trainset: list[Any], valset: list[Any], metric: Any) -> Any:
    """Runs whole optimizers in threads."""

    def compiled(labeled: int) -> Any:
        search = dspy.BootstrapFewShotWithRandomSearch(
            metric=metric, max_labeled_demos=labeled, num_candidate_programs=1
        )
        return search.compile(student, trainset=trainset, valset=valset)

    with ThreadPoolExecutor(2) as pool:
        found = [future.result() for future in submitted(pool, compiled, (2, 4))]
    return max(found, key=scorer(valset, metric))


def failing(student: Any, trainset: list[Any], valset: list[Any], metric: Any) -> Any:
    """Evaluates in threads, of which one raises at once and one after its evaluation. The others continue."""
    found, score = candidates(student, trainset), scorer(valset, metric)

    def scored(number: int) -> float:
        if number == 1:
            raise ValueError("no such candidate")
        came_to = score(found[number])
        if number == 3:
            raise ValueError(f"not with {came_to}")
        return came_to

    scores: list[float] = []
    with ThreadPoolExecutor(6) as pool:
        for future in submitted(pool, scored, range(len(found))):
            try:
                scores.append(future.result())
            except ValueError:
                scores.append(-1.0)
    return best(found, scores)


def with_main(student: Any, trainset: list[Any], valset: list[Any], metric: Any) -> Any:
    """Evaluates in the main thread and in other threads at the same time."""
    found, score = candidates(student, trainset), scorer(valset, metric)
    with ThreadPoolExecutor(2) as pool:
        futures = submitted(pool, score, found[:2])
        own = [score(candidate) for candidate in found[2:]]
        return best(found, [*(future.result() for future in futures), *own])


def before_main(student: Any, trainset: list[Any], valset: list[Any], metric: Any) -> Any:
    """Evaluates in a daemon thread and in the main thread, while a pool is idle until the end."""
    found, score = candidates(student, trainset), scorer(valset, metric)
    first: list[float] = []
    idle = ThreadPoolExecutor(1)
    idle.submit(int).result()
    thread = threading.Thread(target=lambda: first.append(score(found[0])), daemon=True)
    thread.start()
    own = [score(candidate) for candidate in found[1:]]
    thread.join()
    [again] = [future.result() for future in submitted(idle, score, found[:1])]
    idle.shutdown()
    return best(found, [max(again, first[0]), *own])


def in_parallel(student: Any, trainset: list[Any], valset: list[Any], metric: Any) -> Any:
    """Runs pairs of a program and an example with `dspy.Parallel`, and then whole evaluations."""
    found, score = candidates(student, trainset), scorer(valset[3:], metric)
    tried = dspy.Parallel(num_threads=2, disable_progress_bar=True)(
        [(candidate, example) for candidate in found for example in valset[:3]]
    )
    scores = [
        sum(
            metric(example, prediction)
            for example, prediction in zip(valset[:3], tried[3 * n : 3 * n + 3], strict=True)
        )
        for n in range(len(found))
    ]
    rest = ParallelExecutor(num_threads=2, disable_progress_bar=True).execute(score, found)
    return best(found, [few + many for few, many in zip(scores, rest, strict=True)])


def awaiting(student: Any, trainset: list[Any], valset: list[Any], metric: Any) -> Any:
    """Runs coroutines at the same time. Each makes calls in turn, and then an evaluation in a thread."""
    score, propose = scorer(valset, metric), dspy.Predict("topic -> instruction")

    async def candidate(number: int) -> Any:
        text = f"sorting tickets, {number % 4}"
        for _ in range(1 + number % 3):
            text = (await propose.acall(topic=text)).instruction
        made = student.deepcopy()
        for predictor in made.predictors():
            predictor.signature = predictor.signature.with_instructions(f"{text} ({number})")
        return made, await asyncio.to_thread(score, made)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(candidate(number) for number in range(5)))

    found = asyncio.run(all_of_them())
    return best([made for made, _ in found], [scored for _, scored in found])


def left_running(student: Any, trainset: list[Any], valset: list[Any], metric: Any) -> Any:
    """Leaves a thread that still works when the optimizer ends."""
    found, score = candidates(student, trainset), scorer(valset, metric)
    pool = ThreadPoolExecutor(1)
    submitted(pool, score, found[5:])
    pool.shutdown(wait=False)
    return best(found[:3], [score(candidate) for candidate in found[:3]])
