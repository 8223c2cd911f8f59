"""Files that a run fetches: their sizes, and which parts belong together."""

from collections.abc import Iterable
from typing import Final, TypeVar

from swarm_wire.messages import Snapshot

PartT = TypeVar("PartT")

MOST_BYTES: Final = 64 * 2**20
MOST_FILES: Final = 10_000
"""Limits of the unpacked files of a program."""
MOST_PACKED: Final = 4 * 2**20
"""Largest size in bytes of what travels through a pod's output and is kept in ConfigMaps."""
PART_BYTES: Final = 480 * 2**10
"""Largest body of one record, so that a ConfigMap has room for it in base64."""


def complete(parts: Iterable[tuple[Snapshot, PartT]]) -> dict[str, list[tuple[Snapshot, PartT]]]:
    """Returns the parts of each file of which no part is missing, in their order, by what the file is (`Snapshot.of`).

    Two fetches may have left parts, because a pod may be killed and its server may have changed the file. Parts of one
    fetch have the same sha256. If several fetches are complete, the first counts.
    """
    groups: dict[tuple[str, str], dict[int, tuple[Snapshot, PartT]]] = {}
    for head, part in parts:
        groups.setdefault((head.of, head.sha256), {}).setdefault(head.part, (head, part))
    found: dict[str, list[tuple[Snapshot, PartT]]] = {}
    for (of, _), its in groups.items():
        wanted = range(next(iter(its.values()))[0].parts)
        if its.keys() == {*wanted}:
            found.setdefault(of, [its[number] for number in wanted])
    return found
