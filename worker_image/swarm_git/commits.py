"""Makes the files and the commit of an artifact, on top of another commit. Nothing is checked out."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from swarm_git.command import Failed, Git
from swarm_git.errors import Place, credentials_rejected, refused
from swarm_wire import names
from swarm_wire.messages import RunRequest
from swarm_wire.report import Report
from swarm_wire.spec.git import GitDestination
from swarm_wire.spending import MICRO

COMMITTER: Final = ("dspy-swarm", "dspy-swarm@users.noreply.dspy-swarm.dev")
COMPILATION, RUN_ID, ARTIFACT = "DSPyCompilation", "Run-Id", "Artifact-SHA256"
"""Trailers by which a pod finds the commit of its artifact."""
_FILE, _EXECUTABLE, _FOLDER, _SYMLINK = "100644", "100755", "040000", "120000"
_REMOVED: Final = f"0 {'0' * 40}"
"""Mode and id with which `git update-index` removes a file."""


@dataclass(frozen=True)
class Artifact:
    """What a run publishes.

    Attributes:
        sha256: that of the program file. The file has the same bytes in git and in the artifact's ConfigMap.
        files: content by path in the repository; None for a file that must not be there.
        message: the commit's message, with its trailers.
        markdown: the report for people.
    """

    compilation: str
    run_id: str
    sha256: str
    files: Mapping[str, bytes | None]
    message: str
    markdown: str

    @property
    def title(self) -> str:
        return self.message.partition("\n")[0]


def read_artifact(destination: GitDestination, request: RunRequest, folder: Path) -> Artifact:
    """Returns the artifact of a run.

    Args:
        folder: has the artifact's files, under their names in the ConfigMap.

    Raises OSError if a file is missing, ValueError if one is not as the worker has written it.
    """
    program, report = ((folder / name).read_bytes() for name in (names.PROGRAM_FILE, names.REPORT_FILE))
    markdown = folder / names.MARKDOWN_FILE
    told = markdown.read_bytes() if markdown.exists() else b""
    digest = sha256(program).hexdigest()
    files = {
        # DSPy writes a demonstration's dict into the prompt in the order of its keys, so they must not be sorted.
        names.PROGRAM_FILE: program,
        names.REPORT_FILE: _sorted(report),
        names.MARKDOWN_FILE: told or None,
    }
    facts = _Facts(request, Report.model_validate_json(report), digest)
    return Artifact(
        compilation=facts.compilation,
        run_id=request.run_id,
        sha256=digest,
        files={f"{destination.path}/{name}": data for name, data in files.items()},
        message=facts.message(destination.message),
        markdown=told.decode(errors="replace"),
    )


def _sorted(data: bytes) -> bytes:
    """Returns JSON in the form in which two versions of it differ only where their values differ."""
    value: Any = json.loads(data)
    try:
        return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can express
        return (json.dumps(value, sort_keys=True, indent=2) + "\n").encode()


@dataclass(frozen=True)
class _Facts:
    request: RunRequest
    report: Report
    sha256: str

    @property
    def compilation(self) -> str:
        """Returns namespace and name of the Compilation."""
        return "/".join(filter(None, (self.request.namespace, self.request.name)))

    def message(self, template: str) -> str:
        """Returns the template with its fields replaced, and then the trailers."""
        scores = self.report.scores
        has_test = scores.test_winner is not None
        score = _figure(scores.test_winner if has_test else scores.best)
        baseline = _figure(scores.test_baseline if has_test else scores.baseline)
        fields = {
            "name": self.request.name,
            "namespace": self.request.namespace,
            "run": self.request.run_id,
            "score": score,
            "baseline": baseline,
        }
        # All fields are replaced at once, so a replaced value is never read as a template.
        text = re.sub(r"\{(\w+)\}", lambda match: fields.get(match[1], match[0]), template)
        text = text.replace("\0", "").strip() or f"Compile {self.request.name}"
        return f"{text}\n\n" + "".join(f"{line}\n" for line in self._trailers(score, baseline))

    def _trailers(self, score: str, baseline: str) -> Iterator[str]:
        yield f"{COMPILATION}: {self.compilation}"
        yield f"{RUN_ID}: {self.request.run_id}"
        yield f"Score: {score}"
        yield f"Baseline: {baseline}"
        if self.report.usage.micro_usd is not None:
            yield f"Cost-USD: {self.report.usage.micro_usd / MICRO:.4f}"
        yield f"{ARTIFACT}: {self.sha256}"


def _figure(score: float | None) -> str:
    return "unknown" if score is None else f"{score:.2f}"


def earlier(git: Git, start: str, artifact: Artifact) -> str | None:
    """Returns the commit in a history with which this run has published this artifact; None if there is none.

    A run that goes on after a limit has ended it publishes a second artifact.
    """
    form = "%x09".join(("%H", *map(_trailer, (RUN_ID, COMPILATION, ARTIFACT))))
    for line in git.text("log", "--no-show-signature", f"--format={form}", start).splitlines():
        commit, *found = line.split("\t")
        if found == [artifact.run_id, artifact.compilation, artifact.sha256]:
            return commit
    return None


def made_by_us(git: Git, commit: str, artifact: Artifact) -> bool:
    """Whether a run of this Compilation has made the commit."""
    told = git.text("log", "-1", "--no-show-signature", f"--format={_trailer(COMPILATION)}", commit)
    return told == artifact.compilation


def _trailer(key: str) -> str:
    """Returns the place of a trailer's value in a format of `git log`."""
    return f"%(trailers:key={key},valueonly,separator=%x2C)"


def tree_with(git: Git, parent: str | None, files: Mapping[str, bytes | None]) -> str:
    """Returns the id of the parent's tree with these files in it. Raises GitError if something is in their place.

    Args:
        files: as in Artifact.
    """
    if parent is not None:
        _check_places(git, parent, files)
    index = {"GIT_INDEX_FILE": "index"}
    git.run("read-tree", *([parent] if parent else ["--empty"]), more=index)
    lines = []
    for path, data in files.items():
        if data is None:
            lines.append(f"{_REMOVED}\t{path}\0")
        else:
            blob = git.text("hash-object", "-w", "--no-filters", "--stdin", stdin=data)
            lines.append(f"{_FILE} {blob}\t{path}\0")
    git.run("update-index", "--add", "-z", "--index-info", stdin="".join(lines).encode(), more=index)
    # Other files' contents are not fetched, so git must not look for them.
    return git.text("write-tree", "--missing-ok", more=index)


def tree_of(git: Git, commit: str) -> str:
    return git.text("rev-parse", "--verify", f"{commit}^{{tree}}")


def _check_places(git: Git, parent: str, files: Iterable[str]) -> None:
    """Raises GitError unless each path is that of a file or missing, and its folders are folders or missing."""
    parts = [path.split("/") for path in files]
    folders = {"/".join(names[:end]) for names in parts for end in range(1, len(names))}
    paths = [*sorted(folders), *files]
    out = git.run("--literal-pathspecs", "ls-tree", "-z", parent, "--", *paths).decode(errors="surrogateescape")
    for line in filter(None, out.split("\0")):
        meta, _, there = line.partition("\t")
        mode = meta.split()[0]
        is_folder = there in folders
        if there in paths and mode not in ((_FOLDER,) if is_folder else (_FILE, _EXECUTABLE)):
            needed = "a folder" if is_folder else "a file"
            kind = {_FILE: "a file", _EXECUTABLE: "a file", _FOLDER: "a folder", _SYMLINK: "a symbolic link"}
            raise refused(
                git.place,
                f"{there} in {git.place.url} is {kind.get(mode, 'a submodule')}, and the artifact needs {needed} "
                f"in its place. Move it, or name another folder in {git.place.field}.path",
            )


@dataclass(frozen=True)
class Signature:
    """Who makes a commit, and when.

    Attributes:
        time: seconds since 1970.
        key: file with the private ssh key that signs commits; None for no signature.
    """

    name: str
    email: str
    time: int
    key: Path | None = None


def commit_tree(git: Git, tree: str, parent: str | None, message: str, by: Signature) -> str:
    """Returns the id of a new commit. Raises GitError if it cannot be signed."""
    date = f"@{by.time} +0000"
    people = {"GIT_AUTHOR_NAME": by.name, "GIT_AUTHOR_EMAIL": by.email, "GIT_AUTHOR_DATE": date}
    people |= {"GIT_COMMITTER_NAME": COMMITTER[0], "GIT_COMMITTER_EMAIL": COMMITTER[1], "GIT_COMMITTER_DATE": date}
    parents = ("-p", parent) if parent else ()
    signing = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={by.key}") if by.key else ()
    sign = ("-S",) if by.key else ()
    try:
        return git.text(*signing, "commit-tree", *sign, *parents, tree, stdin=message.encode(), more=people)
    except Failed as failed:
        if not by.key:
            raise
        raise _unsigned(git.place, failed.said) from None


def _unsigned(place: Place, said: str) -> Exception:
    return credentials_rejected(
        place,
        f"the commit cannot be signed with the key in {place.field}.signingKey.secret. It must be a private ssh key "
        f"without a passphrase. ssh-keygen says: {said.strip()[-300:]}",
    )
