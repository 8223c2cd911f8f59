"""Finds out whether the watched files of a branch have changed. It fetches their names and ids, but not the files."""

import hashlib

from swarm_git import snapshot
from swarm_git.command import Git
from swarm_git.errors import not_found
from swarm_wire.looks import Watch, Watched


def look(git: Git, watch: Watch) -> Watched:
    """Returns the branch's newest commit, and a digest of the watched files in it. Raises GitError."""
    commit = snapshot.fetched(git, watch.source, *snapshot.NAMES)
    digest, found = hashlib.sha256(), False
    for line in git.parts("--literal-pathspecs", "ls-tree", "-r", "-z", commit, "--", *watch.paths):
        path = line.partition(b"\t")[2].decode(errors="surrogateescape")
        if not any(path == place or path.startswith(f"{place}/") for place in watch.without):
            digest.update(line + b"\0")
            found = True
    if not found:
        paths = ", ".join(watch.paths) or "files"
        raise not_found(git.place, f"{watch.source.url} has no {paths} in commit {commit}. Correct spec.git.paths")
    return Watched(commit=commit, digest=digest.hexdigest())
