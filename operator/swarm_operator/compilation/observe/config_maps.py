"""Reads each ConfigMap of the journal once, and caches it as long as nobody changes it in the cluster.

The cache may be lost at any time. It is never outdated, because each entry belongs to one uid and resourceVersion.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import logging
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from swarm_engine.journal import LONG_AGO, Entries
from swarm_operator.cluster.client import Kube, Object
from swarm_operator.cluster.resources import CONFIG_MAPS
from swarm_operator.compilation.api import (
    ANNOTATION_SHA256,
    LABEL_ATTEMPT,
    LABEL_KIND,
    LABEL_ROUND,
    LABEL_RUN,
    ObjectKind,
)
from swarm_operator.compilation.interpret.records import Malformed, artifact_of
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.object_names import STRIKES_FILE
from swarm_operator.compilation.model.shards import Shard
from swarm_operator.compilation.model.world import AssignmentMap
from swarm_wire import shards
from swarm_wire.messages import Assignment, RunRequest
from swarm_wire.names import ASSIGNMENT_FILE, REQUEST_FILE, SHARD_SUFFIX
from swarm_wire.records import RecordKind

log = logging.getLogger(__name__)

MOST_STRIKES = 16 * 1024 * 1024
"""Largest size of an assignment's strikes after decompression, in bytes."""

Content = Shard | AssignmentMap | RunRequest | frozenset[str] | None
"""The parsed content of a ConfigMap of the operator, or the keys of a user's ConfigMap; None if it is unusable."""


@dataclass(frozen=True)
class _Entry:
    uid: str
    resource_version: str
    content: Content


class MapReader:
    """Reads ConfigMaps of one namespace for one Compilation."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube, self._namespace = kube, namespace
        self._entries: dict[str, _Entry] = {}

    async def content(self, metadata: Object) -> Content:
        """Returns the content of the ConfigMap with this metadata."""
        name, uid, version = metadata["name"], metadata["uid"], metadata["resourceVersion"]
        entry = self._entries.get(name)
        if entry is None or (entry.uid, entry.resource_version) != (uid, version):
            found = await self._kube.get(CONFIG_MAPS, self._namespace, name)
            if found is None:
                return None
            uid, version = found["metadata"]["uid"], found["metadata"]["resourceVersion"]
            entry = self._entries[name] = _Entry(uid, version, await asyncio.to_thread(parse, found))
        return entry.content

    async def keys(self, name: str) -> frozenset[str] | None:
        """Returns the keys of a user's ConfigMap; None if there is no such ConfigMap."""
        found = await self._kube.get(CONFIG_MAPS, self._namespace, name, metadata_only=True)
        if found is None:
            self._entries.pop(name, None)
            return None
        content = await self.content(found["metadata"])
        return content if isinstance(content, frozenset) else None

    def forget_all_but(self, names: Iterable[str]) -> None:
        kept = set(names)
        self._entries = {name: entry for name, entry in self._entries.items() if name in kept}


_UNREADABLE: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def parse(found: Object) -> Content:
    """Returns the content of a ConfigMap. If somebody has altered it, logs a warning and returns None."""
    metadata = found["metadata"]
    kind = (metadata.get("labels") or {}).get(LABEL_KIND)
    try:
        if kind in (ObjectKind.RESULTS, ObjectKind.TASKS, ObjectKind.SNAPSHOT):
            return _shard(found, ObjectKind(kind))
        if kind == ObjectKind.ASSIGNMENT:
            return _assignment(found)
        if kind == ObjectKind.RUN:
            return RunRequest.model_validate_json(found["data"][REQUEST_FILE])
    except (*_UNREADABLE, shards.CorruptShard, Malformed) as error:
        log.warning("ConfigMap %s/%s is ignored: %s", metadata.get("namespace"), metadata.get("name"), error)
        return None
    return frozenset((found.get("data") or {}).keys() | (found.get("binaryData") or {}).keys())


def _shard(found: Object, kind: ObjectKind) -> Shard:
    metadata = found["metadata"]
    ((key, text),) = found["binaryData"].items()
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    sha256, labels = hashlib.sha256(data).hexdigest(), metadata["labels"]
    if sha256 != (metadata.get("annotations") or {}).get(ANNOTATION_SHA256):
        raise ValueError("its content is not what its sha256 says")
    round_, attempt = int(labels[LABEL_ROUND]), int(labels[LABEL_ATTEMPT])
    if key != object_names.shard_key(kind, round_, attempt, sha256, SHARD_SUFFIX):
        raise ValueError("its labels are not what its file says")
    records = list(shards.headers(data))
    artifacts = [artifact_of(record) for record in records if record.kind is RecordKind.ARTIFACT]
    return Shard(
        **vars(Entries.of(records)),
        name=metadata["name"],
        uid=metadata["uid"],
        run_id=labels[LABEL_RUN],
        kind=kind,
        round=round_,
        attempt=attempt,
        key=key,
        size=len(data),
        created_at=datetime.fromisoformat(created) if (created := metadata.get("creationTimestamp")) else LONG_AGO,
        artifact=artifacts[-1] if artifacts else None,
    )


def _assignment(found: Object) -> AssignmentMap:
    packed = base64.b64decode((found.get("binaryData") or {}).get(STRIKES_FILE) or "")
    try:
        strikes = json.loads(zlib.decompressobj().decompress(packed, MOST_STRIKES) or "{}")
    except zlib.error as error:
        raise ValueError(str(error)) from None
    return AssignmentMap(
        name=found["metadata"]["name"],
        uid=found["metadata"]["uid"],
        assignment=Assignment.model_validate_json(found["data"][ASSIGNMENT_FILE]),
        strikes={str(key): int(count) for key, count in strikes.items()},
    )
