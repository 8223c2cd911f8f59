"""What users see of a trigger: the kind, its reasons, and the annotation of a cause."""

from enum import StrEnum
from typing import Final

from swarm_operator.cluster.resources import Resource
from swarm_operator.compilation.api import API_VERSION, GROUP

KIND: Final = "DSPyCompilationTrigger"
PLURAL: Final = "dspycompilationtriggers"
SINGULAR: Final = "dspycompilationtrigger"
SHORT_NAME: Final = "dspyct"
TRIGGERS: Final = Resource(API_VERSION, PLURAL)

CAUSE: Final = f"{GROUP}/cause"
"""Annotation on a Compilation that a trigger owns: the cause of its newest run, such as a time of a schedule."""


class Reason(StrEnum):
    """Says why a condition has its status, or what came of a cause. Conditions, events and logs use the same word."""

    WAITING = "Waiting"
    """The trigger waits for its next cause."""
    STARTED = "Started"
    """The cause has begun a run."""
    MISSED = "Missed"
    """The operator saw the cause later than startingDeadlineSeconds, so it begins no run."""
    STILL_RUNNING = "StillRunning"
    """The run before is still under way, and concurrencyPolicy is Forbid, so the cause begins no run."""
    TOO_SOON = "TooSoon"
    """The run before began less than minIntervalSeconds ago, so the cause begins no run."""
    BUDGET_SPENT = "BudgetSpent"
    """The runs that began in the last 24 hours have spent dailyBudgetUSD, so the cause begins no run."""
    SUSPENDED = "Suspended"
    """spec.suspend is true: no cause begins a run."""
    INVALID_SPEC = "InvalidSpec"
    """The spec has mistakes."""
    NOT_ALLOWED = "NotAllowed"
    """The API server refuses the Compilation. The operator tries again."""
    NAME_TAKEN = "NameTaken"
    """A Compilation with the trigger's name exists, and does not belong to the trigger."""
