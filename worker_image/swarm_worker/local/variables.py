"""Collects the variables of `spec.env` and `spec.envFrom` on a laptop.

A variable's value comes from the shell, or else from the `.env` file, or else from a Secret or ConfigMap in the user's
files.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from swarm_wire.names import ENV_HIDDEN, WorkerReason, variable_prefix
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.variables import Variable, VariablesFrom, is_reserved, placed
from swarm_worker.errors import BadInput
from swarm_worker.local import dotenv
from swarm_worker.local.reasons import LocalReason

Objects = Mapping[str, Mapping[str, bytes]]
"""The content of Secrets or ConfigMaps, by name and key."""


def collect(
    spec: CompilationSpec,
    config_maps: Objects,
    secrets: Objects,
    given: Mapping[str, str],
    folder: Path,
    invent: Callable[[], str] | None = None,
) -> dict[str, str]:
    """Returns the variables as a pod has them, each with the prefix of its source.

    If the `.env` file replaces a ConfigMap, its values count as secrets, because the file may also have secrets.

    Args:
        given: variables of the shell and the `.env` file.
        folder: the folder of the `.env` file.
        invent: makes up missing values of Secrets. A Secret that is missing as a whole then gives no variables.

    Raises BadInput if a value is missing.
    """
    found, hidden = {}, set()
    for number, source in enumerate(spec.env_from):
        objects = secrets if source.is_secret else config_maps
        may_lack = source.is_secret and invent is not None
        for name, text in _all_of(source, objects, given, folder, may_lack=may_lack):
            found[variable_prefix(number) + name] = text
            if source.name not in objects:
                hidden.add(name)
    for variable in spec.env:
        text = _one(variable, config_maps, secrets, given, folder, invent)
        found[variable_prefix(len(spec.env_from)) + variable.name] = text
    try:
        placed(spec.env, spec.env_from, found)
    except ValueError as error:
        raise BadInput(WorkerReason.INVALID_SPEC, str(error)) from None
    return {**found, ENV_HIDDEN: " ".join(sorted(hidden - {variable.name for variable in spec.env}))}


def _one(
    variable: Variable,
    config_maps: Objects,
    secrets: Objects,
    given: Mapping[str, str],
    folder: Path,
    invent: Callable[[], str] | None,
) -> str:
    origin = variable.value_from
    if origin is None:
        return variable.value or ""
    if (text := given.get(variable.name)) is not None:
        return text
    objects = secrets if variable.is_secret else config_maps
    reference = origin.secret_key_ref or origin.config_map_key_ref
    assert reference is not None
    place = f"key {reference.key!r} of {_kind(variable)} {reference.name!r}"
    content = objects.get(reference.name, {}).get(reference.key)
    if content is None and variable.is_secret and invent is not None:
        return invent()
    if content is None:
        raise BadInput(
            WorkerReason.MISSING_SECRET if variable.is_secret else LocalReason.MISSING_CONFIG_MAP_KEY,
            f"spec.env: the value of {variable.name} is in {place}, which is not here. Set {variable.name} in the "
            f"shell, or in {folder / dotenv.FILE}.",
        )
    return decoded(content, f"spec.env: the value of {variable.name}, {place},")


def decoded(content: bytes, place: str) -> str:
    """Returns the value of a Secret's or ConfigMap's key as text. Raises BadInput if it cannot be a variable's value.

    Args:
        place: the key's name in messages.
    """
    try:
        if b"\0" not in content:
            return content.decode()
    except UnicodeDecodeError:
        pass
    raise BadInput(
        WorkerReason.INVALID_SPEC,
        f"{place} is no text, so it can be no environment variable. Write text there: UTF-8 without a zero byte, for "
        "example base64.",
    )


def _kind(source: Variable | VariablesFrom) -> str:
    return "Secret" if source.is_secret else "ConfigMap"


def _all_of(
    source: VariablesFrom, objects: Objects, given: Mapping[str, str], folder: Path, *, may_lack: bool
) -> Iterator[tuple[str, str]]:
    """Yields the names and values of a source. The `.env` file replaces a missing Secret or ConfigMap."""
    prefix = source.prefix or ""
    if source.name in objects:
        for key, content in objects[source.name].items():
            place = f"spec.envFrom: key {key!r} of {_kind(source)} {source.name!r}"
            yield prefix + key, given[prefix + key] if prefix + key in given else decoded(content, place)
        return
    names = [name for name in dotenv.read(folder) if name.startswith(prefix) and not is_reserved(name)]
    if not names and not may_lack:
        raise BadInput(
            WorkerReason.MISSING_SECRET if source.is_secret else LocalReason.MISSING_CONFIG_MAP,
            f"spec.envFrom: {_kind(source)} {source.name!r} is not here. Write its names and values into "
            f"{folder / dotenv.FILE}, one {prefix}NAME=VALUE a line.",
        )
    yield from ((name, given[name]) for name in names)
