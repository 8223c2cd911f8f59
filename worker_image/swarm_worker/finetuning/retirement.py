"""Finds out when a provider retires a model. A tuned model ends with its base.

The protocol has no such field. Some providers add one to the model's object: a time in seconds since 1970, or a date.
"""

import contextlib
from datetime import UTC, datetime
from typing import Any, Final

import openai

from swarm_wire.names import WorkerReason
from swarm_worker.errors import BadInput
from swarm_worker.finetuning.order import Order

DAY: Final = 86_400
FIELDS: Final = ("shutdown_date", "deprecation", "deprecation_date")
"""Fields in which providers write it. In Azure's `deprecation`, `inference` has the end of all answers."""


def check(client: openai.OpenAI, order: Order, now: float, days: int) -> None:
    """Raises BadInput if the provider shows that it retires an order's base in fewer days.

    Nothing else that the provider answers says anything: some providers have no such endpoint, and some no such field.
    Without an answer, the error of the client is raised, and nothing is paid for yet.

    Args:
        now: seconds since 1970.
    """
    if not days:
        return
    with contextlib.suppress(openai.APIStatusError):
        end = retires(client.models.retrieve(order.base.partition("/")[2]).model_extra or {})
        if end is not None and end - now < days * DAY:
            raise BadInput(
                WorkerReason.BASE_RETIRES,
                f"the provider retires {order.base} on {datetime.fromtimestamp(end, UTC):%Y-%m-%d}, and "
                f"finetune.minModelLifetimeDays is {days}: a tuned model ends with its base. Name another model in "
                f"spec.models.{order.role}, or lower finetune.minModelLifetimeDays.",
            )


def retires(shown: dict[str, Any]) -> float | None:
    """Returns when a model is retired, in seconds since 1970; None if its object does not say.

    Args:
        shown: the fields of the model's object.
    """
    found = [shown.get(name) for name in FIELDS]
    times = [_time(each.get("inference") if isinstance(each, dict) else each) for each in found]
    return min((time for time in times if time is not None), default=None)


def _time(given: object) -> float | None:
    """Returns a time in seconds since 1970; None for anything that is neither a number nor a date."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    with contextlib.suppress(ValueError, OverflowError, OSError):
        if not isinstance(given, str):
            if given <= 0:
                return None
            return datetime.fromtimestamp(given, UTC).timestamp()
        date = datetime.fromisoformat(given)
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    return None
