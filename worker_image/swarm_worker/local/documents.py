"""Reads a DSPyCompilation as `kubectl apply` would, with the ConfigMaps and Secrets that it names.

These objects may be other documents of the same file. They may also come from a `kustomization.yaml` beside the file,
and from the resources that it names.
"""

import base64
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from swarm_wire.names import WorkerReason, api_key_env, url_options_env
from swarm_wire.records import Record
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.problems import parse, problems
from swarm_worker.errors import BadInput
from swarm_worker.local import dotenv
from swarm_worker.local import variables as local_variables
from swarm_worker.local.reasons import LocalReason
from swarm_worker.user.urls import Fetched

KIND = "DSPyCompilation"
PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    KIND: ("spec",),
    "DSPyCompilationTrigger": ("spec", "template", "spec"),
}
"""Kind of a document -> where it has the spec of a Compilation. A trigger has a template."""
KUSTOMIZATION = "kustomization.yaml"
_GENERATOR = {"name", "namespace", "type", "options", "files", "literals", "env", "envs"}
_QUOTED = re.compile(r"""(["'])(.*)\1""", re.DOTALL)


@dataclass(frozen=True)
class Manifest:
    """A Compilation, with the content of the ConfigMaps and Secrets that it names.

    Attributes:
        folder: the file's folder. Modules in it can be imported, as if they were in an image.
        config_maps: the content of the ConfigMaps that the spec names, by name and key.
        keys: API keys by model role.
        variables: environment variables for user code, each with the prefix of its source.
        git_secret: content of the Secret that the git source names, by key; empty if no file has this Secret.
        snapshot: records with the program's files, if the spec takes them from git and they are fetched.
        url_options: options for URLs of data as JSON, by their fields in spec.data.
        data: files of data that the spec names by URLs, if they are fetched.
    """

    name: str
    spec: CompilationSpec
    folder: Path
    config_maps: dict[str, dict[str, bytes]]
    keys: dict[str, str]
    variables: dict[str, str] = field(default_factory=dict)
    git_secret: Mapping[str, bytes] = field(default_factory=dict)
    snapshot: tuple[Record, ...] = ()
    url_options: Mapping[str, str] = field(default_factory=dict)
    data: tuple[Fetched, ...] = ()


@dataclass(frozen=True)
class _Written:
    """A document and its position in a file."""

    document: Mapping[str, Any]
    path: Path
    node: yaml.Node

    @property
    def place(self) -> tuple[str, ...]:
        return PLACES[str(self.document.get("kind"))]

    @property
    def spec(self) -> Any:
        """Returns the spec of the Compilation, as it is written."""
        found: Any = self.document
        for name in self.place:
            found = (found.get(name) if isinstance(found, dict) else found) or {}
        return found

    def line(self, *place: str | int) -> int:
        """Returns the line of the field at this path. If the file lacks it, the line of the nearest field around it."""
        node, found = self.node, self.node.start_mark
        for name in place:
            if isinstance(node, yaml.MappingNode):
                inner = next(((key, value) for key, value in node.value if key.value == name), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(name, int):
                inner = node.value[name], node.value[name]
            else:
                inner = None
            if inner is None:
                break
            found, node = inner[0].start_mark, inner[1]
        return int(found.line) + 1


@dataclass
class _Documents:
    compilations: list[_Written] = field(default_factory=list)
    config_maps: dict[str, dict[str, bytes]] = field(default_factory=dict)
    secrets: dict[str, dict[str, bytes]] = field(default_factory=dict)


def read(path: Path, environment: Mapping[str, str] | None = None, invent: Callable[[], str] | None = None) -> Manifest:
    """Reads the one Compilation in a file, or in a folder with a kustomization.yaml.

    Args:
        environment: has secrets and values of ConfigMaps. A `.env` file in the folder has those that are missing.
        invent: makes up the models' API keys, and missing secrets of variables, for commands that make no LM call.

    Raises BadInput if there is not exactly one Compilation, its spec is invalid, or an object that it names is missing.
    """
    found = _Documents()
    base = path if path.is_dir() else path.parent
    if not path.is_dir():
        _read_file(path, found)
    _read_kustomization(base, found, skip=path)
    if len(found.compilations) != 1:
        raise BadInput(
            WorkerReason.INVALID_SPEC,
            f"{path} has {len(found.compilations)} documents of the kinds {' and '.join(PLACES)}; name a file with "
            "exactly one.",
        )
    compilation = found.compilations[0]
    name = _name(compilation.document) or "compilation"
    try:
        # kubectl sends JSON. So keys and values that only YAML has (numbers as keys, dates) become text.
        spec = CompilationSpec.model_validate(parse(compilation.spec).as_written())
    except ValidationError as error:
        wrong = sorted((compilation.line(*compilation.place, *found.place), str(found)) for found in problems(error))
        lines = [f"  line {line}: {text}" for line, text in wrong]
        raise BadInput(
            WorkerReason.INVALID_SPEC, "\n".join([f"{compilation.path}: the spec is invalid:", *lines])
        ) from None
    _refuse_volumes(spec, compilation)
    maps = {needed: _config_map(needed, keys, found, path) for needed, keys in spec.config_maps().items()}
    given = {**dotenv.read(base), **(os.environ if environment is None else environment)}
    variables = local_variables.collect(spec, found.config_maps, found.secrets, given, base, invent)
    source = spec.program.source.git if spec.program.source else None
    git_secret = found.secrets.get(source.secret.name, {}) if source and source.secret else {}
    return Manifest(
        name,
        spec,
        base,
        maps,
        _api_keys(spec, found, given, invent),
        variables,
        git_secret,
        url_options=dict(_url_options(spec, found, given)),
    )


def with_endpoint(manifest: Manifest, url: str) -> Manifest:
    """Returns the same Compilation, with another endpoint for every model. Its runs differ from the original's."""
    written = manifest.spec.as_written()
    for model in written["models"].values():
        model["endpoint"] = url
    if (trainer := (written.get("finetune") or {}).get("trainer")) is not None:
        trainer["serving"]["endpoint"] = url
    try:
        return replace(manifest, spec=CompilationSpec.model_validate(written))
    except ValidationError as error:
        raise BadInput(WorkerReason.INVALID_SPEC, f"--endpoint{problems(error)[0].what}") from None


def _read_file(path: Path, found: _Documents) -> None:
    try:
        documents = list(_parsed(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInput(WorkerReason.INVALID_SPEC, f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(WorkerReason.INVALID_SPEC, f"{path} is not YAML: {_without_lines(error)}") from None
    for document, node in documents:
        if isinstance(document, dict):
            try:
                _read_document(_Written(document, path, node), found)
            except (AttributeError, TypeError, ValueError) as error:
                raise BadInput(
                    WorkerReason.INVALID_SPEC, f"{path}: a {document.get('kind')} is malformed: {error}"
                ) from None


def _without_lines(error: Exception) -> str:
    """Returns the error and its position. It omits the excerpt of the file, which may contain an API key."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error)
    return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"


def _parsed(text: str) -> Iterator[tuple[Any, yaml.Node]]:
    """Yields each document of a file, with the node that has the document's line numbers."""
    for node in yaml.compose_all(text, yaml.SafeLoader):
        yield yaml.SafeLoader("").construct_document(node), node


def _read_document(read: _Written, found: _Documents) -> None:
    document = read.document
    name = _name(document)
    match document.get("kind"):
        case kind if kind in PLACES:
            found.compilations.append(read)
        case "ConfigMap":
            found.config_maps[name] = dict(_texts(document.get("data"))) | dict(_binaries(document.get("binaryData")))
        case "Secret":
            found.secrets[name] = dict(_binaries(document.get("data"))) | dict(_texts(document.get("stringData")))


def _name(document: Mapping[str, Any]) -> str:
    return str((document.get("metadata") or {}).get("name") or "")


def _texts(data: Mapping[str, Any] | None) -> Iterator[tuple[str, bytes]]:
    return ((key, str(value).encode()) for key, value in (data or {}).items())


def _binaries(data: Mapping[str, Any] | None) -> Iterator[tuple[str, bytes]]:
    return ((key, base64.b64decode(value, validate=True)) for key, value in (data or {}).items())


def _read_kustomization(base: Path, found: _Documents, skip: Path) -> None:
    path = base / KUSTOMIZATION
    if not path.is_file():
        return
    try:
        _follow_kustomization(yaml.safe_load(path.read_text(encoding="utf-8")) or {}, base, found, skip)
    except OSError as error:
        raise BadInput(
            WorkerReason.INVALID_SPEC, f"{path} names {error.filename}, which cannot be read: {error.strerror}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise BadInput(
            WorkerReason.INVALID_SPEC, f"{path} is not a kustomization: {type(error).__name__}: {error}"
        ) from None


def _follow_kustomization(content: Mapping[str, Any], base: Path, found: _Documents, skip: Path) -> None:
    for generator in content.get("configMapGenerator") or []:
        found.config_maps.setdefault(generator["name"], _generated(generator, base))
    for generator in content.get("secretGenerator") or []:
        found.secrets.setdefault(generator["name"], _generated(generator, base))
    for resource in content.get("resources") or []:
        file = base / resource
        if file.resolve() != skip.resolve():
            others = _Documents()
            if file.is_dir():
                _read_kustomization(file, others, skip)
            else:
                _read_file(file, others)
            found.config_maps = others.config_maps | found.config_maps
            found.secrets = others.secrets | found.secrets
            if skip.is_dir():
                found.compilations += others.compilations


def _generated(generator: Mapping[str, Any], base: Path) -> dict[str, bytes]:
    """Returns the data that kustomize would generate.

    Raises BadInput for fields that the local driver does not read.
    """
    if others := sorted(set(generator) - _GENERATOR):
        raise BadInput(
            WorkerReason.INVALID_SPEC,
            f"{base / KUSTOMIZATION}: the generator of {generator['name']!r} has {', '.join(others)}, and the local "
            "driver reads only files, literals and envs. Write its content with these.",
        )
    made = {}
    for entry in generator.get("files") or []:
        key, _, file = entry.rpartition("=")
        made[key or Path(file).name] = (base / file).read_bytes()
    for literal in generator.get("literals") or []:
        key, _, value = literal.partition("=")
        made[key] = (_QUOTED.fullmatch(value) or [value, value, value])[2].encode()
    for file in [*(generator.get("envs") or []), *filter(None, [generator.get("env")])]:
        for line in (base / file).read_text(encoding="utf-8-sig").split("\n"):
            key, _, value = line.lstrip().partition("=")
            if key and not key.startswith("#"):
                made[key] = value.encode()
    return made


def _refuse_volumes(spec: CompilationSpec, written: _Written) -> None:
    for name, source in spec.data.sources.items():
        if (volume := source.volume) is not None:
            raise BadInput(
                LocalReason.NEEDS_CLUSTER,
                f"{written.path}: line {written.line('spec', 'data', name, 'volume')}: spec.data.{name}.volume: the "
                f"volume of claim {volume.claim_name!r} is in a cluster, where this machine cannot read it. To run "
                f"here, copy {volume.path} from the volume, and write data.{name} as path: FILE.",
            )


def _config_map(name: str, keys: set[str] | None, found: _Documents, path: Path) -> dict[str, bytes]:
    if name not in found.config_maps:
        raise BadInput(
            LocalReason.MISSING_CONFIG_MAP,
            f"{path}: the spec names ConfigMap {name!r}, and there is none in this file or in a kustomization.yaml "
            f"beside it. There: {', '.join(sorted(found.config_maps)) or 'none'}. Add the ConfigMap to this file after "
            "a line of ---, or name the ConfigMap's file in kustomization.yaml: resources: [FILE]. On a laptop you may "
            "also leave program.source out, and write data as path: FILE.",
        )
    content = found.config_maps[name]
    for key in sorted((keys or set()) - set(content)):
        raise BadInput(
            LocalReason.MISSING_CONFIG_MAP_KEY,
            f"{path}: the spec names key {key!r} of ConfigMap {name!r}, which has: {', '.join(sorted(content))}.",
        )
    return content


def _url_options(spec: CompilationSpec, found: _Documents, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields the options for URLs of data. Without them, fsspec uses the credentials of this machine's user."""
    for name, reference in spec.data.url_secrets.items():
        written = found.secrets.get(reference.name, {}).get(reference.key, b"")
        if text := environment.get(url_options_env(name)) or local_variables.decoded(written, f"data.{name}.options"):
            yield name, text


def _api_keys(
    spec: CompilationSpec, found: _Documents, environment: Mapping[str, str], invent: Callable[[], str] | None
) -> dict[str, str]:
    if invent is not None:
        return {role: invent() for role in spec.secrets()}
    keys = {}
    for role, reference in spec.secrets().items():
        place = f"key {reference.key!r} of Secret {reference.name!r}"
        written = found.secrets.get(reference.name, {}).get(reference.key, b"")
        value = environment.get(api_key_env(role)) or local_variables.decoded(
            written, f"the {role} model's API key, {place},"
        )
        if not value.strip():
            raise BadInput(
                WorkerReason.MISSING_SECRET,
                f"the {role} model's API key is in {place}, which is not here. Set {api_key_env(role)} to the "
                f"key, in the shell or in {dotenv.FILE} beside the file.",
            )
        keys[role] = value
    return keys
