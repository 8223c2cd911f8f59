"""A call that repeats a question, because DSPy could not read the answer, is told from the first call."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import dspy
import pytest
from dspy.adapters.chat_adapter import ChatAdapter
from dspy.adapters.json_adapter import JSONAdapter
from dspy.utils.exceptions import AdapterParseError

from swarm_worker.client.call import Completion, LMCall, Make
from swarm_worker.client.flow import Flow
from swarm_worker.client.installed import client
from swarm_worker.replay import fallbacks

LM = dspy.LM("openai/model", api_key="none")
CHAT, JSON, XML = "[[ ## answer ## ]]\nyes", '{"answer": "yes"}', "<answer>\nyes\n</answer>"
BAD = "I would rather not say."


class Asking(ChatAdapter):
    """An adapter that asks another question while it reads an answer."""

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        with dspy.context(adapter=ChatAdapter()):
            dspy.Predict("other -> answer")(other="?")
        parsed: dict[str, Any] = super().parse(signature, completion)
        return parsed


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[bool]]]:
    """Yields a function that asks questions, and returns for each call whether it repeats a question."""
    for kind in (ChatAdapter, JSONAdapter):
        for name in ("__call__", "acall"):
            monkeypatch.setattr(kind, name, getattr(kind, name))
    fallbacks.install()
    answers: list[str] = []
    repeats: list[bool] = []

    def around(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        yield from ()
        repeats.append(fallbacks.repeats())
        return client().answer(lm, [Completion(answers.pop(0) if answers else BAD, 1)], 1)

    def ask(adapter: dspy.Adapter, given: list[str], questions: int = 1, *, later: bool = False) -> list[bool]:
        answers[:] = given
        repeats.clear()
        predict = dspy.Predict("question -> answer")
        with dspy.context(lm=LM, adapter=adapter):
            for _ in range(questions):
                if later:
                    asyncio.run(predict.acall(question="?"))
                else:
                    predict(question="?")
        return [*repeats]

    undo = client().intercept(around)
    yield ask
    undo()


@pytest.mark.parametrize("later", [False, True], ids=["at once", "in a coroutine"])
@pytest.mark.parametrize(
    ("adapter", "answers", "questions", "repeats"),
    [
        (ChatAdapter(), [CHAT], 1, [False]),
        (ChatAdapter(), [BAD, JSON], 1, [False, True]),
        (dspy.XMLAdapter(), [BAD, JSON], 1, [False, True]),
        (JSONAdapter(), [JSON], 1, [False]),
        (ChatAdapter(), [BAD, JSON, CHAT], 2, [False, True, False]),
        (Asking(), [CHAT, CHAT], 1, [False, False]),
    ],
    ids=["a good answer", "a bad one", "a bad one in XML", "JSON", "two questions", "a question within another"],
)
def test_a_call_repeats_a_question_only_after_an_answer_that_cannot_be_read(
    asked: Any, adapter: dspy.Adapter, answers: list[str], questions: int, repeats: list[bool], later: bool
) -> None:
    assert asked(adapter, answers, questions, later=later) == repeats


def test_a_question_without_a_fallback_is_asked_once(asked: Any) -> None:
    with pytest.raises(AdapterParseError):
        asked(ChatAdapter(use_json_adapter_fallback=False), [BAD])
    assert asked(ChatAdapter(), [CHAT]) == [False]
