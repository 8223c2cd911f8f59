"""A fine-tune stops before a payment that cannot be good, and its rows are those that the user means."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dspy
import pytest
from dspy.adapters.chat_adapter import ChatAdapter
from dspy.teleprompt import bootstrap_finetune
from pydantic import ValidationError

from support.wire_spec import a_spec
from swarm_wire.spec.bootstrap_finetune import BootstrapFinetune
from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker.errors import BadInput
from swarm_worker.finetuning.order import json_lines
from swarm_worker.user import finetuning
from swarm_worker.user.data import Data

GIVEN = BootstrapFinetune(min_examples=10, min_traces=10)


class Bare(dspy.Module):
    """A program as DSPy's guides write it: its constructor does not call that of dspy.Module."""

    def __init__(self) -> None:
        self.classify = dspy.Predict("ticket -> category")

    def forward(self, ticket: str) -> dspy.Prediction:
        if ticket.startswith("raise"):
            raise ValueError(ticket)
        found: dspy.Prediction = self.classify(ticket=ticket)
        return found


class Pair(dspy.Module):
    """Calls its predictors in an order that the ticket decides."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = dspy.Predict("ticket -> category"), dspy.Predict("ticket -> problem")

    def forward(self, ticket: str) -> dspy.Prediction:
        if ticket.startswith("other way"):
            self.second(ticket=ticket)
            return dspy.Prediction(category=self.first(ticket=ticket).category)
        category = self.first(ticket=ticket).category
        self.second(ticket=ticket)
        return dspy.Prediction(category=category)


class Tuner:
    """Stands for `LM.finetune`: it keeps the rows, and returns a tuned LM."""

    def __init__(self) -> None:
        self.rows: list[list[dict[str, Any]]] = []

    def __call__(self, lm: Any, train_data: Any, train_data_format: Any, train_kwargs: Any = None) -> Any:
        self.rows.append(train_data)
        job = type("Job", (), {"result": lambda _: lm.copy(model="tuned"), "join": lambda _: None})()
        job.thread = job
        return job


class Teacher(BaseHTTPRequestHandler):
    """Answers each ticket with its first word as category, and "broken" tickets without any field."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        ticket = asked.split("[[ ## ticket ## ]]\n")[1].split("\n")[0]
        fields = {"category": ticket.split()[0], "problem": "p"} if not ticket.startswith("broken") else {}
        asked_for = {name: value for name, value in fields.items() if f"[[ ## {name}" in asked}
        text = "".join(f"[[ ## {name} ## ]]\n{value}\n\n" for name, value in asked_for.items())
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text or "Sorry."}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
        sent = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Teacher)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def train(*tickets: str) -> list[dspy.Example]:
    return [dspy.Example(ticket=each, category=each.split()[0]).with_inputs("ticket") for each in tickets]


def good(count: int) -> list[str]:
    return [f"billing {number}" for number in range(count)]


def exact(example: Any, prediction: Any, trace: Any = None) -> Any:
    return example.category == prediction.category


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch, url: str) -> Callable[..., Any]:
    tuner = Tuner()
    monkeypatch.setattr(dspy.LM, "finetune", lambda *given, **named: tuner(*given, **named))

    def model(name: str) -> dspy.LM:
        return dspy.LM(f"openai/{name}", api_base=url, api_key="key", cache=False)

    def run(
        tickets: list[str], program: Any = None, metric: Any = exact, by_stock: bool = False, **given: Any
    ) -> tuple[list[Any], list[str]]:
        notes: list[str] = []
        options = GIVEN.model_copy(update=given)
        tuner.rows = []
        with dspy.context(lm=model("large"), adapter=ChatAdapter(use_json_adapter_fallback=False)):
            if by_stock:
                student = Bare()
                student.set_lm(model("small"))
                teacher = finetuning.taught_by(student, model("large"))
                stock = bootstrap_finetune.BootstrapFinetune(metric=metric, exclude_demos=True, num_threads=2)
                stock.compile(student, trainset=train(*tickets), teacher=teacher)
                return tuner.rows, notes
            finetuning.finetuned(
                program or Bare(),
                given=options,
                metric=metric,
                trainset=train(*tickets),
                small=model("small"),
                large=model("large"),
                note=notes.append,
                arms=finetuning.Arms(),
            )
        return tuner.rows, notes

    return run


def tickets_of(rows: list[dict[str, Any]]) -> list[str]:
    return [row["messages"][-2]["content"].split("[[ ## ticket ## ]]\n")[1].split("\n")[0] for row in rows]


def test_examples_that_raise_or_cannot_be_parsed_are_left_out_and_counted(tune: Any) -> None:
    bad = ["raise 1", "raise 2", "raise 3", "broken 1", "broken 2"]
    [rows], notes = tune([*good(95), *bad])
    assert len(rows) == 95
    assert not set(tickets_of(rows)) & set(bad)
    [stocks], _ = tune(good(95), by_stock=True)
    assert json_lines(rows) == json_lines(stocks), "stock itself ends after one bad example"
    assert notes[-1] == (
        "95 of 100 runs of the teacher became training rows: the metric rejected 0, 3 raised, and 2 could not be "
        "parsed."
    )


@pytest.mark.parametrize(
    ("metric", "least", "kept"),
    [
        pytest.param(lambda *_: dspy.Prediction(score=0.0), None, 0, id="a Prediction with the score 0 rejects"),
        pytest.param(lambda *_: dspy.Prediction(score=0.3), None, 20, id="a Prediction with another score keeps"),
        pytest.param(lambda *_: 0.3, None, 20, id="any score but 0 keeps, as in stock"),
        pytest.param(lambda *_: 0.3, 0.5, 0, id="a score below minScore rejects"),
        pytest.param(lambda *_: 0.5, 0.5, 20, id="minScore itself keeps"),
        pytest.param(lambda *_: False, None, 0, id="False rejects"),
    ],
)
def test_the_metric_rejects_what_the_user_means(tune: Any, metric: Any, least: float | None, kept: int) -> None:
    if kept:
        [rows], _ = tune(good(20), metric=metric, min_score=least)
        assert len(rows) == kept
        return
    with pytest.raises(BadInput) as refused:
        tune(good(20), metric=metric, min_score=least)
    assert refused.value.reason == "TooFewTraces"
    assert "0 of 20 runs of the teacher are good enough" in str(refused.value)


def test_the_message_about_too_few_rows_says_how_many_examples_would_do(tune: Any) -> None:
    tickets = [*good(4), *(f"wrong {number}" for number in range(16))]
    with pytest.raises(BadInput, match="About 50 training examples would do") as refused:
        tune(tickets, metric=lambda example, found, trace=None: found.category == "billing")
    assert refused.value.reason == "TooFewTraces"


@pytest.mark.parametrize(
    ("least", "refused"), [(None, False), (80.0, False), (80.1, True)], ids=["any", "what it scores", "more"]
)
def test_a_teacher_that_scores_too_little_on_what_it_answers_ends_the_run(
    tune: Any, least: float | None, refused: bool
) -> None:
    tickets = [*good(16), *(f"wrong {number}" for number in range(4)), "raise 1", "broken 1"]

    def billed(example: Any, found: Any, trace: Any = None) -> Any:
        return dspy.Prediction(score=float(found.category == "billing"))

    if not refused:
        [rows], _ = tune(tickets, metric=billed, min_teacher_score=least)
        assert len(rows) == 16
        return
    with pytest.raises(BadInput, match=r"the teacher scores 80\.0 on the 20 training examples") as error:
        tune(tickets, metric=billed, min_teacher_score=least)
    assert error.value.reason == "TeacherBelowGate"


def test_a_predictor_that_is_seldom_called_is_noted(tune: Any) -> None:
    class Router(Pair):
        def forward(self, ticket: str) -> dspy.Prediction:
            if ticket.endswith(" 1"):
                self.second(ticket=ticket)
            return dspy.Prediction(category=self.first(ticket=ticket).category)

    _, notes = tune(good(20), program=Router())
    assert "the predictor second has only 1 training rows, since the program seldom calls it." in notes


def test_an_input_that_the_signature_lacks_changes_no_prompt(tune: Any) -> None:
    class More(Bare):
        def forward(self, ticket: str) -> dspy.Prediction:
            found: dspy.Prediction = self.classify(ticket=ticket, number=7)
            return found

    [rows], _ = tune(good(12), program=More())
    assert len(rows) == 12


def test_a_program_whose_prompts_dspy_rewrites_is_known() -> None:
    types = pytest.importorskip("dspy.adapters.types.decision", reason="DSPy 3.3 has no outputs for decisions")
    fields = {"ticket": (str, dspy.InputField()), "category": (types.Noul, dspy.OutputField())}
    deciding = dspy.Predict(dspy.Signature(fields))
    assert finetuning._makes_decisions(deciding, ChatAdapter())
    assert not finetuning._makes_decisions(Bare().classify, ChatAdapter())


def test_two_predictors_with_a_model_each_need_runs_that_call_each_once_in_order(tune: Any) -> None:
    rows, _ = tune(good(12), program=Pair(), multitask=False)
    assert [len(each) for each in rows] == [12, 12]
    with pytest.raises(BadInput, match="stock DSPy would train a predictor on the rows of another") as refused:
        tune([*good(12), "other way 1"], program=Pair(), multitask=False, metric=lambda *_: True)
    assert refused.value.reason == "OptimizerInvalid"
    [*_, rows], _ = tune([*good(12), "other way 1"], program=Pair(), metric=lambda *_: True)
    assert len(rows) == 26


def test_each_row_has_the_prompt_that_the_tuned_program_sends(tune: Any) -> None:
    program = Bare()
    program.classify.demos = [dspy.Example(ticket="a", category="b")]
    for without in (True, False):
        [*_, rows], _ = tune(good(12), program=program.deepcopy(), exclude_demos=without)
        turns = {len(row["messages"]) for row in rows}
        assert turns == ({3} if without else {5})


def test_a_program_that_changes_its_signature_while_it_runs_is_refused(tune: Any) -> None:
    class Changing(Bare):
        def forward(self, ticket: str) -> dspy.Prediction:
            signature = self.classify.signature.with_instructions(f"Look at {ticket}.")
            found: dspy.Prediction = dspy.Predict(signature)(ticket=ticket)
            return found

    with pytest.raises(BadInput) as refused:
        tune(good(12), program=Changing())
    assert refused.value.reason == "PromptSkew"


@pytest.mark.parametrize(
    ("given", "examples", "adapter", "reason"),
    [
        (BootstrapFinetune(min_traces=10), 49, None, "TooFewExamples"),
        (BootstrapFinetune(), 99, None, "TooFewExamples"),
        (BootstrapFinetune(), 100, dspy.JSONAdapter(), "AdapterUnsupported"),
        (BootstrapFinetune(), 100, dspy.XMLAdapter(), None),
        (BootstrapFinetune(), 100, None, None),
        (BootstrapFinetune(min_examples=10, min_traces=10), 10, None, None),
    ],
)
def test_what_needs_no_call_is_checked_before_the_first(
    given: BootstrapFinetune, examples: int, adapter: Any, reason: str | None
) -> None:
    if reason is None:
        finetuning.check(given, Data(train(*good(examples)), None, []), adapter, print)
        return
    with pytest.raises(BadInput) as refused:
        finetuning.check(given, Data(train(*good(examples)), None, []), adapter, print)
    assert refused.value.reason == reason


@pytest.mark.parametrize("name", ["validation", "test"])
def test_a_tuned_program_is_not_scored_on_what_it_was_trained_on(name: str) -> None:
    sets = {"validation": train("payment 1"), "test": train("payment 2")}
    finetuning.check(GIVEN, Data(train(*good(12)), sets["validation"], sets["test"]), None, print)
    sets[name] = train("payment 3", "billing 7")
    with pytest.raises(BadInput, match=rf"1 of 2 examples of spec.data.{name}.*the first at place 2") as refused:
        finetuning.check(GIVEN, Data(train(*good(12)), sets["validation"], sets["test"]), None, print)
    assert refused.value.reason == "TrainTestOverlap"


def test_a_note_says_that_no_held_out_example_is_there() -> None:
    notes: list[str] = []
    finetuning.check(GIVEN, Data(train(*good(12)), None, []), None, notes.append)
    assert notes == ["the tuned program is scored on examples on which it was trained: add spec.data.test."]


def test_stocks_own_function_is_back_after_the_compile(tune: Any) -> None:
    before = bootstrap_finetune.bootstrap_trace_data
    tune(good(12))
    assert bootstrap_finetune.bootstrap_trace_data is before


STUDENT = {"student": {"model": "openai/small"}}
TRAINER = {
    "image": "trl:1",
    "base": {"name": "Qwen/Qwen3-0.6B", "revision": "a" * 40},
    "output": {"persistentVolumeClaim": {"claimName": "adapters"}},
    "serving": {"endpoint": "http://vllm:8000/v1"},
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"finetune": None}, "bootstrapFinetune needs finetune: {}"),
        (
            {"optimizer": {"labeledFewShot": {}}},
            "only bootstrapFinetune, betterTogether and distill use finetune: remove it",
        ),
        ({"optimizer": {"betterTogether": {}}, "finetune": None}, "betterTogether needs finetune: {}"),
        ({"optimizer": {"betterTogether": {}}, "distill": {}}, "distill needs models.teacher"),
        (
            {"optimizer": {"betterTogether": {}}, "limits": {"publishPartial": True}},
            "betterTogether cannot be combined with limits.publishPartial: remove that",
        ),
        (
            {"compare": {"currentModel": "today"}, "models": {**STUDENT, "today": {"model": "openai/today"}}},
            "cannot be combined with program.state.published and compare",
        ),
        ({"finetune": {"trainer": {**TRAINER, "image": None}}}, "one of image and command must be set"),
        ({"finetune": {"trainer": {**TRAINER, "parameters": {"epochs": 3}}}}, "write finetune.epochs"),
        ({"finetune": {"trainer": {**TRAINER, "env": [{"name": "A", "value": "1"}] * 2}}}, "env sets A more than once"),
        (
            {"finetune": {"trainer": {**TRAINER, "serving": {}}}, "models": STUDENT},
            "needs trainer.serving.endpoint",
        ),
        ({"finetune": {"trainer": {**TRAINER, "serving": {"load": "vllm"}}}}, "load and folder must be set together"),
        ({"finetune": {"trainer": {**TRAINER, "output": {"url": "file:///tmp"}}}}, "file: is within one pod"),
        ({"finetune": {"trainer": TRAINER, "suffix": "a"}}, "suffix is for jobs at a provider"),
        (
            {"finetune": {"trainer": TRAINER}, "models": {"student": {"model": "ollama_chat/m"}}},
            "write models.student.model: openai/NAME, not ollama_chat/NAME",
        ),
        (
            {"finetune": {"trainer": TRAINER}, "optimizer": {"betterTogether": {"strategy": "w -> p -> w"}}},
            "Write one w",
        ),
        ({"limits": {"costUSD": 5}}, "limits.costUSD needs finetune.trainingPrice"),
        (
            {"limits": {"costUSD": 5}, "finetune": {"trainingPrice": 8}},
            "limits.totalTokens and limits.costUSD need finetune.epochs",
        ),
        ({"gate": {"minRetention": 0.9}}, "gate.minRetention needs a fine-tune"),
        ({"gate": {"whenInconclusive": "publish"}}, "publish needs gate.minRetention"),
        ({"gate": {"minCostReduction": 0.5}}, "gate.minCostReduction needs a fine-tune"),
        ({"models": {"student": {"model": "groq/m"}}}, "needs models.student.endpoint with groq"),
        ({"distill": {}}, "distill needs models.teacher"),
        ({"optimizer": {"labeledFewShot": {}}, "distill": {}}, "distill needs models.teacher"),
        (
            {"optimizer": {"labeledFewShot": {}}, "distill": {}, "finetune": None},
            "distill needs finetune: {}",
        ),
    ],
)
def test_a_spec_that_cannot_be_kept_is_refused(changes: dict[str, Any], says: str) -> None:
    given = a_spec(optimizer={"bootstrapFinetune": {}}, finetune={})
    CompilationSpec.model_validate(given)
    changed = {name: value for name, value in {**given, **changes}.items() if value is not None}
    with pytest.raises(ValidationError, match=r".") as refused:
        CompilationSpec.model_validate(json.loads(json.dumps(changed)))
    assert says in str(refused.value)
