"""Language models in this process, which record their requests. Tests choose their answers."""

import asyncio
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import dspy
from dspy.clients import execution
from dspy.lm15 import Message, Response, TextPart, Usage
from dspy.predict.predict import Predict
from dspy.teleprompt.bootstrap import BootstrapFewShot
from dspy.utils.parallelizer import ParallelExecutor

from swarm_worker.client.call import Completion, LMCall, Make
from swarm_worker.client.flow import Flow
from swarm_worker.client.installed import client
from swarm_worker.content.codec import Codec

CODEC = Codec({"student model's API key": "sk-a-very-secret-key"})
HOOKED: dict[Any, tuple[str, ...]] = {
    execution: ("execute", "aexecute", "_attempt", "_aattempt"),
    ParallelExecutor: ("execute",),
    BootstrapFewShot: ("compile",),
    Predict: ("forward",),
}
_FIELDS = re.compile(r"\[\[ ## (\w+) ## ]]")
_REQUEST = "Respond with the corresponding output fields"


def echo(prompt: str) -> str:
    """Answers each text output that the prompt asks for with the words of the request."""
    asked, _, wanted = prompt.partition(_REQUEST)
    values = _FIELDS.sub("", asked).split()
    fields = [name for name in _FIELDS.findall(wanted) if name != "completed"]
    return "\n\n".join(f"[[ ## {name} ## ]]\n{name} of {' '.join(values)}" for name in fields)


@dataclass
class Provider:
    """A provider in this process. A pickle contains only its name, so copies record their requests in this object, too.

    Attributes:
        answer: a function that returns the completion for a prompt's last message, or raises an error of an LM client.
        asked: holds the last message of each request, also of failed requests.
        paid: counts the answered requests.
        batches: A batch begins when no other request is in flight. The list holds the number of requests in each batch.
        seconds: is the time that an answer takes.
    """

    name: str
    answer: Callable[[str], str] = echo
    seconds: float = 0.0
    asked: list[str] = field(default_factory=list)
    paid: int = 0
    batches: list[int] = field(default_factory=list)
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    named: ClassVar[dict[str, "Provider"]] = {}

    def __post_init__(self) -> None:
        self.named[self.name] = self

    def lm(self, **given: Any) -> Any:
        """Returns a client of this provider, which may answer repeated requests from DSPy's cache."""
        engines = {"engine": Engine(self.name), "async_engine": AsyncEngine(self.name)}
        return dspy.LM("openai/model", **{"num_retries": 0, **engines, **given})

    def begin(self, prompt: str) -> None:
        with self._lock:
            self.asked.append(prompt)
            self.batches = [*self.batches[:-1], self.batches[-1] + 1] if self._at_once else [*self.batches, 1]
            self._at_once += 1

    def end(self, prompt: str, model: str) -> Response:
        with self._lock:
            self._at_once -= 1
        text = self.answer(prompt)
        with self._lock:
            self.paid += 1
        message = Message.assistant([TextPart(text)])
        usage = Usage(input_tokens=3, output_tokens=2)
        return Response(id=None, model=model, message=message, finish_reason="stop", usage=usage)


@dataclass
class Engine:
    """The engine with which DSPy's client calls the provider."""

    name: str

    @property
    def provider(self) -> Provider:
        return Provider.named[self.name]

    def complete(self, request: Any) -> Response:
        prompt = request.messages[-1].text
        self.provider.begin(prompt)
        threading.Event().wait(self.provider.seconds)
        return self.provider.end(prompt, request.model)

    def stream(self, request: Any) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def dump_state(self) -> dict[str, Any]:
        return {"name": self.name}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> "Engine":
        return cls(**state)


class AsyncEngine(Engine):
    async def complete(self, request: Any) -> Response:
        prompt = request.messages[-1].text
        self.provider.begin(prompt)
        await asyncio.sleep(self.provider.seconds)
        return self.provider.end(prompt, request.model)

    async def aclose(self) -> None:
        pass


def prepared(lm: Any, prompt: str, given: dict[str, Any] | None = None) -> LMCall:
    """Returns the call that the LM would make for this prompt."""
    calls: list[LMCall] = []

    def around(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        calls.append(call)
        yield from ()  # makes the function a generator
        return client().answer(lm, [Completion("answer", 1)] * call.count, 1)

    undo = client().intercept(around)
    try:
        lm(prompt, **(given or {}))
    finally:
        undo()
    return calls[0]


def take_over(patch: Any) -> None:
    """Makes pytest restore after the test what `hooks` and `calls` replace.

    Args:
        patch: pytest's monkeypatch.
    """
    for owner, names in HOOKED.items():
        for name in names:
            patch.setattr(owner, name, getattr(owner, name))
