"""The branches of the remote repository: their commits, and pushes to them."""

import re
from dataclasses import replace
from hashlib import sha256
from typing import Final, Literal

from swarm_git.command import Failed, Git
from swarm_git.errors import IN_THE_WAY, explained

DEPTH = 100
"""How many commits of a branch's history are fetched. Among them, the pod looks for the commit of its own artifact."""
NAMED: Final = 10
"""A message names so many branches or tags."""
_TOO_LATE: Final = re.compile(
    r"fetch first|non-fast-forward|stale info|cannot lock ref|failed to lock|failed to update ref|unable to lock"
    r"|incorrect old value|reference already exists|is at [0-9a-f]+ but expected|remote ref updated since checkout",
    re.IGNORECASE,
)


def fetched(git: Git, branch: str, depth: int = DEPTH) -> str | None:
    """Fetches a branch's commits and folders without its files. Returns its newest commit; None without the branch.

    Raises GitError.
    """
    # One branch may have the name of another one's folder.
    here = f"refs/swarm/{sha256(branch.encode()).hexdigest()[:16]}"
    # A server that knows no filter ignores it.
    options = ("--quiet", f"--depth={depth}", "--filter=blob:none", "--no-tags", "--force", "--no-write-fetch-head")
    try:
        git.run("fetch", *options, git.place.url, f"refs/heads/{branch}:{here}")
    except Failed as failed:
        if "couldn't find remote ref" in failed.said:
            return None
        raise explained(failed.said, git.place) from None
    return git.text("rev-parse", "--verify", here)


def named(git: Git, kind: Literal["heads", "tags"]) -> str:
    """Returns the names of the branches (heads) or tags, as a list for people. It is empty without any.

    Raises GitError.
    """
    lines = git.asked("ls-remote", "--refs", f"--{kind}", git.place.url).decode(errors="replace").splitlines()
    names = [line.partition(f"\trefs/{kind}/")[2] for line in lines]
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")


def push(git: Git, commit: str, branch: str, instead_of: str | None = None) -> str | None:
    """Pushes a commit to a branch. Returns what git has said if the branch has moved meanwhile; None for success.

    Args:
        instead_of: the commit that the branch must have, or "" for no branch; it is replaced by force. None: the
            branch's commits must all be ancestors of the new one.

    Raises GitError.
    """
    ref = f"refs/heads/{branch}"
    lease = () if instead_of is None else (f"--force-with-lease={ref}:{instead_of}",)
    try:
        git.run("push", "--porcelain", "--quiet", *lease, git.place.url, f"{commit}:{ref}")
    except Failed as failed:
        said = failed.out.decode(errors="replace") + failed.said
        if _TOO_LATE.search(said) and not IN_THE_WAY.search(said):
            return said
        raise explained(said, replace(git.place, wanted=f"the branch {branch}")) from None
    return None
