"""Ends a run whose program asks a predictor in another form than its training rows have.

DSPy makes training rows with the adapter of its settings. It does not record the adapter of each call.
"""

from typing import Any

import dspy
from dspy.adapters.chat_adapter import ChatAdapter

from swarm_wire.names import WorkerReason
from swarm_worker.content import stand_ins
from swarm_worker.exceptions import place
from swarm_worker.replay.calls import current, refuse


def watch() -> None:
    """From now on, no example may change the adapter of this process."""
    usual = type(dspy.settings.adapter or ChatAdapter())
    stock = dspy.Predict._forward_preprocess

    def preprocess(predictor: dspy.Predict, **given: Any) -> Any:
        used = type(dspy.settings.adapter or ChatAdapter())
        if current() is not None and used is not usual:
            refuse(
                WorkerReason.PROMPT_SKEW,
                f"{place()} asks a predictor with the adapter {used.__name__}, and DSPy would make the training rows "
                f"of the fine-tune with {usual.__name__}. Write program.adapter into the spec, and use no other "
                "adapter in the program.",
            )
        return stock(predictor, **given)

    stand_ins.put(dspy.Predict, "_forward_preprocess", preprocess)
