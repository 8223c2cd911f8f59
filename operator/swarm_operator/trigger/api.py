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

LABEL_TRIGGER: Final = f"{GROUP}/trigger-uid"
"""Label of a trigger's Jobs and their pods, and of its Compilations for new models: the uid of the trigger."""
ANNOTATION_TRIGGER: Final = f"{GROUP}/trigger"
"""Annotation of a trigger's Jobs and their pods: the name of the trigger."""
ANNOTATION_WATCH: Final = f"{GROUP}/watch"
"""Annotation of a trigger's Jobs: a digest of what their pods look at."""
LABEL_NUMBER: Final = f"{GROUP}/number"
"""Label of a trigger's Jobs and their pods: their number. A trigger counts its Jobs from 1."""
WATCH_ROLE: Final = "watch"
"""Value of the label role on these Jobs and pods, and the command with which the git image starts."""
MODEL: Final = f"{GROUP}/model"
"""Annotation on a Compilation that a trigger owns for a new model: the model."""
CAUSE: Final = f"{GROUP}/cause"
"""Annotation on a Compilation that a trigger owns: the cause of its newest run, such as a time of a schedule."""

BEGUN: Final = f"{GROUP}/begun"
"""Annotation on such a Compilation: a JSON object with the digests of the watched content for which the run began."""


class Reason(StrEnum):
    """Says why a condition has its status, or what came of a cause. Conditions, events and logs use the same word."""

    WAITING = "Waiting"
    """The trigger waits for its next cause."""
    STARTED = "Started"
    """The cause has begun a run."""
    WATCH_FAILED = "WatchFailed"
    """The pod that looks at the git repository or lists models names no other reason. The operator tries again."""
    NOTHING_PUBLISHED = "NothingPublished"
    """A new model waits until a run has published a program, with which the run for the model can compare."""
    MISSED = "Missed"
    """The operator saw the cause later than startingDeadlineSeconds, so it begins no run."""
    STILL_RUNNING = "StillRunning"
    """The run before is still under way, and concurrencyPolicy is Forbid.

    A time of a schedule begins no run then. A change waits until that run has ended. The same holds for the next two.
    """
    TOO_SOON = "TooSoon"
    """The run before began less than minIntervalSeconds ago."""
    BUDGET_SPENT = "BudgetSpent"
    """The runs that began in the last 24 hours have spent dailyBudgetUSD."""
    SUSPENDED = "Suspended"
    """spec.suspend is true: no cause begins a run."""
    INVALID_SPEC = "InvalidSpec"
    """The spec has mistakes."""
    NOT_ALLOWED = "NotAllowed"
    """The API server refuses the Compilation, or the Job of a look. The operator tries again."""
    NAME_TAKEN = "NameTaken"
    """A Compilation with the trigger's name exists, and does not belong to the trigger."""
