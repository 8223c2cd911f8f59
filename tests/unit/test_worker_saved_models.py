"""A loaded program gets the models that it was saved with, as the spec has them now."""

from types import SimpleNamespace
from typing import Any

import dspy
import pytest

from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker.errors import BadInput
from swarm_worker.user import saved_models

MODELS = {
    "student": {"model": "openai/small", "endpoint": "http://a/v1/"},
    "teacher": {"model": "openai/large", "endpoint": "http://b/v1"},
}
TRAINER = {
    "image": "trl:1",
    "base": {"name": "small", "revision": "a" * 40},
    "output": {"persistentVolumeClaim": {"claimName": "adapters"}},
    "serving": {"endpoint": "http://vllm/v1"},
}
LMS = {
    "student": dspy.LM("openai/small", api_base="http://a/v1/", api_key="a"),
    "teacher": dspy.LM("openai/large", api_base="http://b/v1", api_key="b"),
}
JUDGE = dspy.LM("openai/judge", api_base="http://c/v1", api_key="c")
TUNED = "openai/ft:small:1"


def spec(finetune: dict[str, Any] | None) -> CompilationSpec:
    tuned: dict[str, Any] = {"optimizer": {"labeledFewShot": {}}}
    if finetune is not None:
        tuned = {"optimizer": {"bootstrapFinetune": {}}, "finetune": finetune}
    given = {"entrypoint": "triage:Triage"}, {"entrypoint": "triage:metric"}, {"train": {"path": "t"}, "inputs": ["q"]}
    return CompilationSpec.model_validate(
        {"program": given[0], "metric": given[1], "data": given[2], "models": MODELS, **tuned}
    )


ROWS: list[tuple[str, str | None, dspy.LM | None, dict[str, Any] | None, tuple[str, str, str] | None]] = [
    ("no saved model", None, None, None, None),
    ("a role's model, which is no longer the student's", "openai/large", None, None, ("large", "http://b/v1", "b")),
    ("the code's own model", "openai/judge", JUDGE, None, ("judge", "http://c/v1", "c")),
    ("a model tuned from the student", TUNED, None, {}, ("ft:small:1", "http://a/v1/", "a")),
    ("a model tuned from the code's own", TUNED, JUDGE, {}, ("ft:small:1", "http://c/v1", "c")),
    ("a trainer's model", "openai/ft-0", None, {"trainer": TRAINER}, ("ft-0", "http://vllm/v1", "a")),
]


@pytest.mark.parametrize(("saved", "own", "finetune", "connected"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS])
def test_a_saved_model_is_found_by_its_name(
    saved: str | None,
    own: dspy.LM | None,
    finetune: dict[str, Any] | None,
    connected: tuple[str, str, str] | None,
) -> None:
    program = dspy.Predict("q -> a")
    program.lm = None if saved is None else dspy.LM(saved)
    models: Any = SimpleNamespace(by_name=LMS, student=LMS["student"])
    saved_models.connect(program, {"self": own}, spec(finetune), models, "spec.gate.against")
    lm = program.lm
    found = None if lm is None else (lm.model.partition("/")[2], lm.kwargs["api_base"], lm.kwargs["api_key"])
    assert found == connected


@pytest.mark.parametrize("own", [None, JUDGE], ids=["none of its own", "one of its own"])
def test_a_tuned_model_without_its_fine_tune_is_refused(own: dspy.LM | None) -> None:
    program = dspy.Predict("q -> a")
    program.lm = dspy.LM(TUNED)
    models: Any = SimpleNamespace(by_name=LMS, student=LMS["student"])
    with pytest.raises(BadInput, match=r"spec\.finetune back. Otherwise remove spec\.drift\.") as refused:
        saved_models.connect(program, {"self": own}, spec(None), models, "spec.drift")
    assert refused.value.reason == "ProgramLoadFailed"
