"""Where this process has models fine-tuned."""

import threading
from collections.abc import Callable, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import dspy

from swarm_wire.messages import Pending
from swarm_wire.names import WorkerReason
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.finetune import Finetune
from swarm_wire.spending import MICRO, Spending, Usage
from swarm_wire.tuned import TunedModel
from swarm_worker.client import permanent_errors
from swarm_worker.errors import BadInput
from swarm_worker.finetuning.order import TRAINER, Order, Tuned, json_lines
from swarm_worker.provider.budget import Budget
from swarm_worker.provider.price_list import Prices

if TYPE_CHECKING:
    import openai

MILLION = 1_000_000
TRAINED_BY: Final = ("image", "command", "base", "parameters", "env")
"""The fields of finetune.trainer on which its result may depend."""


class Tuning:
    """Has models of a spec fine-tuned.

    Args:
        models: the dspy.LM of each role.
        pending: what looks have left in the journal, by the order's key.
        is_imaginary: whether no model is tuned, since the process only estimates.

    Attributes:
        made: the models that the compile has used, by name.
    """

    def __init__(
        self,
        spec: CompilationSpec,
        models: Mapping[str, dspy.LM],
        pending: Mapping[str, Pending],
        budget: Budget,
        is_imaginary: bool = False,
        run_id: str = "",
    ) -> None:
        assert spec.finetune is not None, "the spec has a fine-tune"
        self._spec, self._given = spec, spec.finetune
        self._models, self._pending, self._budget = models, pending, budget
        self.made: dict[str, TunedModel] = {}
        self.is_imaginary = is_imaginary
        self._run_id, self._revival = run_id, threading.Lock()

    def order(self, lm: dspy.LM, rows: list[dict[str, Any]]) -> Order:
        """Returns the order to tune an LM with these rows.

        Raises BadInput if the LM is neither a model of the spec nor tuned from one.
        """
        first = lm.model
        while first in self.made:
            first = self.made[first].base
        for role, model in self._spec.models.by_role.items():
            if self._given.trainer is not None and role != "student":
                break
            if model.model == first and model.address == str(lm.kwargs.get("api_base") or "").rstrip("/"):
                data = json_lines(rows, default=_invented if self.is_imaginary else None)
                return Order(role, lm.model, self._endpoint(model.address), self._parameters, data)
        raise BadInput(
            WorkerReason.NOT_FINETUNABLE,
            f"a predictor has the model {lm.model!r}, and "
            + (
                "finetune.trainer trains the base of spec.models.student alone. Give the predictor no model of its own."
                if self._given.trainer is not None
                else "it is in no role of spec.models, so nobody knows its key. Write it into spec.models.student, and "
                "remove it from the program."
            ),
        )

    @property
    def address(self) -> str:
        """Returns the base URL at which tuned models answer."""
        return self._spec.tuned_address

    def served(self, order: Order, trained: TunedModel) -> Order:
        """Returns the order to wait for a server that answers for what a trainer has made, as the spec is now."""
        now = trained.model_copy(update={"endpoint": without_secrets(self.address)})
        return order.served(now, self.address, self._run_id)

    def revive(self, model: str) -> bool:
        """Has the server load a trained model again that it no longer has. Returns whether it has loaded the model.

        A server that has restarted has forgotten the adapters that it was asked to load.
        """
        from swarm_worker.finetuning import serving

        trainer = self._given.trainer
        if trainer is None or trainer.serving.load is None:
            return False
        with self._revival, self._client(self._models["student"], self.address) as client:
            return not serving.load(client, trainer.serving, model.partition("/")[2])

    def _client(self, lm: dspy.LM, address: str | None) -> "openai.OpenAI":
        import openai

        return openai.OpenAI(api_key=lm.kwargs.get("api_key"), base_url=address)

    def _endpoint(self, address: str) -> str:
        # A trainer's result depends on no endpoint.
        return address if self._given.trainer is None else ""

    @property
    def _parameters(self) -> dict[str, Any]:
        trainer = self._given.trainer
        if trainer is None or self.is_imaginary:
            return parameters(self._given)
        given = trainer.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(TRAINED_BY))
        return {TRAINER: {"image": self._spec.image or "", **given}, **parameters(self._given)}

    def look(self, order: Order, now: float, note: Callable[[Pending], None]) -> tuple[TunedModel, Usage] | Pending:
        """Looks at a fine-tune. Returns the tuned model and what it cost, or a record for the journal."""
        if self.is_imaginary:
            name = f"{order.base.partition('/')[0]}/ft:imaginary-{order.key[:8]}"
            # An estimate tells the cost of a job apart from that of LM calls.
            return self._told(order, Tuned(name, "none", order.tokens), is_paid=False)
        # Plans import this module, too, and make no look.
        import openai

        from swarm_worker.finetuning.hosted import Look

        lm = self._models[order.role]
        try:
            client = self._client(lm, lm.kwargs.get("api_base") if order.trained is None else self.address)
        except openai.OpenAIError as error:
            raise BadInput(
                WorkerReason.CREDENTIALS_REJECTED, f"spec.models.{order.role} needs an API key to fine-tune: {error}"
            ) from None

        before, deadline = self._pending.get(order.key), float(self._given.deadline_seconds)
        if order.trained is not None:
            from swarm_worker.finetuning import serving

            assert self._given.trainer is not None, "it has trained the model"
            with client:
                given = client, self._given.trainer.serving, order.trained
                served = serving.look(*given, order.key, before, now=now, deadline=deadline)
            return served if isinstance(served, Pending) else (served, Usage())

        def pay(tokens: int) -> None:
            self._budget.pay(Spending(calls=0, tokens=tokens, micro_usd=self._micro_usd(tokens) or 0))

        with client:
            lifetime = self._given.min_model_lifetime_days
            look = Look(client, order, before, now=now, deadline=deadline, lifetime=lifetime, note=note, pay=pay)
            found = look.look()
        return found if isinstance(found, Pending) else self._told(order, found, look.is_paid)

    def _told(self, order: Order, found: Tuned, is_paid: bool) -> tuple[TunedModel, Usage]:
        """Returns the tuned model and what this run has spent on it: nothing if an earlier run has paid."""
        cost = self._micro_usd(found.tokens)
        tuned = TunedModel(
            model=found.model,
            base=order.base,
            endpoint=without_secrets(order.endpoint),
            job=found.job,
            rows=order.count,
            tokens=found.tokens,
            usd=None if cost is None else cost / MICRO,
        )
        return tuned, Usage(prompt_tokens=found.tokens, micro_usd=cost) if is_paid else Usage()

    def _micro_usd(self, tokens: int) -> int | None:
        price = self._given.training_price
        return None if price is None else ceil(tokens * price / MILLION * MICRO)


def without_secrets(endpoint: str) -> str:
    """Returns a URL without user, password and query."""
    parts = urlsplit(endpoint)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _invented(value: Any) -> str:
    """Returns a text in place of a value that an imaginary model has invented. It is the same in every process."""
    return "an invented value"


def parameters(given: Finetune) -> dict[str, Any]:
    """Returns the parameters of a job. Those that are not set are left to the provider."""
    found = {
        "n_epochs": given.epochs,
        "batch_size": given.batch_size,
        "learning_rate_multiplier": given.learning_rate_multiplier,
        "suffix": given.suffix,
        "seed": given.seed,
    }
    return {name: value for name, value in found.items() if value is not None}


_here: Tuning | None = None


def install(
    spec: CompilationSpec,
    models: Mapping[str, dspy.LM],
    pending: Mapping[str, Pending],
    budget: Budget,
    is_imaginary: bool = False,
    run_id: str = "",
) -> None:
    """Makes `here` return the Tuning of this process, if the spec has a fine-tune.

    A tuned model that a server no longer knows is then the server's fault, and never the program's.
    """
    global _here
    _here = Tuning(spec, models, pending, budget, is_imaginary, run_id) if spec.finetune is not None else None
    if _here is not None:
        refusals = permanent_errors.here()
        refusals.is_tuned, refusals.revive = Prices(spec).is_tuned, _here.revive


def made(program: dspy.Module) -> tuple[list[TunedModel], list[TunedModel]]:
    """Returns the tuned models that a program uses, and those that it does not use."""
    used = {predictor.lm.model for predictor in program.predictors() if predictor.lm is not None}
    every = _here.made if _here is not None else {}
    return (
        [tuned for name, tuned in every.items() if name in used],
        [tuned for name, tuned in every.items() if name not in used],
    )


def is_set() -> bool:
    """Whether the spec has a fine-tune."""
    return _here is not None


def is_imaginary() -> bool:
    """Whether this process only estimates."""
    return _here is not None and _here.is_imaginary


def here() -> Tuning:
    """Returns the Tuning of this process. Raises BadInput if the spec has no fine-tune."""
    if _here is None:
        raise BadInput(
            WorkerReason.NOT_FINETUNABLE,
            "the optimizer fine-tunes a model, and only bootstrapFinetune, betterTogether and distill do so. Write "
            "one of them.",
        )
    return _here
