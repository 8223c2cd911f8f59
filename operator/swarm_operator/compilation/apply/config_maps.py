"""Builds bodies of ConfigMaps (pure). It computes every name from the purpose of the object."""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from swarm_operator.cluster.resources import MANAGER
from swarm_operator.compilation.api import (
    ANNOTATION_BYTES,
    ANNOTATION_COMPILATION,
    ANNOTATION_PARTIAL,
    ANNOTATION_SCORE,
    ANNOTATION_SHA256,
    LABEL_KIND,
    LABEL_MANAGED_BY,
    LABEL_UID,
    ObjectKind,
)
from swarm_operator.compilation.apply.metadata import Manifest, labels, owner, place
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.actions import KeepAssignment, KeepRecords
from swarm_operator.compilation.model.roles import dealt_role
from swarm_operator.compilation.model.shards import Artifact, Shard
from swarm_operator.compilation.model.world import Key, Run
from swarm_wire import names, shards
from swarm_wire.messages import RunRequest

CONFIG_MAP_BYTES: Final = 1_000_000
"""Largest number of bytes that the operator puts into one ConfigMap. Kubernetes allows 1,048,576, with the keys."""


class TooLarge(Exception):
    """A record, the artifact, or the published program of a run, does not fit into one ConfigMap."""


def run_map(key: Key, request: RunRequest, program: str | None = None) -> Manifest:
    """Returns the ConfigMap with the RunRequest, which never changes after the run has begun.

    Args:
        program: the published program, as JSON; None if the run has none.

    Raises TooLarge if request and program do not fit into one ConfigMap.
    """
    files = {names.REQUEST_FILE: request.to_json(), **({names.PUBLISHED_FILE: program} if program else {})}
    size = sum(len(text.encode()) for text in files.values())
    if program and size > CONFIG_MAP_BYTES:
        raise TooLarge(
            f"the published program and the run's request have {size:,} bytes, and a ConfigMap takes "
            f"{CONFIG_MAP_BYTES:,}. Remove spec.program.state.published, and write spec.gate.against: baseline. The "
            "change starts a new run."
        )
    return _config_map(
        object_names.run_map(key.name, request.run_id),
        key,
        labels(key, request.run_id, ObjectKind.RUN),
        data=files,
    )


def shard_maps(key: Key, kept: KeepRecords) -> list[Manifest]:
    """Returns ConfigMaps that hold the records, one shard each. Raises TooLarge."""
    made = []
    for shard in shards.pack(kept.records):
        if len(shard) > CONFIG_MAP_BYTES:
            raise TooLarge(
                f"a record of round {kept.round} has {len(shard):,} bytes, and a ConfigMap takes {CONFIG_MAP_BYTES:,}"
            )
        made.append(_shard_map(key, kept.run_id, kept.kind, kept.round, kept.attempt, shard))
    return made


def merged_map(key: Key, merged: Sequence[Shard], data: bytes) -> Manifest:
    """Returns the ConfigMap with one shard that replaces several shards of a run.

    Args:
        data: frames of the replaced shards, concatenated in the order of `merged`.
    """
    first = merged[0]
    round_ = max(shard.round for shard in merged)
    return _shard_map(key, first.run_id, first.kind, round_, min(shard.attempt for shard in merged), data)


def shard_data(found: Mapping[str, Any], shard: Shard) -> bytes | None:
    """Returns the bytes of a shard from its ConfigMap, or None if the ConfigMap no longer holds exactly these bytes."""
    try:
        data = base64.b64decode(found["binaryData"][shard.key], validate=True)
    except (KeyError, TypeError, ValueError):
        return None
    sha256 = hashlib.sha256(data).hexdigest()
    key = object_names.shard_key(shard.kind, shard.round, shard.attempt, sha256, names.SHARD_SUFFIX)
    return data if key == shard.key else None


def assignment_map(key: Key, kept: KeepAssignment) -> Manifest:
    """Returns the ConfigMap with the assignment of a work Job.

    The strikes in it are compressed, because after an outage each cell may have some.
    """
    given, strikes = kept.assignment, json.dumps(dict(kept.strikes)).encode()
    return _config_map(
        object_names.job(key.name, given.run_id, dealt_role(given), given.round, given.attempt),
        key,
        {**labels(key, given.run_id, ObjectKind.ASSIGNMENT), **place(given.round, given.attempt)},
        data={names.ASSIGNMENT_FILE: given.to_json()},
        binaryData={object_names.STRIKES_FILE: base64.b64encode(zlib.compress(strikes)).decode()},
    )


def artifact_map(run: Run, artifact: Artifact) -> Manifest:
    """Returns the ConfigMap with the compiled program. Raises TooLarge."""
    made = _winner_map(run, artifact, run.spec.artifact_name(run.key.name), ObjectKind.ARTIFACT)
    # The ConfigMap must be mutable, because the operator replaces the artifact when a later run publishes another one.
    del made["immutable"]
    return made


def refused_map(run: Run, artifact: Artifact) -> Manifest:
    """Returns the ConfigMap with a winner that spec.gate has refused. Raises TooLarge."""
    return _winner_map(run, artifact, object_names.refused_map(run.key.name, run.id), ObjectKind.REFUSED)


def _winner_map(run: Run, artifact: Artifact, name: str, kind: ObjectKind) -> Manifest:
    files = {names.PROGRAM_FILE: artifact.program, names.REPORT_FILE: artifact.report_text}
    if artifact.markdown:
        files[names.MARKDOWN_FILE] = artifact.markdown
    size = sum(len(text.encode()) for text in files.values())
    if size > CONFIG_MAP_BYTES:
        raise TooLarge(f"program and report have {size:,} bytes, and a ConfigMap takes {CONFIG_MAP_BYTES:,}")
    score = artifact.report.scores.best
    return _config_map(
        name,
        run.key,
        labels(run.key, run.id, kind),
        annotations={
            ANNOTATION_SHA256: artifact.sha256,
            **({ANNOTATION_SCORE: f"{score:g}"} if score is not None else {}),
            **({ANNOTATION_PARTIAL: artifact.report.partial} if artifact.report.partial else {}),
        },
        data=files,
    )


def unwritten_artifact(key: Key, name: str) -> Manifest:
    """Returns an empty ConfigMap, which reserves the artifact's name until the operator publishes the artifact.

    The empty ConfigMap has no label for the run, because the apply that publishes the artifact sets this label. A label
    with another value would make the apply fail with a conflict.
    """
    ours = {LABEL_MANAGED_BY: MANAGER, LABEL_UID: key.uid, LABEL_KIND: ObjectKind.ARTIFACT.value}
    metadata = {"name": name, "namespace": key.namespace, "labels": ours, "ownerReferences": [owner(key)]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def _config_map(
    name: str, key: Key, ours: Mapping[str, str], annotations: Mapping[str, str] | None = None, **content: Any
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "labels": dict(ours),
            "annotations": {ANNOTATION_COMPILATION: key.name, **(annotations or {})},
            "ownerReferences": [owner(key)],
        },
        "immutable": True,
        **content,
    }


def _shard_map(key: Key, run_id: str, kind: ObjectKind, round_: int, attempt: int, shard: bytes) -> Manifest:
    sha256 = hashlib.sha256(shard).hexdigest()
    file = object_names.shard_key(kind, round_, attempt, sha256, names.SHARD_SUFFIX)
    return _config_map(
        object_names.shard_map(key.name, run_id, kind, round_, attempt, sha256),
        key,
        {**labels(key, run_id, kind), **place(round_, attempt)},
        annotations={ANNOTATION_SHA256: sha256, ANNOTATION_BYTES: str(len(shard))},
        binaryData={file: base64.b64encode(shard).decode()},
    )
