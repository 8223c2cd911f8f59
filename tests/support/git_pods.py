"""Pods that fetch or publish: their folders, and their processes as the cluster runs them."""

import atexit
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm_git import snapshot
from swarm_git.command import Access, Git, Patience
from swarm_git.credentials import access_to
from swarm_git.errors import Place
from swarm_git.masking import Masks
from swarm_wire import names
from swarm_wire.messages import Commit, RunRequest, Snapshot
from swarm_wire.pod_output import parse_commit, read
from swarm_wire.records import Record, RecordKind
from swarm_wire.spec.git import GitDestination, GitRepository, GitSource

NONCE = "nonce-of-tests"
FIELDS = {GitSource: "spec.program.source.git", GitDestination: "spec.artifact.git"}
PROGRAM = {"b": {"demos": [{"question": "naïve?", "score": 0.1}]}, "a": 1}
_SCRATCH: list[Path] = []


@atexit.register
def _clean() -> None:
    for folder in _SCRATCH:
        shutil.rmtree(folder, ignore_errors=True)


MARKDOWN = "# Compiled program\n\n| score |\n"


def report(score: float = 85.0, **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "scores": {"baseline": 60.0, "best": score},
        "usage": {"calls": 3, "microUsd": 123456},
        **more,
    }


def request(
    source: Mapping[str, Any] | None = None, destination: Mapping[str, Any] | None = None, run: str = "3f2a91c0"
) -> dict[str, Any]:
    """Returns a run's request, as the operator writes it."""
    program: dict[str, Any] = {"entrypoint": "triage:Triage"}
    return {
        "schemaVersion": 1,
        "runId": run,
        "name": "triage",
        "namespace": "team",
        "spec": {
            "program": {**program, "source": {"git": source}} if source else program,
            "metric": {"entrypoint": "triage:exact"},
            "data": {"inputs": ["ticket"], "train": {"path": "t.jsonl"}, "validation": {"path": "v.jsonl"}},
            "models": {"student": {"model": "openai/small", "endpoint": "http://provider/v1"}},
            "optimizer": {"bootstrapFewShot": {}},
            **({"artifact": {"git": destination}} if destination else {}),
        },
    }


def parsed(request: Mapping[str, Any]) -> RunRequest:
    return RunRequest.model_validate_json(json.dumps(request))


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Writes files as a volume of Kubernetes has them: links into a hidden folder."""
    hidden = folder / "..2026"
    hidden.mkdir(parents=True)
    for name, text in files.items():
        (hidden / name).write_text(text, encoding="utf-8")
        (folder / name).symlink_to(hidden / name)
    return folder


def artifact(folder: Path, program: Any = PROGRAM, markdown: str | None = MARKDOWN, **changed: Any) -> Path:
    """Writes the files of an artifact's ConfigMap.

    Args:
        markdown: the report for people; None if the ConfigMap has none.
        changed: fields of the report.
    """
    files = {"program.json": json.dumps(program), "report.json": json.dumps(report(**changed))}
    return write_files(folder, files if markdown is None else {**files, "report.md": markdown})


def opened(
    repository: GitRepository,
    secret: Path | None = None,
    patience: Patience | None = None,
    access: Access | None = None,
) -> Git:
    """Returns git with access to a repository: by a Secret, or by `access`."""
    masks, scratch = Masks(), Path(tempfile.mkdtemp(prefix="git-test-"))
    _SCRATCH.append(scratch)
    name = repository.secret.name if repository.secret else None
    place = Place(FIELDS[type(repository)], repository.url, name, writes=isinstance(repository, GitDestination))
    return Git(scratch, access or access_to(place, secret, scratch, masks), place, masks, patience)


def unpacked(archive: snapshot.Archive) -> dict[str, bytes]:
    """Returns the content of each file of an archive."""
    return {name: data for name, (_, data) in members(archive.data).items()}


def members(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Returns mode and content of each file of an archive."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return {member.name: (member.mode, tar.extractfile(member).read()) for member in tar}  # type: ignore[union-attr]


@dataclass
class Pod:
    """A pod that has ended."""

    code: int
    commit: Commit
    records: list[Record]
    log: str
    output: str

    @property
    def snapshot(self) -> tuple[Snapshot, bytes]:
        found = [record for record in self.records if record.kind is RecordKind.SNAPSHOT]
        return Snapshot.model_validate(found[0].header), b"".join(record.body for record in found)


@dataclass
class PodFolder:
    """The folders that a pod mounts."""

    root: Path
    more: dict[str, str]
    module: str = "swarm_git"

    @classmethod
    def made(
        cls,
        root: Path,
        request: Mapping[str, Any],
        secret: Mapping[str, str] | None = None,
        key: str | None = None,
        **more: str,
    ) -> "PodFolder":
        (root / "tmp").mkdir(parents=True)
        write_files(root / "run", {names.REQUEST_FILE: json.dumps(request)})
        if secret is not None:
            write_files(root / "credentials", secret)
        if key is not None:
            write_files(root / "signing", {names.SIGNING_FILE: key})
        return cls(root, more)

    @property
    def environment(self) -> dict[str, str]:
        folders = {
            names.ENV_RUN_DIR: "run",
            names.ENV_CREDENTIALS_DIR: "credentials",
            names.ENV_SIGNING_DIR: "signing",
            names.ENV_ARTIFACT_DIR: "artifact",
            names.ENV_TERMINATION_LOG: "termination.log",
            "TMPDIR": "tmp",
        }
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            names.ENV_NONCE: NONCE,
            **{name: str(self.root / folder) for name, folder in folders.items()},
            **self.more,
        }

    def started(self, command: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            (sys.executable, "-m", self.module, command),
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, command: str) -> Pod:
        return self.ended(self.started(command))

    def ended(self, process: "subprocess.Popen[bytes]") -> Pod:
        out, log = process.communicate(timeout=60)
        commit = parse_commit((self.root / "termination.log").read_text(encoding="ascii"), NONCE)
        assert commit is not None
        transcript = read(out.decode().splitlines(), NONCE)
        assert transcript.complete(commit)
        records = [transcript.records[number] for number in sorted(transcript.records)]
        return Pod(process.returncode, commit, records, log.decode(), out.decode())
