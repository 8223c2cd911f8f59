"""The process in which a pod fetches a program's files, publishes an artifact, or looks at a branch."""

import errno
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NoReturn

from pydantic import ValidationError

from swarm_git import snapshot, watching
from swarm_git.command import Failed, Git
from swarm_git.commits import Artifact, read_artifact
from swarm_git.credentials import access_to, private_key
from swarm_git.errors import GitError, Place, edited, explained, missing_secret
from swarm_git.masking import Masks
from swarm_git.output import Output
from swarm_git.publishing import Publisher
from swarm_wire import names
from swarm_wire.looks import Watch
from swarm_wire.messages import RunRequest
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.spec.git import GitDestination, GitRepository, SigningKey
from swarm_wire.spec.problems import problems


class Interrupted(BaseException):
    """The process has received SIGTERM. It is no Exception, so that no part of the program handles it."""


class Mismatch(Exception):
    """The request has another version of the contract."""


@dataclass(frozen=True)
class Pod:
    """What a command needs.

    Attributes:
        scratch: a folder for files, which is removed at the end.
    """

    environment: Mapping[str, str]
    scratch: Path
    masks: Masks
    output: Output

    @cached_property
    def request(self) -> RunRequest:
        """Returns the run's request. Raises Mismatch or GitError, as `read_request` does."""
        return read_request(self.folder(names.ENV_RUN_DIR, names.RUN_DIR))

    def folder(self, variable: str, default: os.PathLike[str]) -> Path:
        return _folder(self.environment, variable, default)

    def repository(self, field: str, repository: GitRepository, *, writes: bool) -> Git:
        """Returns a git repository with access to the one that the spec names. Raises GitError."""
        secret = repository.secret.name if repository.secret else None
        place = Place(field, repository.url, secret, writes=writes)
        mounted = self.folder(names.ENV_CREDENTIALS_DIR, names.CREDENTIALS_DIR) if secret else None
        return Git(self.scratch, access_to(place, mounted, self.scratch, self.masks), place, self.masks)


def _fetch(pod: Pod) -> None:
    source = pod.request.spec.program.source
    if source is None or source.git is None:
        raise GitError(
            WorkerReason.INVALID_SPEC, "spec.program.source.git is not set, so there is nothing to fetch.", True
        )
    git = pod.repository("spec.program.source.git", source.git, writes=False)
    with _explaining(git.place):
        archive = snapshot.fetch(git, source.git)
    for record in archive.records():
        pod.output.put(record)
    pod.output.say(f"{archive.files:,} files of commit {archive.commit} are fetched")


def _publish(pod: Pod) -> None:
    destination = pod.request.spec.artifact.git
    if destination is None:
        raise GitError(WorkerReason.INVALID_SPEC, "spec.artifact.git is not set, so there is nothing to publish.", True)
    git = pod.repository("spec.artifact.git", destination, writes=True)
    artifact = _artifact(pod, destination, git.place)
    key = None if destination.signing_key is None else _signing_key(pod, destination.signing_key)
    with _explaining(git.place):
        pushed = Publisher(git, destination, artifact, key).publish()
    pod.output.put(Record(RecordKind.PUSHED, pushed.to_header()))
    pod.output.say(f"{pushed.outcome}: {pushed.branch} of {pushed.url} has commit {pushed.commit}")


def _watch(pod: Pod) -> None:
    watch = Watch.model_validate_json(pod.environment[names.ENV_WATCH])
    git = pod.repository(watch.field, watch.source, writes=False)
    with _explaining(git.place):
        pod.output.watched = watching.look(git, watch)
    pod.output.say(f"{watch.source.url} has commit {pod.output.watched.commit}")


def _artifact(pod: Pod, destination: GitDestination, place: Place) -> Artifact:
    """Returns the artifact. Raises GitError if it is not the one that the operator has told to publish."""
    expected = pod.environment.get(names.ENV_ARTIFACT_SHA256)
    try:
        found = read_artifact(destination, pod.request, pod.folder(names.ENV_ARTIFACT_DIR, names.ARTIFACT_DIR))
    except FileNotFoundError:
        if expected:
            raise edited(place) from None
        raise
    if expected and found.sha256 != expected:
        raise edited(place)
    return found


def _signing_key(pod: Pod, spec: SigningKey) -> Path:
    """Returns a file with the key that signs commits. Raises GitError if there is no key."""
    mounted = pod.folder(names.ENV_SIGNING_DIR, names.SIGNING_DIR) / names.SIGNING_FILE
    text = mounted.read_text(encoding="utf-8", errors="replace") if mounted.exists() else ""
    if not text.strip():
        raise missing_secret("spec.artifact.git.signingKey.secret", spec.secret.name, spec.secret.key)
    pod.masks.add("key", text)
    return private_key(pod.scratch / "signing", text)


@contextmanager
def _explaining(place: Place) -> Iterator[None]:
    """Turns the failure of a command that no server has a part in into a GitError."""
    try:
        yield
    except Failed as failed:
        raise explained(failed.said, place) from None


COMMANDS: Final[Mapping[str, Callable[[Pod], None]]] = {"fetch": _fetch, "publish": _publish, "watch": _watch}


def run(command: str) -> int:
    """Runs a command and returns the exit code."""
    environment, masks = dict(os.environ), Masks()
    masks.add_proxies(environment)
    signal.signal(signal.SIGTERM, _interrupt)
    output = Output(_records(), environment, masks)
    try:
        code = _tried(COMMANDS[command], environment, masks, output)
        output.commit(code)
    except Interrupted:
        code = ExitCode.INTERRUPTED
        output.commit(code)
        if output.has_results:
            # The kubelet deletes the log of a deleted pod soon after its container ends.
            time.sleep(float(environment.get(names.ENV_LINGER_SECONDS, "0")))
    except Mismatch as error:
        code = ExitCode.SCHEMA_MISMATCH
        output.commit(code, WorkerReason.SCHEMA_MISMATCH, str(error))
    except GitError as error:
        code = ExitCode.BAD_INPUT if error.terminal else ExitCode.FAILED
        output.commit(code, error.reason, str(error))
    except Exception as error:
        output.say(traceback.format_exc())
        code = ExitCode.FAILED
        is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = WorkerReason.INFRASTRUCTURE_FAILED if is_full else WorkerReason.WORKER_FAILED
        output.commit(code, reason, f"{type(error).__name__}: {error}")
    return int(code)


def _tried(command: Callable[[Pod], None], environment: Mapping[str, str], masks: Masks, output: Output) -> ExitCode:
    with tempfile.TemporaryDirectory(prefix="swarm-git-") as scratch:
        command(Pod(environment, Path(scratch), masks, output))
    return ExitCode.DONE


def read_request(folder: Path) -> RunRequest:
    """Returns the run's request. Raises Mismatch for another version of the contract, and GitError for a bad spec."""
    text = (folder / names.REQUEST_FILE).read_text(encoding="utf-8")
    version = json.loads(text).get("schemaVersion")
    if version != names.SCHEMA_VERSION:
        raise Mismatch(
            f"the operator's request speaks version {version} of the contract, this git image speaks "
            f"{names.SCHEMA_VERSION}. Use an operator and a git image of the same release."
        )
    try:
        return RunRequest.model_validate_json(text)
    except ValidationError as error:
        told = "; ".join(map(str, problems(error)))
        raise GitError(WorkerReason.INVALID_SPEC, f"{names.REQUEST_FILE}: {told}", terminal=True) from None


def _folder(environment: Mapping[str, str], variable: str, default: os.PathLike[str]) -> Path:
    return Path(environment.get(variable) or default)


def _records() -> Callable[[bytes], object]:
    """Reserves standard output for records. What anything else prints goes to standard error."""
    out = os.dup(1)
    os.set_inheritable(out, False)
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def write(line: bytes) -> None:
        while line:
            line = line[os.write(out, line) :]

    return write


def _interrupt(*_: object) -> NoReturn:
    # A second signal must not disturb the end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted
