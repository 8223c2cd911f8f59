"""Constants of the contract: schema version, environment variables, mounted paths, exit codes, file names."""

from enum import IntEnum, StrEnum
from pathlib import PurePosixPath
from typing import Final

SCHEMA_VERSION: Final = 1
"""Version of everything in this package. A pod refuses to start if its RunRequest has another version."""

ENV_RUN_DIR: Final = "SWARM_RUN_DIR"
"""Folder that has REQUEST_FILE, and PUBLISHED_FILE if the run needs it. In a pod it is RUN_DIR."""
ENV_TASKS_DIR: Final = "SWARM_TASKS_DIR"
"""Folder with the shards of tasks and their pickled data. In a pod it is TASKS_DIR.

A worker finds the tasks of its round there. A plan finds there the tasks of a round that a limit has ended early.
"""
ENV_WORK_DIR: Final = "SWARM_WORK_DIR"
"""Folder that has ASSIGNMENT_FILE. In a worker pod it is WORK_DIR."""
ENV_JOURNAL_DIR: Final = "SWARM_JOURNAL_DIR"
"""Folder with the shards of results that existed when the pod's Job was created. In a pod it is JOURNAL_DIR."""
ENV_EARLIER_DIR: Final = "SWARM_EARLIER_DIR"
"""Folder that has a folder of shards for each earlier run whose results may be reused. In a pod it is EARLIER_DIR."""
ENV_DEPOT: Final = "SWARM_DEPOT"
"""fsspec URL of the Compilation's folder in the depot. If it is not set, pods print the bodies of their records."""
ENV_DEPOT_OPTIONS: Final = "SWARM_DEPOT_OPTIONS"
"""Options of the depot's file system as a JSON object.

It has credentials, so workers remove it from their environment.
"""
ENV_SOURCES_DIR: Final = "SWARM_SOURCES_DIR"
"""Folder with a subfolder for each ConfigMap that the spec names for program or data. In a pod it is SOURCES_DIR."""
ENV_VOLUMES_DIR: Final = "SWARM_VOLUMES_DIR"
"""Folder with a subfolder for each PersistentVolumeClaim that the spec names for data. In a pod it is VOLUMES_DIR."""
ENV_SNAPSHOT_DIR: Final = "SWARM_SNAPSHOT_DIR"
"""Folder with the shards of the program's files, if spec.program.source is fetched. In a pod it is SNAPSHOT_DIR."""
ENV_DATA_DIR: Final = "SWARM_DATA_DIR"
"""Folder with the shards of the files that spec.data names by their URLs. In a plan pod it is DATA_DIR."""
ENV_CREDENTIALS_DIR: Final = "SWARM_CREDENTIALS_DIR"
"""Folder with the credentials of a git repository, a file for each key of the Secret. In a pod: CREDENTIALS_DIR."""
ENV_SIGNING_DIR: Final = "SWARM_SIGNING_DIR"
"""Folder with the key that signs commits, as the file SIGNING_FILE. In a pod it is SIGNING_DIR."""
ENV_ARTIFACT_DIR: Final = "SWARM_ARTIFACT_DIR"
"""Folder with the files of the artifact, for a pod that publishes them. In a pod it is ARTIFACT_DIR."""
ENV_ARTIFACT_SHA256: Final = "SWARM_ARTIFACT_SHA256"
"""sha256 of PROGRAM_FILE in ENV_ARTIFACT_DIR. A pod pushes no other program. Default: it pushes what is there."""
ENV_WATCH: Final = "SWARM_WATCH"
"""What a look is for, as a messages.Watch or messages.ModelWatch in JSON."""
ENV_UNPACKED_DIR: Final = "SWARM_UNPACKED_DIR"
"""Folder into which a process unpacks fetched files, and archives of ConfigMaps. In a pod it is UNPACKED_DIR."""
ENV_BASE_DIR: Final = "SWARM_BASE_DIR"
"""Folder from which relative paths of data begin if spec.program has no source. Default: the working directory."""
ENV_HIDDEN: Final = "SWARM_HIDDEN"
"""Names of the user's variables that are masked like secrets although no Secret has them, separated by blanks.

Only the local driver sets it.
"""
ENV_TERMINATION_LOG: Final = "SWARM_TERMINATION_LOG"
"""File for the commit record. In a pod it is TERMINATION_LOG."""
ENV_NONCE: Final = "SWARM_NONCE"
"""The word with which this pod marks the lines that are records.

The worker removes the word from its environment at its start.
"""
ENV_INDEX: Final = "JOB_COMPLETION_INDEX"
"""Index of this pod's slice in the assignment. Kubernetes sets it for Indexed Jobs."""
ENV_IMAGE: Final = "SWARM_IMAGE"
"""The image that this pod was to run. It is a part of the binding of a journal."""
ENV_LINGER_SECONDS: Final = "SWARM_LINGER_SECONDS"
"""Seconds for which a worker stays after SIGTERM, so that its output can still be read. Default: 0."""
ENV_GRACE_SECONDS: Final = "SWARM_GRACE_SECONDS"
"""Seconds for which cells may go on after SIGTERM. Default: as long as the worker stays."""
ENV_OUTPUT_BYTES: Final = "SWARM_OUTPUT_BYTES"
"""A process that has printed this many bytes starts no more cells, and leaves them to another. Default: no limit."""
ENV_EXCHANGE: Final = "SWARM_EXCHANGE"
"""Folder in which processes of one machine share running LM calls. The local driver sets it."""
ENV_SMALL_WAVE: Final = "SWARM_SMALL_WAVE"
"""Largest number of missing cells with which a plan runs a wave itself.

The number is larger if no other work can run beside the wave.

Default: 8.
"""
ENV_LOOKAHEAD: Final = "SWARM_LOOKAHEAD"
"""0: a plan uses no scouts, and requests its first missing effect only. This is for comparison and for debugging."""
ENV_ALLOWANCE: Final = "SWARM_ALLOWANCE"
"""The most that this pod may spend, as a spending.Allowance in JSON. Default: unlimited."""
ENV_PARTIAL: Final = "SWARM_PARTIAL"
"""A messages.Ending as JSON.

If it is set, a limit has ended the run, and the plan publishes the best program so far.
"""
ENV_RATE_LIMITS: Final = "SWARM_RATE_LIMITS"
"""The limits on requests to providers, as a rates.RateLimits in JSON. Default: no limits."""
ENV_LIMITER: Final = "SWARM_LIMITER"
"""host:port of the limiter, which enforces the limits of ENV_RATE_LIMITS."""
ENV_FINETUNE_DIR: Final = "SWARM_FINETUNE_DIR"
"""Folder from which a trainer reads its rows and parameters. In a pod it is FINETUNE_DIR."""
ENV_OUT_DIR: Final = "SWARM_OUT_DIR"
"""Folder to which a trainer writes. In a pod it is OUT_DIR."""
ENV_WEIGHTS: Final = "SWARM_WEIGHTS"
"""URL of the folder that keeps trained weights, as fsspec understands it."""
ENV_WEIGHTS_OPTIONS: Final = "SWARM_WEIGHTS_OPTIONS"
"""Options of its file system: a JSON object with credentials and endpoints."""
ENV_PLAN_SEED: Final = "SWARM_PLAN_SEED"
"""The hash seed of the plan, for its twin, which has another one. So both find the same results of earlier runs."""
ENV_TWIN: Final = "SWARM_TWIN"
"""0: the first plan of a run has no twin."""

RUN_DIR: Final = PurePosixPath("/swarm/run")
TASKS_DIR: Final = PurePosixPath("/swarm/tasks")
WORK_DIR: Final = PurePosixPath("/swarm/work")
JOURNAL_DIR: Final = PurePosixPath("/swarm/journal")
EARLIER_DIR: Final = PurePosixPath("/swarm/earlier")
DEPOT_DIR: Final = PurePosixPath("/swarm/depot")
SOURCES_DIR: Final = PurePosixPath("/swarm/sources")
VOLUMES_DIR: Final = PurePosixPath("/swarm/volumes")
SNAPSHOT_DIR: Final = PurePosixPath("/swarm/snapshot")
DATA_DIR: Final = PurePosixPath("/swarm/data")
CREDENTIALS_DIR: Final = PurePosixPath("/swarm/credentials")
SIGNING_DIR: Final = PurePosixPath("/swarm/signing")
ARTIFACT_DIR: Final = PurePosixPath("/swarm/artifact")
FINETUNE_DIR: Final = PurePosixPath("/swarm/finetune")
OUT_DIR: Final = PurePosixPath("/swarm/out")
WEIGHTS_DIR: Final = PurePosixPath("/swarm/weights")
UNPACKED_DIR: Final = PurePosixPath("/tmp/swarm-sources")
TERMINATION_LOG: Final = PurePosixPath("/dev/termination-log")

REQUEST_FILE: Final = "request.json"
PUBLISHED_FILE: Final = "published.json"
"""The program that was published when the run began, as PROGRAM_FILE has it. It is missing if there was none."""
ASSIGNMENT_FILE: Final = "assignment.json"
SHARD_SUFFIX: Final = ".shard"
SIGNING_FILE: Final = "key"

PROGRAM_FILE: Final = "program.json"
"""Key in the artifact's ConfigMap: the compiled program, as `dspy.Module.load` reads it."""
REPORT_FILE: Final = "report.json"
"""Key in the artifact's ConfigMap: the report, with scores, calls and candidates."""
MARKDOWN_FILE: Final = "report.md"
"""Key in the artifact's ConfigMap: the report as Markdown, for people."""


def api_key_env(role: str) -> str:
    """Returns the name of the environment variable with the API key of a model in spec.models.

    Args:
        role: the key of the model in spec.models, such as student.
    """
    return f"SWARM_API_KEY_{role.upper()}"


def url_options_env(data: str) -> str:
    """Returns the name of the environment variable with the options for a URL of data, as a JSON object.

    Args:
        data: the field of spec.data, such as train.
    """
    return f"SWARM_URL_OPTIONS_{data.upper()}"


def variable_prefix(source: int) -> str:
    """Returns the prefix that the operator puts before the names of the user's environment variables.

    Args:
        source: position in spec.envFrom; for spec.env, the length of spec.envFrom.
    """
    return f"SWARM_ENV_{source}_"


class ExitCode(IntEnum):
    """Why a plan or worker process ended. The operator makes the podFailurePolicy of its Jobs from these codes."""

    DONE = 0
    """The process has printed and committed everything that was requested."""
    FAILED = 1
    """dspy-swarm or the machine failed. Another attempt may succeed."""
    BAD_INPUT = 64
    """The user's program, metric, data or spec cannot be used. Another attempt would end in the same way."""
    COMPILE_FAILED = 65
    """The optimizer itself raised an exception, as it would in stock DSPy."""
    SCHEMA_MISMATCH = 66
    """The RunRequest has another SCHEMA_VERSION than this worker."""
    DRIFT = 67
    """Program, data or a task differs from that of the journal."""
    INTERRUPTED = 75
    """The process got SIGTERM, or its output is full. It has printed and committed all finished cells."""


class WorkerReason(StrEnum):
    """Why a plan or worker failed. Its commit record has this reason, and a condition may repeat it."""

    INVALID_SPEC = "InvalidSpec"
    """The worker image does not know a field or value of the spec."""
    PROGRAM_LOAD_FAILED = "ProgramLoadFailed"
    """spec.program.entrypoint cannot be imported, or it is no program with predictors."""
    METRIC_LOAD_FAILED = "MetricLoadFailed"
    """spec.metric.entrypoint cannot be imported, or it is no metric."""
    DATA_INVALID = "DataInvalid"
    """Data cannot be read, are not at their URL, or are too large, or an example lacks an input field."""
    DATA_UNREACHABLE = "DataUnreachable"
    """The server of a URL in spec.data does not answer, or fails."""
    OPTIMIZER_INVALID = "OptimizerInvalid"
    """The optimizer does not fit the data or lacks a package, or a custom optimizer has wrong parameters or results."""
    MISSING_SECRET = "MissingSecret"
    """An API key is empty."""
    CREDENTIALS_REJECTED = "CredentialsRejected"
    """The provider refuses the API key."""
    ACCOUNT_EXHAUSTED = "AccountExhausted"
    """The provider refuses the account: its credit or quota is used up."""
    EVALUATION_FAILED = "EvaluationFailed"
    """The metric returns something that is no score, or values that cannot be added."""
    SCORE_OUT_OF_RANGE = "ScoreOutOfRange"
    """The metric returns a value outside spec.metric.range."""
    ORDER_DEPENDENT = "OrderDependent"
    """Program, metric or optimizer depends on the order in which the examples run."""
    PROGRAM_EXITS = "ProgramExits"
    """The program or metric has called sys.exit."""
    PROGRAM_NOT_PORTABLE = "ProgramNotPortable"
    """The program, metric or data cannot be pickled."""
    RESULT_NOT_PORTABLE = "ResultNotPortable"
    """The result of the program or metric cannot be pickled."""
    UNSUPPORTED_DSPY = "UnsupportedDSPy"
    """This worker does not support the image's DSPy version."""
    COMPILE_FAILED = "CompileFailed"
    """The optimizer raised an exception, as it would in stock DSPy, or the winner cannot be saved."""
    SCHEMA_MISMATCH = "SchemaMismatch"
    """Operator and worker image come from different releases."""
    SOURCE_CHANGED = "SourceChanged"
    """Program, data, packages or image have changed while the run was under way."""
    NONDETERMINISTIC = "Nondeterministic"
    """A plan has needed another effect than the plan before it."""
    SIDE_EFFECT = "SideEffect"
    """An example changes state that the optimizer's process would need, but that process does not see the change."""
    DIGEST_DRIFT = "DigestDrift"
    """A worker computes another digest of a cell than the plan has computed."""
    PROVIDER_UNREACHABLE = "ProviderUnreachable"
    """A model's host is unknown or refuses connections, and the model has answered nothing in the run so far."""
    REQUEST_REFUSED = "RequestRefused"
    """The provider does not know the model or refuses all requests, and it has answered none in the run so far."""
    PACKAGE_MISSING = "PackageMissing"
    """A package that the model's client or a URL of data needs is not installed."""
    PROVIDER_FAILED = "ProviderFailed"
    """DSPy's own retries did not help against a rate limit, a timeout or a server error."""
    INFRASTRUCTURE_FAILED = "InfrastructureFailed"
    """The LM client, the machine or this worker failed. Neither the program nor a model's answer is at fault."""
    STORAGE_FAILED = "StorageFailed"
    """The storage in spec.journal cannot be read or written."""
    STORAGE_DAMAGED = "StorageDamaged"
    """Results in the storage of spec.journal are gone or altered."""
    LIMITER_UNREACHABLE = "LimiterUnreachable"
    """The limiter, which enforces models.*.limits, does not answer."""
    CELL_TIMEOUT = "CellTimeout"
    """Cells took longer than limits.cellSeconds."""
    ALLOWANCE_SPENT = "AllowanceSpent"
    """Another LM call might exceed the pod's allowance.

    The operator shares what the limits leave among the next pods.
    """
    PRICE_UNKNOWN = "PriceUnknown"
    """limits.costUSD is set, and neither the spec nor DSPy's list has the price of a model."""
    OUTPUT_FULL = "OutputFull"
    """The pod has printed as much as the operator can safely read. Another pod goes on with its cells."""
    SOURCE_INVALID = "SourceInvalid"
    """The fetched files cannot be the program's: they are too many or too large, or a name leaves its folder."""
    GIT_CREDENTIALS_REJECTED = "GitCredentialsRejected"
    """The git server refuses the credentials, or the Secret with them lacks a key."""
    GIT_NOT_FOUND = "GitNotFound"
    """The git server has no such repository, branch, commit or folder, or does not show it to these credentials."""
    GIT_REFUSED = "GitRefused"
    """The git server refuses the push or the pull request, or somebody has edited the artifact that is to be pushed."""
    GIT_UNREACHABLE = "GitUnreachable"
    """The git server does not answer, or fails."""
    TOO_FEW_EXAMPLES = "TooFewExamples"
    """There are fewer training examples than a fine-tune needs."""
    TRAIN_TEST_OVERLAP = "TrainTestOverlap"
    """A fine-tune would be scored on examples on which it was trained."""
    TOO_FEW_TRACES = "TooFewTraces"
    """Too few runs of the teacher are good enough for a fine-tune."""
    TEACHER_BELOW_GATE = "TeacherBelowGate"
    """The teacher's mean score on the training examples is lower than minTeacherScore of a fine-tune."""
    PROMPT_SKEW = "PromptSkew"
    """A training row has another prompt than the tuned program will send."""
    ADAPTER_UNSUPPORTED = "AdapterUnsupported"
    """DSPy makes no training rows with this adapter."""
    NOT_FINETUNABLE = "NotFinetunable"
    """The provider does not fine-tune this model, or has no such API."""
    BASE_RETIRES = "BaseRetires"
    """The provider retires the model that is to be tuned too soon."""
    FINE_TUNE_FAILED = "FineTuneFailed"
    """The fine-tuning job has failed, or somebody has cancelled it, or it is gone."""
    FINE_TUNE_TIMED_OUT = "FineTuneTimedOut"
    """The fine-tuning job has not ended within finetune.deadlineSeconds. It goes on at the provider."""
    TRAINER_REFUSED = "TrainerRefused"
    """The trainer refuses its rows or parameters, for example a row that is too long. No other attempt can succeed."""
    WORKER_FAILED = "WorkerFailed"
    """The process failed in a way for which no other reason of this list fits."""


TERMINAL_EXITS: Final = (ExitCode.BAD_INPUT, ExitCode.COMPILE_FAILED, ExitCode.SCHEMA_MISMATCH, ExitCode.DRIFT)
"""Exit codes that another attempt would meet again. They end the run."""
