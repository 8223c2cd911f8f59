"""An exception of a cell is a result or not, as the table of docs/faults.md says. Each row has a test."""

import asyncio
import contextlib
import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMConfigurationError,
    LMInvalidRequestError,
    LMProviderError,
    LMRateLimitError,
    LMServerError,
    LMTimeoutError,
    LMTransportError,
    LMUnsupportedFeatureError,
    LMUnsupportedModelError,
)

from support.models import CODEC, Provider, take_over
from support.wire import digest
from support.wire_spec import a_spec
from swarm_wire.messages import Outcome, Result
from swarm_wire.names import ExitCode
from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker.client import advice
from swarm_worker.errors import InfrastructureFailed, ProviderFailed, SwarmError
from swarm_worker.imaginary.values import Draw, of_type
from swarm_worker.replay import calls
from swarm_worker.replay.blame import no_result
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.execute import run_cell

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")
RESULT = None
PROVIDER, KEY, SECRET, ACCOUNT = "ProviderFailed", "CredentialsRejected", "MissingSecret", "AccountExhausted"
MACHINERY, PACKAGE = "InfrastructureFailed", "PackageMissing"


def raised(function: Callable[[], Any]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def within(module: str, code: str) -> Callable[[], Any]:
    """Returns a function that runs code as if a module of this name contained it."""
    return lambda: exec(compile(code, "<code>", "exec"), {"__name__": module})


def throw(error: Exception, cause: Exception | None = None) -> Callable[[], Any]:
    def function() -> Any:
        raise error from cause

    return function


def deep(depth: int = 0) -> int:
    return deep(depth + 1) + 1


def while_handling(first: Callable[[], Any], error: Exception) -> Callable[[], Any]:
    def function() -> Any:
        try:
            first()
        except Exception:
            raise error  # noqa: B904

    return function


def asked(answer: Callable[[str], str], **given: Any) -> Callable[[], Any]:
    """Returns a function that calls a predictor whose model gives this answer."""

    def function() -> Any:
        with dspy.context(lm=Provider("blamed", answer).lm(**given)):
            return dspy.Predict("question -> answer: int")(question="one")

    return function


def without_a_key() -> Any:
    return dspy.LM("openai/m", num_retries=0)("one")


class OfAnotherType:
    """An LM engine that returns a string, though DSPy's contract requires a response object."""

    def complete(self, request: Any) -> Any:
        return "no response"

    def stream(self, request: Any) -> Any: ...
    def close(self) -> None: ...


def not_an_engine() -> Any:
    return dspy.LM("openai/m", engine=OfAnotherType(), num_retries=0)("one")


class Own:
    """A type for which pydantic has no schema."""


class OwnClient(dspy.BaseLM):
    """An LM class of the user with a mistake in it."""

    def forward(self, prompt: Any = None, messages: Any = None, **given: Any) -> Any:
        return dict[str, str]()["choices"]


class Exhausted(dspy.BaseLM):
    """An LM class of the user that has a list of answers and has used them all."""

    def forward(self, prompt: Any = None, messages: Any = None, **given: Any) -> Any:
        return next(iter(()))


def raising(error: Exception) -> Callable[[str], str]:
    def answer(prompt: str) -> str:
        raise error

    return answer


TABLE: list[tuple[str, Callable[[], Any], str | None]] = [
    # Errors of the user's code
    ("the program raises", throw(ValueError("bad")), RESULT),
    ("a file of the user's is not there", lambda: Path("/no/such/file").read_text(), RESULT),
    ("a file is locked away", throw(PermissionError(errno.EACCES, "no")), RESULT),
    ("a package of the user's is not there", within("program", "import no_such_package"), RESULT),
    ("the standard library, called by the user", lambda: json.loads("{"), RESULT),
    ("a package, called by the user", within("program", "import pydantic; pydantic.TypeAdapter(int)"
     ".validate_python('x')"), RESULT),
    ("recursion", deep, RESULT),
    ("an assertion", throw(AssertionError("no")), RESULT),
    ("a time-out of the user's", throw(TimeoutError("too slow")), RESULT),
    ("the user's own LM class", lambda: OwnClient("own")("one"), RESULT),
    ("the user's own LM class has no answer left", lambda: Exhausted("own")("one"), RESULT),
    ("the user's own engine", asked(raising(KeyError("field"))), RESULT),
    ("a type that the imaginary provider has no value of", lambda: of_type(Own, "name", Draw("seed")), RESULT),
    # Errors of DSPy about an answer or about its arguments
    ("an answer without the fields", asked(lambda prompt: "what?"), RESULT),
    ("an answer of another type", asked(lambda prompt: "[[ ## answer ## ]]\nmany"), RESULT),
    ("no model is configured", lambda: dspy.Predict("a -> b")(a="1"), RESULT),
    ("a predictor is called without names", lambda: dspy.Predict("a -> b")("1"), RESULT),
    ("half a character is sent", lambda: dspy.LM("openai/m", api_key="k")("half \udcff"), RESULT),
    ("no number of completions", lambda: dspy.LM("openai/m", api_key="k")("one", n=0), RESULT),
    ("a warning that the user wants to be an error", within("dspy.clients.lm", "raise UserWarning('old')"), RESULT),
    # Errors of the provider
    ("rate limit", throw(LMRateLimitError("slow down")), PROVIDER),
    ("time-out", throw(LMTimeoutError("late")), PROVIDER),
    ("server error", throw(LMServerError("500")), PROVIDER),
    ("no connection", throw(LMTransportError("refused")), PROVIDER),
    ("an answer that is no JSON", throw(LMProviderError("a page", status=200)), PROVIDER),
    ("a redirection", throw(LMProviderError("elsewhere", status=302)), PROVIDER),
    ("a rate limit that the program wraps", throw(RuntimeError("no"), LMRateLimitError("slow down")), PROVIDER),
    ("the key is refused", throw(LMAuthError("401")), KEY),
    ("an LM without a key", without_a_key, SECRET),
    ("no money", throw(LMBillingError("402")), ACCOUNT),
    ("the prompt is too long", throw(ContextWindowExceededError()), RESULT),
    ("the request is refused", throw(LMInvalidRequestError("400", status=400)), RESULT),
    ("the method is refused", throw(LMProviderError("405", status=405)), RESULT),
    ("no such model", throw(LMUnsupportedModelError("404", status=404)), RESULT),
    ("a feature is missing", throw(LMUnsupportedFeatureError("no tools")), RESULT),
    ("the LM is configured wrongly", throw(LMConfigurationError("no")), RESULT),
    # Errors of the machinery: of imports, memory, files and our own code
    ("half of a module", throw(AttributeError("partially initialized module 'm' has no attribute 'a'")), MACHINERY),
    ("a name of half a module", throw(ImportError("cannot import name 'a' from partially initialized module 'm'")),
     MACHINERY),
    ("memory", throw(MemoryError()), MACHINERY),
    ("threads", throw(RuntimeError("can't start new thread")), MACHINERY),
    *((f"the machine: {errno.errorcode[code]}", throw(OSError(code, "none left")), MACHINERY)
      for code in (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM, errno.EAGAIN)),
    ("no more files for a connection", throw(LMTransportError("no"), OSError(errno.EMFILE, "none left")), MACHINERY),
    ("memory, in an engine", asked(raising(MemoryError())), MACHINERY),
    ("what a program makes of it", while_handling(throw(MemoryError()), ValueError("no answer")), MACHINERY),
    ("LiteLLM lacks something", within("dspy.clients.lm", "None.completion"), MACHINERY),
    ("LiteLLM is not there", within("dspy.utils.lazy_import", "raise ImportError('litellm is required')"), MACHINERY),
    ("a package that DSPy needs is not there", within("dspy.retrievers.a", "import no_such_package"), PACKAGE),
    ("the client does not keep its contract", not_an_engine, MACHINERY),
    ("the client says no more than that", within(
        "dspy.clients.errors", "from dspy.utils.exceptions import LMUnexpectedError as E\nraise E('?')"), MACHINERY),
    ("this worker", within("swarm_worker.content.codec", "{}['key']"), MACHINERY),
    ("the standard library, called by this worker",
     within("swarm_worker.replay.call_sharing", "import json; json.loads('{')"), MACHINERY),
]  # fmt: skip


@pytest.mark.parametrize(("case", "function", "reason"), TABLE, ids=[row[0] for row in TABLE])
def test_an_exception_of_the_program_is_a_result_and_an_exception_of_the_provider_is_not(
    monkeypatch: pytest.MonkeyPatch, case: str, function: Callable[[], Any], reason: str | None
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    found = no_result(raised(function))
    assert (found and found.reason) == reason


OF_THE_SPEC = {
    "student": {"model": "openai/gpt-4o-mini"},
    "teacher": {"model": "together_ai/llama"},
    "prompt": {"model": "openai/large", "apiKey": {"secret": {"name": "openai", "key": "api-key"}}},
}
NOT_READ = "Incorrect API key.\n\n  To fix:\n    - Pass the key explicitly (api_key= on dspy.LM)"
PROVIDERS_OWN = "or set the provider's own variable by spec.env."


def refused(model: str | None, provider: str | None = None) -> Callable[[], Any]:
    return throw(LMAuthError(NOT_READ, model=model, provider=provider))


@pytest.mark.parametrize(
    ("function", "reason", "says"),
    [
        (lambda: dspy.LM("openai/gpt-4o-mini", num_retries=0)("one"), SECRET,
         f"model 'openai/gpt-4o-mini' has no API key: write spec.models.student.apiKey, {PROVIDERS_OWN}"),
        (lambda: dspy.LM("together_ai/llama", num_retries=0)("one"), SECRET,
         f"model 'together_ai/llama' has no API key: write spec.models.teacher.apiKey, {PROVIDERS_OWN}"),
        (lambda: dspy.LM("openai/another", num_retries=0)("one"), SECRET,
         "an LM that the program makes has no API key here: 'openai/another'. Use the models of the spec, whose keys "
         "models.*.apiKey names, or give the LM its api_key."),
        (refused("openai/large"), KEY,
         "the provider refuses the API key: [openai/large] Incorrect API key. Put a valid key into the Secret that "
         "spec.models.prompt.apiKey names; on a laptop, into SWARM_API_KEY_PROMPT, in the shell or in .env."),
        (refused("large", "openai"), KEY,
         "the provider refuses the API key: [large] Incorrect API key. Put a valid key into the Secret that "
         "spec.models.prompt.apiKey names; on a laptop, into SWARM_API_KEY_PROMPT, in the shell or in .env."),
        (refused("llama", "together_ai"), KEY,
         "the provider refuses the API key: [llama] Incorrect API key. Name the Secret that has a valid one in "
         "spec.models.teacher.apiKey."),
        (refused(None), KEY,
         "the provider refuses the API key: Incorrect API key. Put a valid key into the Secret that models.*.apiKey "
         "names, or give the program's own LM one."),
        (throw(LMServerError("overloaded\n\n  To fix:\n    - Retry with backoff")), PROVIDER,
         "the provider did not answer: overloaded"),
        (throw(LMServerError("TOGETHER_AI_API_KEY is what our server lacks", status=500)), PROVIDER,
         "the provider did not answer: TOGETHER_AI_API_KEY is what our server lacks"),
    ],
    ids=["no key", "no key, by LiteLLM", "no key, the program's own", "refused", "refused, by LiteLLM",
         "refused, where the spec names none", "refused, the program's own", "another fault", "a server's own words"],
)  # fmt: skip
def test_a_message_about_an_api_key_names_the_field_of_the_model_that_failed(
    monkeypatch: pytest.MonkeyPatch, function: Callable[[], Any], reason: str, says: str
) -> None:
    """The message leaves out the LM client's advice about its parameters and variables, which a spec does not have."""
    for variable in ("OPENAI_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(advice, "_roles", {})
    advice.install(CompilationSpec.model_validate(a_spec(models=OF_THE_SPEC)))
    found = no_result(raised(function))
    assert found is not None
    assert (found.reason, str(found)) == (reason, says)


def test_a_fault_of_our_own_code_has_the_cell_run_again_and_names_the_fault() -> None:
    found = no_result(raised(within("swarm_worker.x", "{}['key']")))
    assert isinstance(found, InfrastructureFailed)
    assert found.exit_code == ExitCode.FAILED
    assert "neither the program nor a model's answer is at fault: KeyError: 'key'" in str(found)


# --- programs that go on after an error --------------------------------------------------------------------------


def predict() -> Any:
    return dspy.Predict("question -> answer")(question="one")


def suppressed() -> Any:
    with contextlib.suppress(Exception):
        predict()
    return "made up"


def in_parallel() -> Any:
    question = dspy.Example(question="one").with_inputs("question")
    dspy.Parallel(num_threads=2, disable_progress_bar=True)([(dspy.Predict("question -> answer"), question)])
    return "made up"


def async_suppressed() -> Any:
    async def go() -> None:
        with contextlib.suppress(Exception):
            await dspy.Predict("question -> answer").acall(question="one")

    asyncio.run(go())
    return "made up"


def gathered() -> Any:
    async def go() -> Any:
        predictor = dspy.Predict("question -> answer")
        return await asyncio.gather(predictor.acall(question="one"), return_exceptions=True)

    return len(asyncio.run(go()))


def another_model() -> Any:
    try:
        return predict().answer
    except Exception:
        with dspy.context(lm=Provider("spare").lm()):
            return predict().answer


def by_a_tool() -> Any:
    """Calls the predictor in a tool of an agent. DSPy's agents take an exception of a tool for the tool's answer."""
    agent = dspy.ReAct("question -> answer", tools=[dspy.Tool(predict, name="look", args={})], max_iters=1)
    told = ["[[ ## next_thought ## ]]\na\n[[ ## next_tool_name ## ]]\nlook\n[[ ## next_tool_args ## ]]\n{}", "", ""]
    inner = dspy.settings.lm
    with dspy.context(
        lm=Provider("agent", lambda prompt: told.pop(0) or "[[ ## reasoning ## ]]\na\n[[ ## answer ## ]]\nb").lm()
    ):
        agent.tools["look"].func = lambda: _with(inner, predict)
        return agent(question="one").answer


def _with(lm: Any, function: Callable[[], Any]) -> Any:
    with dspy.context(lm=lm):
        return function()


GOING_ON = [suppressed, in_parallel, async_suppressed, gathered, another_model, by_a_tool]


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("program", GOING_ON, ids=lambda program: program.__name__)
def test_a_program_that_catches_a_fault_of_the_infrastructure_has_no_result(
    monkeypatch: pytest.MonkeyPatch, program: Callable[[], Any], cached: bool
) -> None:
    take_over(monkeypatch)
    calls.install()
    lm = Provider("broken", raising(OSError(errno.EMFILE, "Too many open files"))).lm(cache=cached)
    with pytest.raises(InfrastructureFailed, match="Too many open files"):
        run_cell(digest(1), program, (), Answers(CODEC, lambda key: None, lambda record: None), lm=lm)


@pytest.mark.parametrize("program", GOING_ON, ids=lambda program: program.__name__)
def test_a_program_that_catches_the_error_of_a_bad_answer_has_a_result(
    monkeypatch: pytest.MonkeyPatch, program: Callable[[], Any]
) -> None:
    take_over(monkeypatch)
    calls.install()
    lm = Provider("weak", raising(LMInvalidRequestError("too long", status=400))).lm()
    record = run_cell(digest(1), program, (), Answers(CODEC, lambda key: None, lambda record: None), lm=lm)
    assert Result.model_validate(record.header).outcome is Outcome.OK


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "uncached"])
def test_a_bootstrap_that_catches_the_error_of_a_silent_provider_has_no_result(
    monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    take_over(monkeypatch)
    calls.install()
    lm = Provider("silent", raising(LMRateLimitError("slow down"))).lm(cache=cached)
    answers = Answers(CODEC, lambda key: None, lambda record: None)
    with pytest.raises(ProviderFailed):
        run_cell(digest(1), suppressed, (), answers, swallows=True, lm=lm)


def test_a_fault_of_our_own_code_around_a_call_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    take_over(monkeypatch)
    calls.install()

    answers = Answers(CODEC, lambda key: None, lambda record: None)
    lost = within("swarm_worker.journal.store", "{}['key']")
    monkeypatch.setattr(answers, "claim", lambda key: lost())
    with pytest.raises(SwarmError) as ended:
        run_cell(digest(1), suppressed, (), answers, lm=Provider("fine").lm())
    assert ended.value.reason == MACHINERY
