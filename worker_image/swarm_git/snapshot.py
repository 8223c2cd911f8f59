"""Fetches the files of one commit, and packs them as an archive that is the same for the same files."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace

from swarm_git import remote, tree
from swarm_git.command import Failed, Git
from swarm_git.errors import GitError, explained, invalid, not_found
from swarm_wire.messages import Snapshot
from swarm_wire.records import Record, RecordKind
from swarm_wire.snapshots import MOST_PACKED, PART_BYTES
from swarm_wire.spec.git import GitRef, GitSource

TRIES = 3
"""A commit may be deleted between the server's list of branches and its answer, if a branch is pushed by force."""
_COMMIT = "refs/swarm/source"
NAMES = ("--filter=blob:none",)
"""With this option, a fetch gets names of files, but not the files: the rest of a repository may be very large."""
_AGAIN = ("--refetch", "--no-filter")
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")


@dataclass(frozen=True)
class Archive:
    """The fetched files.

    Attributes:
        commit: id of the commit.
        data: a .tar.gz archive. Its paths are relative to the source's folder.
        files: number of files.
        notes: what is left out, as sentences for people.
    """

    url: str
    commit: str
    data: bytes
    files: int
    notes: list[str]

    def records(self) -> Iterator[Record]:
        """Yields the records that carry the archive."""
        bodies = [self.data[start : start + PART_BYTES] for start in range(0, len(self.data), PART_BYTES)]
        for part, body in enumerate(bodies):
            header = Snapshot(
                url=self.url,
                revision=self.commit,
                part=part,
                parts=len(bodies),
                sha256=hashlib.sha256(self.data).hexdigest(),
                files=self.files,
                notes=self.notes,
            )
            yield Record(RecordKind.SNAPSHOT, header.to_header(), body)


def fetch(git: Git, source: GitSource) -> Archive:
    """Fetches a commit and returns its files. Raises GitError."""
    commit = fetched(git, source, *(() if source.path is None else NAMES))
    if source.path is not None and not _fetch_folder(git, source.url, tree.folder_of(git, commit, source.path)):
        commit = fetched(git, source, *_AGAIN)
    found = tree.files_of(git, commit, source.path)
    content = tree.contents(git, found.entries)
    files = tree.without_pointers(found, content)
    data = _packed(files.entries, content)
    if len(data) > MOST_PACKED:
        raise invalid(
            git.place,
            f"the files of {source.url} have {len(data) / 2**20:.1f} MiB when packed, more than "
            f"{MOST_PACKED // 2**20} MiB. The largest: {tree.largest(files.entries)}. Name a smaller folder in "
            f"{git.place.field}.path, and read large data from spec.data",
        )
    return Archive(source.url, commit, data, len(files.entries), files.notes)


def fetched(git: Git, source: GitSource, *options: str) -> str:
    """Fetches one commit without its history, and returns its id."""
    name, wanted = _named(source.ref)
    place = replace(git.place, wanted=wanted)
    for left in reversed(range(TRIES)):
        try:
            # One command resolves the name and fetches what it means, so nobody can move the branch in between.
            git.run(*_FETCH, "--depth=1", "--force", *options, source.url, f"{name}:{_COMMIT}")
            break
        except Failed as failed:
            is_id = source.ref is not None and source.ref.commit is not None
            if "couldn't find remote ref" in failed.said and (there := _there(git, source)):
                what = f"{source.url} does not have {wanted}. It has: {there}. Correct {git.place.field}.ref"
                raise not_found(git.place, what) from None
            if not left or is_id or "not our ref" not in failed.said:
                raise explained(failed.said, place) from None
    try:
        return git.text("rev-parse", "--verify", "--quiet", f"{_COMMIT}^{{commit}}")
    except Failed:
        raise not_found(place, f"{wanted} of {source.url} is no commit") from None


def _there(git: Git, source: GitSource) -> str:
    """Returns the names of branches or tags, for people. It is empty without any, or if the server is no git server."""
    is_tag = source.ref is not None and source.ref.tag is not None
    try:
        return remote.named(git, "tags" if is_tag else "heads")
    except GitError:
        return ""


def _fetch_folder(git: Git, url: str, folder: str) -> bool:
    """Fetches the files below a folder in one request; git itself would make a request for each file.

    Returns whether the server gives out files by their ids.
    """
    wanted = "".join(f"{blob}\n" for blob in tree.blobs_of(git, folder)).encode()
    try:
        # git must not tell the server of the commit, because the server would believe that its files are here.
        git.run("-c", "fetch.negotiationAlgorithm=noop", *_FETCH, *NAMES, "--stdin", url, stdin=wanted)
    except Failed:
        return False
    return True


def _named(ref: GitRef | None) -> tuple[str, str]:
    """Returns the name of a commit on the server, and what it is, for people."""
    if ref is None:
        return "HEAD", "a default branch with a commit"
    if ref.branch is not None:
        return f"refs/heads/{ref.branch}", f"the branch {ref.branch} (ref.branch)"
    if ref.tag is not None:
        return f"refs/tags/{ref.tag}", f"the tag {ref.tag} (ref.tag)"
    return str(ref.commit), f"the commit {ref.commit} (ref.commit)"


def _packed(entries: list[tree.Entry], content: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            member = tarfile.TarInfo(entry.path)
            member.size = entry.size
            member.mode = 0o755 if entry.mode == tree.EXECUTABLE else 0o644
            archive.addfile(member, io.BytesIO(content[entry.blob]))
    return gzip.compress(raw.getvalue(), 9, mtime=0)
