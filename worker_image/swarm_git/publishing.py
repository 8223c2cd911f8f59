"""Publishes an artifact: a commit on a branch, or on a branch of its own with a pull request."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from swarm_git import commits, remote
from swarm_git.command import Git
from swarm_git.commits import Artifact, Signature
from swarm_git.errors import not_found, quoted, refused, unreachable
from swarm_wire.messages import Pushed, PushOutcome
from swarm_wire.spec.git import GitDestination

MOST_TRIES = 20
MOST_SECONDS = 300.0
"""After so many rejected pushes or seconds, the pod gives up. Another pod begins again."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Bounds of the pauses between two tries, in seconds. They double, and chance makes each shorter."""


@dataclass(frozen=True)
class Clock:
    """Time, in seconds, and chance. Tests replace them."""

    now: Callable[[], float] = time.time
    passed: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


class _TooLate(Exception):
    """Another push was faster. The text is what git has said."""


@dataclass(frozen=True)
class Publisher:
    """Publishes one artifact.

    Attributes:
        key: file with the private ssh key that signs the commit; None for no signature.
    """

    git: Git
    destination: GitDestination
    artifact: Artifact
    key: Path | None = None
    clock: Clock = Clock()

    def publish(self) -> Pushed:
        """Returns where the artifact is. It may be called again at any time: an artifact gets one commit.

        Raises GitError.
        """
        once = self._to_branch if self.destination.pull_request is None else self._to_own_branch
        begun, pause, said = self.clock.passed(), SHORTEST_PAUSE, ""
        for tried in range(1, MOST_TRIES + 1):
            try:
                return once()
            except _TooLate as late_push:
                said = str(late_push)
            late = self.clock.passed() - begun > MOST_SECONDS
            if tried < MOST_TRIES and not late:
                self.clock.sleep(pause * (0.5 + self.clock.chance() / 2))
                pause = min(LONGEST_PAUSE, 2 * pause)
            if late:
                break
        raise unreachable(
            self.git.place,
            f"others have pushed to {self.destination.branch} of {self.destination.url} so often that {tried} pushes "
            f"came too late. Another attempt follows. git says: {quoted(said)}",
        )

    def _to_branch(self) -> Pushed:
        """Pushes the artifact to the branch itself."""
        branch = self.destination.branch
        tip = self._tip()
        if tip is not None and (found := commits.earlier(self.git, tip, self.artifact)) is not None:
            return self._pushed(PushOutcome.PUSHED, branch, found)
        tree = commits.tree_with(self.git, tip, self.artifact.files)
        if tip is not None and tree == commits.tree_of(self.git, tip):
            return self._pushed(PushOutcome.UNCHANGED, branch, tip)
        commit = self._committed(tree, tip)
        self._push(commit, branch)
        return self._pushed(PushOutcome.PUSHED, branch, commit)

    def _to_own_branch(self) -> Pushed:
        """Pushes the artifact to the Compilation's own branch, with a pull request."""
        head = own_branch(self.artifact.compilation)
        tip = self._tip()
        if tip is None:
            raise not_found(
                self.git.place,
                f"{self.destination.url} has no commit yet, and a pull request needs a branch "
                f"{self.destination.branch} to be merged into. Push a first commit",
            )
        if (found := commits.earlier(self.git, tip, self.artifact)) is not None:  # the pull request is merged
            return self._pushed(PushOutcome.PUSHED, self.destination.branch, found)
        tree = commits.tree_with(self.git, tip, self.artifact.files)
        if tree == commits.tree_of(self.git, tip):
            return self._pushed(PushOutcome.UNCHANGED, self.destination.branch, tip)
        old = remote.fetched(self.git, head, depth=2)
        if old is not None and not commits.made_by_us(self.git, old, self.artifact):
            raise refused(
                replace(self.git.place, wanted=f"the branch {head}"),
                f"the branch {head} of {self.destination.url} ends with the commit {old[:12]}, which is not from "
                "dspy-swarm. A push would drop it. Merge or delete that branch",
            )
        commit = self._reusable(old, tip) or self._committed(tree, tip)
        if commit != old:
            self._push(commit, head, instead_of=old or "")
        return self._pushed(PushOutcome.PUSHED, head, commit, self._pull_request(head))

    def _push(self, commit: str, branch: str, instead_of: str | None = None) -> None:
        """Pushes a commit as `remote.push` does. Raises _TooLate if another push was faster."""
        if (said := remote.push(self.git, commit, branch, instead_of)) is not None:
            raise _TooLate(said)

    def _tip(self) -> str | None:
        """Returns the branch's newest commit; None if the repository is empty."""
        branch = self.destination.branch
        tip = remote.fetched(self.git, branch)
        if tip is None and (there := remote.named(self.git, "heads")):
            raise not_found(
                self.git.place,
                f"{self.destination.url} has no branch {branch}. It has: {there}. Correct "
                f"{self.git.place.field}.branch, or push such a branch",
            )
        return tip

    def _committed(self, tree: str, parent: str | None) -> str:
        author = self.destination.author
        by = Signature(author.name, author.email, int(self.clock.now()), self.key)
        return commits.commit_tree(self.git, tree, parent, self.artifact.message, by)

    def _reusable(self, old: str | None, base: str) -> str | None:
        """Returns the own branch's commit if this run has made it of this artifact on the same base."""
        if old is None or self.git.text("log", "-1", "--format=%P", old) != base:
            return None
        return commits.earlier(self.git, f"{base}..{old}", self.artifact)

    def _pull_request(self, head: str) -> str:
        from swarm_git.pull_requests import open_or_update

        access = self.git.access
        title, body = self.artifact.title, self.artifact.markdown
        return open_or_update(self.destination, access.token, head, title, body, ca_file=access.ca_file)

    def _pushed(self, outcome: PushOutcome, branch: str, commit: str, pull_request: str | None = None) -> Pushed:
        return Pushed(
            sha256=self.artifact.sha256,
            outcome=outcome,
            url=self.destination.url,
            branch=branch,
            commit=commit,
            pull_request=pull_request,
        )


def own_branch(compilation: str) -> str:
    """Returns the branch for the pull requests of a Compilation.

    Args:
        compilation: namespace and name, as `Artifact.compilation`.
    """
    # git reserves the ending .lock. No name in Kubernetes has an underscore, so two names never become one.
    parts = [f"{part}_" if part.endswith(".lock") else part for part in compilation.split("/")]
    return "/".join(("dspy", *parts))
