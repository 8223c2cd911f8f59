"""Computes ids and names from what they stand for, so that an action repeated after a crash uses the same name.

A Job's name has at most 52 characters, because names of its pods are longer and must be DNS labels.
"""

import hashlib
import re
from typing import Final

from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.model.roles import ROLES

JOB_NAME_LIMIT: Final = 52
_SHORT: Final = 30
CONTAINER: Final = "worker"
"""Name of the container in each pod, which runs the plan or the worker."""
STAGE: Final = "stage"
"""Name of the container that writes what a trainer reads."""
TRAINER: Final = "trainer"
"""Name of the container with the user's trainer."""
STRIKES_FILE: Final = "strikes.json.z"
"""Key of the strikes in an assignment's ConfigMap."""


def run_id(uid: str, generation: int, requested_at: str | None, rerun_at: str | None = None) -> str:
    """Returns 10 hex digits that change with the spec's generation and with the annotations that request a run."""
    return _hash(uid, str(generation), requested_at or "", *([rerun_at] if rerun_at else []))[:10]


def nonce(uid: str, job: str) -> str:
    """Returns the word with which the pods of a Job mark their records."""
    return _hash("nonce", uid, job)[:32]


def run_map(compilation: str, run: str) -> str:
    return f"{_short(compilation)}-{run}-run"


def refused_map(compilation: str, run: str) -> str:
    return f"{_short(compilation)}-{run}-refused"


def job(compilation: str, run: str, role: ObjectKind, round_: int, attempt: int) -> str:
    """Returns the name of a Job, which is also the name of the ConfigMap with the Job's assignment."""
    return f"{_short(compilation)}-{run}-{ROLES[role].letter}{round_}-{attempt}"


def shard_map(compilation: str, run: str, kind: str, round_: int, attempt: int, sha256: str) -> str:
    """Returns a name with the attempt in it, since two plans may print the same tasks, and each plan keeps its own."""
    return f"{_short(compilation)}-{run}-{kind[0]}{round_}-{attempt}-{sha256[:10]}"


def shard_key(kind: str, round_: int, attempt: int, sha256: str, suffix: str) -> str:
    """Returns the file name of a shard. It is unique in the run, because a run's shards are mounted into one folder."""
    return f"{kind}-{round_:04d}-{attempt:02d}-{sha256[:16]}{suffix}"


def watch_job(trigger: str, uid: str, number: int) -> str:
    """Returns the name of a trigger's Job that looks at a git repository, or lists models."""
    return f"{_short(trigger)}-{_hash(uid)[:8]}-watch-{number}"


def trial(trigger: str, model: str) -> str:
    """Returns the name of a trigger's Compilation for a new model. The end keeps names of two models apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.partition("/")[2].lower())[:60].strip("-")
    return f"{trigger[:150]}-{plain}-{_hash(trigger, model)[:6]}"


def event(compilation: str, *parts: str) -> str:
    return f"{compilation[:200]}.{_hash(*parts)[:16]}"


def _short(compilation: str) -> str:
    """Returns a Compilation's name, shortened. Names made from it are unique because of the run id."""
    return re.sub(r"[^a-z0-9]+", "-", compilation.lower())[:_SHORT].strip("-") or "c"


def _hash(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()
