"""A bootstrap makes most calls in advance (prefetching), with the same demonstrations and without an extra call."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import dspy
import pytest
from dspy.clients import execution
from dspy.teleprompt.bootstrap import BootstrapFewShot

import replay_programs
import stock
from simulated_provider.testing import running_provider
from swarm_worker.content.codec import Codec
from swarm_worker.replay import calls
from swarm_worker.replay.calls import Answers, cell_calls
from swarm_worker.replay.prefetch import running_ahead


@pytest.fixture(scope="module")
def provider() -> Iterator[Any]:
    with running_provider(seed=1) as found:
        yield found


def bootstrapped(
    provider: Any,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    parameters: dict[str, Any],
    ahead: bool,
    **given: Any,
) -> tuple[list[Any], int, int]:
    """Returns the demos of the compiled program, the number of requests, and how many of them were prefetched."""
    provider.reset()
    makers: list[threading.Thread] = []
    made = execution.execute

    def noted(lm: Any, call: Any) -> Any:
        makers.append(threading.current_thread())
        return made(lm, call)

    with monkeypatch.context() as patch:
        patch.setattr(execution, "execute", noted)
        patch.setattr(execution, "aexecute", execution.aexecute)
        calls.install()
        lm = dspy.LM("openai/small", api_base=provider.url, api_key="none", **given)
        answers = Answers(Codec({}), lambda key: None, lambda record: None)
        optimizer = BootstrapFewShot(metric=replay_programs.exact, **parameters)
        train = stock.examples("train", 24)
        faster = running_ahead(optimizer, train) if ahead else contextlib.nullcontext()
        with dspy.context(lm=lm), cell_calls("0" * 32, answers), faster:
            compiled = optimizer.compile(getattr(replay_programs, program)(), trainset=train)
    demos = [[demo.toDict() for demo in predictor.demos] for predictor in compiled.predictors()]
    return demos, provider.stats()["requests"], sum(maker is not threading.current_thread() for maker in makers)


@pytest.mark.parametrize(
    ("program", "parameters"),
    [
        ("One", {}),
        ("Two", {}),
        ("One", {"max_bootstrapped_demos": 1}),
        ("Two", {"max_bootstrapped_demos": 50}),
        ("One", {"max_rounds": 2}),
        ("One", {"max_labeled_demos": 0}),
    ],
    ids=str,
)
def test_prefetching_gives_the_same_demonstrations_without_an_extra_call(
    provider: Any, monkeypatch: pytest.MonkeyPatch, program: str, parameters: dict[str, Any]
) -> None:
    walked = bootstrapped(provider, monkeypatch, program, parameters, ahead=False)
    ran = bootstrapped(provider, monkeypatch, program, parameters, ahead=True)
    assert ran[:2] == walked[:2]
    assert walked[2] == 0
    assert (ran[2] > 0) == (parameters.get("max_bootstrapped_demos") != 1)


def test_calls_that_cells_cannot_share_are_not_prefetched(provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    walked = bootstrapped(provider, monkeypatch, "Two", {}, ahead=False, cache=False)
    ran = bootstrapped(provider, monkeypatch, "Two", {}, ahead=True, cache=False)
    assert ran[:2] == walked[:2]


def test_prefetching_leads_to_the_same_errors(provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    walked = bootstrapped(provider, monkeypatch, "Failing", {"max_errors": 20}, ahead=False)
    ran = bootstrapped(provider, monkeypatch, "Failing", {"max_errors": 20}, ahead=True)
    assert ran[0] == walked[0]
    with pytest.raises(ValueError, match="cannot read"):
        bootstrapped(provider, monkeypatch, "Failing", {"max_errors": 1}, ahead=True)
