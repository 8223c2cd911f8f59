"""Reads the options of fsspec's file systems, which may be secret."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from swarm_wire.names import WorkerReason
from swarm_worker.content import masking
from swarm_worker.errors import BadInput


def secrets_in(options: Mapping[str, Any], name: str) -> masking.Secrets:
    """Returns all texts in the options of a file system, and their words, because they may be secrets.

    Args:
        name: stands in messages in place of a secret.
    """
    found = {part: None for text in _texts(options) for part in (text, *text.split())}
    return tuple((name, part) for part in found)


def parsed_options(text: str, field: str) -> dict[str, Any]:
    """Returns the options of a file system. Raises BadInput if the text is not a JSON object.

    Args:
        field: the field of the spec that names the Secret with the text.
    """
    try:
        options = json.loads(text) if text else {}
        if not isinstance(options, dict):
            raise ValueError("not an object")
    except ValueError:
        raise BadInput(
            WorkerReason.INVALID_SPEC,
            f"the Secret that {field} names holds no JSON object. Write the options of the fsspec file system "
            'there, for example {"key": "...", "secret": "..."}.',
        ) from None
    return options


def _texts(value: object) -> Iterator[str]:
    """Yields all texts in the options."""
    match value:
        case str():
            yield value
        case dict():
            yield from (text for each in value.values() for text in _texts(each))
        case list():
            yield from (text for each in value for text in _texts(each))
