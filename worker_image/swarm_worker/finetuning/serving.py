"""Waits until a server answers for a trained model, and has vLLM load its adapter if the spec says so.

vLLM: https://docs.vllm.ai/en/latest/features/lora.html
"""

import httpx
import openai

from swarm_wire.messages import Pending
from swarm_wire.names import WorkerReason
from swarm_wire.spec.trainer import Serving
from swarm_wire.tuned import TunedModel
from swarm_wire.words import printable
from swarm_worker.errors import BadInput
from swarm_worker.finetuning.weights import ADAPTER

FIRST, LONGEST = 2, 600
"""Seconds until the second look, and between two looks at most."""


def look(
    client: openai.OpenAI,
    serving: Serving,
    tuned: TunedModel,
    key: str,
    before: Pending | None,
    *,
    now: float,
    deadline: float,
) -> TunedModel | Pending:
    """Returns the model if a server has it, or a record for the journal.

    Raises BadInput if that takes longer than `deadline` seconds from the first look, or if it never can be.
    """
    assert tuned.weights is not None, "a trainer has trained it"
    name, place = tuned.model.partition("/")[2], tuned.weights.place
    if serving.load is not None and tuned.weights.kind != ADAPTER:
        raise BadInput(
            WorkerReason.INVALID_SPEC,
            "finetune.trainer.serving.load: vLLM loads adapters, and the trainer has written a whole model. Remove "
            f"load and folder, and have {place} served as {name}.",
        )
    number = before.number if before else 0
    until = float(before.handle["until"]) if before else now + deadline
    with client.with_options(max_retries=0, timeout=60.0) as asked:
        said = _missing(asked, name)
        if said and serving.load is not None:
            said = load(asked, serving, name) or _missing(asked, name)
    if not said:
        return tuned
    message = f"the server at {tuned.endpoint} does not have the model {name} yet: {said}. Its weights are in {place}"
    if now < until:
        return Pending(
            key=key,
            number=number + 1,
            retry_after=min(LONGEST, FIRST << min(number, 10)),
            handle={"until": str(until)},
            message=printable(message)[:500],
        )
    raise BadInput(
        WorkerReason.FINE_TUNE_TIMED_OUT,
        f"after finetune.deadlineSeconds, {message}. Have it served under this name, and let the run begin again: it "
        "uses the same weights. If they are gone, write another finetune.seed.",
    )


def load(client: openai.OpenAI, serving: Serving, name: str) -> str:
    """Asks vLLM to load an adapter. Returns why it does not; an empty text if it has loaded the adapter."""
    path = f"{(serving.folder or '').rstrip('/')}/{name}/{ADAPTER}"
    body = {"lora_name": name, "lora_path": path}
    try:
        client.post("/load_lora_adapter", body=body, cast_to=httpx.Response, options={})
    except openai.OpenAIError as error:
        return f"it does not load {path}: {_said(error)}"
    return ""


def _missing(client: openai.OpenAI, name: str) -> str:
    """Returns why the server does not have the model; an empty text if it has.

    Ollama lists a model without a tag under the tag latest.
    """
    try:
        listed = [model.id for model in client.models.list()]
    except Exception as error:  # while a server starts, a gateway may answer with a page
        return f"it does not list its models: {_said(error)}"
    return "" if {name, f"{name}:latest"} & {*listed} else f"it has {', '.join(listed)[:200] or 'none'}"


def _said(error: Exception) -> str:
    return printable(" ".join(str(error).split()))[:200]
