"""Constants of the contract: schema version, environment, mounted paths, exit codes, file names."""

from enum import IntEnum, StrEnum
from pathlib import PurePosixPath
from typing import Final

SCHEMA_VERSION: Final = 1
"""Version of everything in this package. A pod whose version differs from its request's refuses to start."""

ENV_RUN_DIR: Final = "SWARM_RUN_DIR"
"""Folder with REQUEST_FILE. In a pod: RUN_DIR."""
ENV_TASKS_DIR: Final = "SWARM_TASKS_DIR"
"""Folder with the shards of this round's tasks and blobs. For a plan: of a round that was cut short. In a pod:
TASKS_DIR."""
ENV_WORK_DIR: Final = "SWARM_WORK_DIR"
"""Folder with ASSIGNMENT_FILE. In a worker pod: WORK_DIR."""
ENV_JOURNAL_DIR: Final = "SWARM_JOURNAL_DIR"
"""Folder with the shards of results that existed when the pod's Job was created. In a pod: JOURNAL_DIR."""
ENV_EARLIER_DIR: Final = "SWARM_EARLIER_DIR"
"""Folder with a folder of shards for each earlier run whose results may be used again. In a pod: EARLIER_DIR."""
ENV_DEPOT: Final = "SWARM_DEPOT"
"""fsspec URL of the Compilation's folder for bodies of results. Default: they are printed."""
ENV_DEPOT_OPTIONS: Final = "SWARM_DEPOT_OPTIONS"
"""Options of that file system as a JSON object, with credentials. The worker removes them from its environment."""
ENV_SOURCES_DIR: Final = "SWARM_SOURCES_DIR"
"""Folder with one subfolder per ConfigMap that the spec names (program code, data). In a pod: SOURCES_DIR."""
ENV_UNPACKED_DIR: Final = "SWARM_UNPACKED_DIR"
"""Folder into which the program's files are unpacked, unless they are mounted directly. In a pod: UNPACKED_DIR."""
ENV_BASE_DIR: Final = "SWARM_BASE_DIR"
"""Base of relative paths of data if there is no program source. Default: the working directory."""
ENV_HIDDEN: Final = "SWARM_HIDDEN"
"""Names, separated by blanks, of the user's variables to mask like secrets although no Secret has them; set by the
local driver."""
ENV_TERMINATION_LOG: Final = "SWARM_TERMINATION_LOG"
"""File for the commit record. In a pod: TERMINATION_LOG."""
ENV_NONCE: Final = "SWARM_NONCE"
"""The word that marks this pod's lines as records. The worker removes it from its environment at start."""
ENV_INDEX: Final = "JOB_COMPLETION_INDEX"
"""Index of this pod's slice in the assignment; set by Kubernetes for Indexed Jobs."""
ENV_IMAGE: Final = "SWARM_IMAGE"
"""The image this pod was asked to run; part of the binding of a journal."""
ENV_LINGER_SECONDS: Final = "SWARM_LINGER_SECONDS"
"""How long a worker stays after SIGTERM so that its output can still be read (default: not at all)."""
ENV_GRACE_SECONDS: Final = "SWARM_GRACE_SECONDS"
"""How long running cells may go on after SIGTERM (default: as long as the worker lingers)."""
ENV_OUTPUT_BYTES: Final = "SWARM_OUTPUT_BYTES"
"""After how many bytes of output a process starts no more cells and leaves them to another (default: no limit)."""
ENV_EXCHANGE: Final = "SWARM_EXCHANGE"
"""Where processes of one machine share running LM calls; the local driver sets it."""
ENV_SMALL_WAVE: Final = "SWARM_SMALL_WAVE"
"""Most missing cells of a wave that a plan runs itself. More if nothing can run beside the wave. Default: 8."""
ENV_LOOKAHEAD: Final = "SWARM_LOOKAHEAD"
"""0: a plan requests its first missing effect only (for comparison and for debugging)."""
ENV_ALLOWANCE: Final = "SWARM_ALLOWANCE"
"""The most that this pod may spend: spending.Allowance as JSON. Default: unlimited."""
ENV_PARTIAL: Final = "SWARM_PARTIAL"
"""messages.Ending as JSON: a limit has ended the run, and the plan publishes the best program so far."""
ENV_RATE_LIMITS: Final = "SWARM_RATE_LIMITS"
"""The limits on requests to providers: rates.RateLimits as JSON. Default: none."""
ENV_LIMITER: Final = "SWARM_LIMITER"
"""host:port of the limiter, which enforces them."""
ENV_TWIN: Final = "SWARM_TWIN"
"""0: a run's first plan does not compare two processes before it spends anything."""

RUN_DIR: Final = PurePosixPath("/swarm/run")
TASKS_DIR: Final = PurePosixPath("/swarm/tasks")
WORK_DIR: Final = PurePosixPath("/swarm/work")
JOURNAL_DIR: Final = PurePosixPath("/swarm/journal")
EARLIER_DIR: Final = PurePosixPath("/swarm/earlier")
DEPOT_DIR: Final = PurePosixPath("/swarm/depot")
SOURCES_DIR: Final = PurePosixPath("/swarm/sources")
UNPACKED_DIR: Final = PurePosixPath("/tmp/swarm-sources")
TERMINATION_LOG: Final = PurePosixPath("/dev/termination-log")

REQUEST_FILE: Final = "request.json"
ASSIGNMENT_FILE: Final = "assignment.json"
SHARD_SUFFIX: Final = ".shard"

PROGRAM_FILE: Final = "program.json"
"""Key of the artifact ConfigMap: the compiled program, as `dspy.Module.load` reads it."""
REPORT_FILE: Final = "report.json"
"""Key of the artifact ConfigMap: scores, calls, candidates."""


def api_key_env(role: str) -> str:
    """The environment variable with the API key of the model with this key in spec.models (student, judge)."""
    return f"SWARM_API_KEY_{role.upper()}"


def variable_prefix(source: int) -> str:
    """Prefix of the names of the user's environment variables on their way into a process.

    Args:
        source: position in spec.envFrom; for spec.env, the length of spec.envFrom.
    """
    return f"SWARM_ENV_{source}_"


class ExitCode(IntEnum):
    """Why a plan or worker process ended. The operator's podFailurePolicy is made from these."""

    DONE = 0
    """Everything requested was printed and committed."""
    FAILED = 1
    """An error of dspy-swarm or the machine; another attempt may succeed."""
    BAD_INPUT = 64
    """The user's program, metric, data or spec cannot be used. Another attempt would end the same way."""
    COMPILE_FAILED = 65
    """The optimizer itself raised, as stock DSPy would have."""
    SCHEMA_MISMATCH = 66
    """The request speaks another SCHEMA_VERSION than this worker."""
    DRIFT = 67
    """The program, its data or a task differs from that of the journal."""
    INTERRUPTED = 75
    """SIGTERM came, or the output is full; all finished cells are printed and committed."""


class WorkerReason(StrEnum):
    """Why a plan or worker failed: the reason in its commit record and in a condition."""

    INVALID_SPEC = "InvalidSpec"
    """This worker does not know the spec."""
    PROGRAM_LOAD_FAILED = "ProgramLoadFailed"
    """spec.program.entrypoint cannot be imported, or is no program with predictors."""
    METRIC_LOAD_FAILED = "MetricLoadFailed"
    """spec.metric.entrypoint cannot be imported, or is no metric."""
    DATA_INVALID = "DataInvalid"
    """An example cannot be read, or lacks an input field."""
    OPTIMIZER_INVALID = "OptimizerInvalid"
    """The optimizer does not fit the data, lacks a package, or, if custom, has wrong parameters or results."""
    MISSING_SECRET = "MissingSecret"
    """An API key is empty."""
    CREDENTIALS_REJECTED = "CredentialsRejected"
    """The provider refuses the API key."""
    ACCOUNT_EXHAUSTED = "AccountExhausted"
    """The provider refuses the account: its credit or quota is used up."""
    EVALUATION_FAILED = "EvaluationFailed"
    """The metric returns something other than a score, or its values cannot be added up."""
    SCORE_OUT_OF_RANGE = "ScoreOutOfRange"
    """The metric's value is not within spec.metric.range."""
    ORDER_DEPENDENT = "OrderDependent"
    """Program, metric or optimizer depends on the order in which examples run."""
    PROGRAM_EXITS = "ProgramExits"
    """The program or metric called sys.exit."""
    PROGRAM_NOT_PORTABLE = "ProgramNotPortable"
    """The program, metric or data cannot be pickled."""
    RESULT_NOT_PORTABLE = "ResultNotPortable"
    """The result of the program or metric cannot be pickled."""
    UNSUPPORTED_DSPY = "UnsupportedDSPy"
    """This worker does not support the image's DSPy version."""
    COMPILE_FAILED = "CompileFailed"
    """The optimizer raised, as it would in stock DSPy, or the winner cannot be saved."""
    SCHEMA_MISMATCH = "SchemaMismatch"
    """Operator and worker image are of different releases."""
    SOURCE_CHANGED = "SourceChanged"
    """Program, data, packages or image changed while the run was under way."""
    NONDETERMINISTIC = "Nondeterministic"
    """A plan needed another effect than the plan before it."""
    SIDE_EFFECT = "SideEffect"
    """An example changes state that a callback, a custom optimizer or a later step reads in another process."""
    DIGEST_DRIFT = "DigestDrift"
    """A worker computes another digest of a cell than the plan."""
    PROVIDER_UNREACHABLE = "ProviderUnreachable"
    """A model's host is unknown or refuses connections, and the model has answered nothing in the run yet."""
    REQUEST_REFUSED = "RequestRefused"
    """The provider does not know the model, or refuses all requests, and it has answered none in the run yet."""
    PACKAGE_MISSING = "PackageMissing"
    """A package that the model's client needs is not installed."""
    PROVIDER_FAILED = "ProviderFailed"
    """Rate limit, timeout or server error, after DSPy's own retries."""
    INFRASTRUCTURE_FAILED = "InfrastructureFailed"
    """The LM client, the machine or this worker is at fault; neither the program nor a model's answer."""
    STORAGE_FAILED = "StorageFailed"
    """The storage in spec.journal cannot be read or written."""
    STORAGE_DAMAGED = "StorageDamaged"
    """Results in that storage are gone or altered."""
    LIMITER_UNREACHABLE = "LimiterUnreachable"
    """The limiter, which enforces models.*.limits, does not answer."""
    CELL_TIMEOUT = "CellTimeout"
    """Cells took longer than limits.cellSeconds."""
    ALLOWANCE_SPENT = "AllowanceSpent"
    """Another LM call might exceed the pod's allowance. The rest of the limits is divided again."""
    PRICE_UNKNOWN = "PriceUnknown"
    """limits.costUSD is set, and DSPy's list has no price of a model."""
    OUTPUT_FULL = "OutputFull"
    """The pod printed as much as can safely be read; another pod goes on."""
    WORKER_FAILED = "WorkerFailed"
    """Any other failure."""


TERMINAL_EXITS: Final = (ExitCode.BAD_INPUT, ExitCode.COMPILE_FAILED, ExitCode.SCHEMA_MISMATCH, ExitCode.DRIFT)
"""Exit codes that another attempt cannot cure: they end the run."""
