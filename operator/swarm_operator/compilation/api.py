"""What users see of the operator: the kind, its status, condition types, reasons, labels and annotations.

The models of the spec are in `swarm_wire.spec`, because pods read the spec, too.
"""

from enum import StrEnum
from typing import Final

from swarm_operator.cluster import resources
from swarm_operator.cluster.resources import Resource
from swarm_wire.names import WorkerReason

GROUP: Final = "dspy-swarm.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "DSPyCompilation"
PLURAL: Final = "dspycompilations"
SINGULAR: Final = "dspycompilation"
SHORT_NAME: Final = "dspyc"
CATEGORY: Final = "dspy"
API_VERSION: Final = f"{GROUP}/{VERSION}"
COMPILATIONS: Final = Resource(API_VERSION, PLURAL)

FINALIZER: Final = f"{GROUP}/gather"
"""Finalizer that keeps a pod of the operator's Jobs until the pod's output is in the journal.

The operator never puts a finalizer on a Compilation.
"""

REQUESTED_AT: Final = f"{GROUP}/requested-at"
"""Annotation on a Compilation: a new value requests a new run of the same spec. That run reuses no paid results."""
RERUN_AT: Final = f"{GROUP}/rerun-at"
"""Annotation on a Compilation: like REQUESTED_AT, but the new run reuses paid results that are still valid.

Users set it after they have edited a ConfigMap that the spec names.
"""

LABEL_MANAGED_BY: Final = resources.LABEL_MANAGED_BY
LABEL_UID: Final = f"{GROUP}/compilation-uid"
LABEL_RUN: Final = f"{GROUP}/run"
LABEL_ROLE: Final = f"{GROUP}/role"
"""Label of Jobs and pods: the job role, such as plan or work."""
LABEL_KIND: Final = f"{GROUP}/kind"
"""Label of ConfigMaps. Its value, an ObjectKind, says what the ConfigMap holds."""
LABEL_ROUND: Final = f"{GROUP}/round"
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
ANNOTATION_COMPILATION: Final = f"{GROUP}/compilation"
"""Annotation with the Compilation's name. It is no label, because names may be longer than values of labels."""
ANNOTATION_SHA256: Final = f"{GROUP}/sha256"
"""Annotation with a SHA-256 digest: of the bytes of a shard, or of the program file in an artifact."""
ANNOTATION_BYTES: Final = f"{GROUP}/bytes"
"""Annotation with the size of a shard in bytes."""
ANNOTATION_ALLOWANCE: Final = f"{GROUP}/allowance"
"""Annotation of Jobs and pods with the allowance of each pod."""
ANNOTATION_PARTIAL: Final = f"{GROUP}/partial"
"""Annotation of a plan Job. Its value is the limit that has ended the run.

The plan of such a Job publishes the best program so far.
"""
KUEUE_PREFIX: Final = "kueue.x-k8s.io/"
"""Prefix of labels such as queue-name and priority-class. A Compilation's Jobs get its labels with this prefix.

Kueue needs these labels on the Jobs to queue them.
"""
ANNOTATION_SCORE: Final = f"{GROUP}/score"


class ObjectKind(StrEnum):
    """Values of the labels LABEL_ROLE (the first six values) and LABEL_KIND (all other values)."""

    PLAN = "plan"
    """A Job and its pods that plan a round."""
    WORK = "work"
    """A Job and its pods that compute the slices of a round."""
    TRAIN = "train"
    """A Job and its pods that train models, for a round."""
    FETCH = "fetch"
    """A Job and its pod that fetch the program's files."""
    DOWNLOAD = "download"
    """A Job and its pod that fetch the data that the spec names by URLs."""
    PUBLISH = "publish"
    """A Job and its pod that publish the artifact to git."""
    RUN = "run"
    """The ConfigMap with the RunRequest, which has the spec and the id of a run."""
    RESULTS = "results"
    """A ConfigMap with a shard that has results, LM calls, PLAN records, or the artifact's record."""
    TASKS = "tasks"
    """A ConfigMap with a shard of one round's tasks, and of the pickled data (blobs) that these tasks need."""
    SNAPSHOT = "snapshot"
    """A ConfigMap with a shard that has parts of the files that the run has fetched."""
    ASSIGNMENT = "assignment"
    """The ConfigMap that assigns slices to the pods of a Job."""
    ARTIFACT = "artifact"
    """The ConfigMap with the compiled program and its report."""
    REFUSED = "refused"
    """A ConfigMap with a winner that spec.gate has refused, and its report."""


class ConditionType(StrEnum):
    """Types of conditions. At any time Ready is present, and at most one of Reconciling and Stalled."""

    READY = "Ready"
    """True: the artifact of this spec is published. Unknown: a run is under way. False: no artifact is published."""
    RECONCILING = "Reconciling"
    """This condition is True while a run is under way, waits or retries. Otherwise it is absent."""
    STALLED = "Stalled"
    """This condition is True when the run has failed and waits for a person. Otherwise it is absent."""
    SUCCEEDED = "Succeeded"
    """True: the run published its artifact. False: it has ended and published none. Unknown: it is under way."""


class Reason(StrEnum):
    """Says why a condition has its status. Conditions, events and logs use the same word.

    `WorkerReason` lists the reasons that pods give.
    """

    FETCHING = "Fetching"
    """A pod fetches the program's files from git, or data from URLs."""
    PLANNING = "Planning"
    """A plan pod replays the optimizer to find out what to compute next."""
    SCATTERING = "Scattering"
    """Worker pods compute the cells of a round."""
    WAITING_FOR_JOB = "WaitingForJob"
    """All that is missing comes from a job outside of the cluster, such as a fine-tune. A pod looks at it now and then.
    """
    RETRYING = "Retrying"
    """Pods ended without all of their results. Another attempt computes the missing results."""
    QUEUED = "Queued"
    """A queue for Jobs, such as Kueue, has suspended a Job. The run goes on when the queue resumes the Job."""
    SUPERSEDED = "Superseded"
    """A new run was requested. It waits until the earlier run's pods have ended, so that it can reuse their results."""
    SUSPENDED = "Suspended"
    """spec.suspend is true: no pod runs, and the journal keeps the finished results."""
    PUBLISHING = "Publishing"
    """The operator writes the winner to its ConfigMap, or a pod publishes it to git."""
    PUBLISHED = "Published"
    """The artifact is in its ConfigMap."""
    DRIFTED = "Drifted"
    """The published program scores worse than before on the same examples. Only an event has this reason."""
    GATE_NOT_PASSED = "GateNotPassed"
    """The winner does not meet spec.gate, so it is not published. The artifact of an earlier run stays."""
    PUBLISHED_PARTIAL = "PublishedPartial"
    """A limit has ended the run. spec.limits.publishPartial is true, so the best program so far is in the ConfigMap."""
    LIMIT_REACHED = "LimitReached"
    """One of spec.limits has ended the run. The run goes on if a user raises this limit."""

    INVALID_SPEC = "InvalidSpec"
    """The spec is invalid, or the API server refuses objects made from it."""
    MISSING_CONFIG_MAP = "MissingConfigMap"
    """The spec names a ConfigMap that does not exist."""
    MISSING_CONFIG_MAP_KEY = "MissingConfigMapKey"
    """The spec names a key that its ConfigMap does not have."""
    MISSING_SECRET = "MissingSecret"
    """The spec names a missing Secret or a missing key of one.

    The kubelet reports this: the operator never reads Secrets.
    """
    RESTRICTED = "Restricted"
    """The operator's settings do not allow the spec's image or service account."""
    NO_LIMITER = "NoLimiter"
    """The spec has models.*.limits, and the operator was installed without a limiter."""
    ARTIFACT_CONFLICT = "ArtifactConflict"
    """A ConfigMap with the artifact's name belongs to somebody else, or somebody else has written data into it.

    The operator never overwrites such a ConfigMap.
    """
    ARTIFACT_TOO_LARGE = "ArtifactTooLarge"
    """The program and its report, or the published program and a run's request, do not fit into one ConfigMap."""
    RECORD_TOO_LARGE = "RecordTooLarge"
    """One result, one task or its pickled data does not fit into one ConfigMap."""

    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The node cannot pull the worker image."""
    UNSCHEDULABLE = "Unschedulable"
    """The scheduler finds no node for the pods."""
    PODS_REJECTED = "PodsRejected"
    """The API server admits no pod of a Job, because of a quota, pod security or a webhook."""
    POD_CANNOT_START = "PodCannotStart"
    """The kubelet cannot start the container, and no other reason of this list fits."""
    NOT_ALLOWED = "NotAllowed"
    """The API server forbids a write, because of a quota, a webhook, missing rights or a taken name.

    The operator retries.
    """
    API_UNAVAILABLE = "APIUnavailable"
    """The API server has failed the same write more than once. The operator retries."""

    ATTEMPTS_EXHAUSTED = "AttemptsExhausted"
    """A plan, or cells of a round, have no result after spec.swarm.maxAttempts attempts."""
    JOURNAL_TOO_LARGE = "JournalTooLarge"
    """The run's results exceed the size that the operator's settings allow in the cluster."""
    NO_PROGRESS = "NoProgress"
    """A plan requests only results that the journal already has. Each later plan would request them, too."""
    JOURNAL_DAMAGED = "JournalDamaged"
    """Somebody has deleted or altered ConfigMaps of the journal. The run cannot go on without them."""


AnyReason = Reason | WorkerReason
"""Everything that the reason of a condition may be: the operator's reasons, and the reasons of pods."""
