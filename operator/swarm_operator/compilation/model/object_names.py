"""Ids and names computed from what they stand for, so that an action repeated after a crash uses the same name.

Names of Jobs have at most 52 characters, because their pods' names are longer and must be DNS labels.
"""

import hashlib
import re
from typing import Final

from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.model.roles import ROLES

JOB_NAME_LIMIT: Final = 52
_SHORT: Final = 30
CONTAINER: Final = "worker"
"""Name of a pod's container, which runs the plan or the worker."""
STRIKES_FILE: Final = "strikes.json.z"
"""Key of the strikes in an assignment's ConfigMap: the cells that were running in pods that died."""


def run_id(uid: str, generation: int, requested_at: str | None, rerun_at: str | None = None) -> str:
    """10 hex digits that change with the spec, and with the annotations that request a run."""
    return _hash(uid, str(generation), requested_at or "", *([rerun_at] if rerun_at else []))[:10]


def nonce(uid: str, job: str) -> str:
    """The word with which a Job's pods mark their records."""
    return _hash("nonce", uid, job)[:32]


def run_map(compilation: str, run: str) -> str:
    return f"{_short(compilation)}-{run}-run"


def job(compilation: str, run: str, role: ObjectKind, round_: int, attempt: int) -> str:
    """Also the name of the ConfigMap with the Job's assignment, if it has one."""
    return f"{_short(compilation)}-{run}-{ROLES[role].letter}{round_}-{attempt}"


def shard_map(compilation: str, run: str, kind: str, round_: int, attempt: int, sha256: str) -> str:
    """The name includes the attempt, because two plans may print the same bytes and each keeps its own tasks."""
    return f"{_short(compilation)}-{run}-{kind[0]}{round_}-{attempt}-{sha256[:10]}"


def shard_key(kind: str, round_: int, attempt: int, sha256: str, suffix: str) -> str:
    """File name of a shard, unique in its run, because a run's shards are mounted into one folder."""
    return f"{kind}-{round_:04d}-{attempt:02d}-{sha256[:16]}{suffix}"


def event(compilation: str, *parts: str) -> str:
    return f"{compilation[:200]}.{_hash(*parts)[:16]}"


def _short(compilation: str) -> str:
    """A Compilation's name, shortened; the run id makes names unique."""
    return re.sub(r"[^a-z0-9]+", "-", compilation.lower())[:_SHORT].strip("-") or "c"


def _hash(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()
