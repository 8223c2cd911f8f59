"""Builds the owner references and labels of objects (pure)."""

from typing import Any

from swarm_operator.cluster.resources import MANAGER
from swarm_operator.compilation.api import (
    API_VERSION,
    KIND,
    LABEL_ATTEMPT,
    LABEL_KIND,
    LABEL_MANAGED_BY,
    LABEL_ROLE,
    LABEL_ROUND,
    LABEL_RUN,
    LABEL_UID,
    ObjectKind,
)
from swarm_operator.compilation.model.roles import ROLES
from swarm_operator.compilation.model.world import Key

Manifest = dict[str, Any]


def owner(key: Key, kind: str = KIND) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": key.name,
        "uid": key.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def labels(key: Key, run_id: str, kind: ObjectKind) -> dict[str, str]:
    what = LABEL_ROLE if kind in ROLES else LABEL_KIND
    return {LABEL_MANAGED_BY: MANAGER, LABEL_UID: key.uid, LABEL_RUN: run_id, what: kind.value}


def place(round_: int, attempt: int) -> dict[str, str]:
    """Returns labels with an object's round and attempt."""
    return {LABEL_ROUND: str(round_), LABEL_ATTEMPT: str(attempt)}
