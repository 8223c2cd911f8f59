"""Opens a pull request for a branch, or gives the open one a new text. There is never a second one."""

import time
from pathlib import Path

from swarm_git.cutting import fitting
from swarm_git.errors import GitError, Place, credentials_rejected, not_found, refused
from swarm_git.http_api import PAUSES, Refusal
from swarm_git.providers.dialect import Dialect, Text
from swarm_git.providers.gitea import Gitea
from swarm_git.providers.github import GitHub
from swarm_git.providers.gitlab import GitLab
from swarm_wire.names import MARKDOWN_FILE, WorkerReason
from swarm_wire.spec.git import GitDestination
from swarm_wire.words import sentence

DIALECTS: dict[str, type[Dialect]] = {"github": GitHub, "gitlab": GitLab, "gitea": Gitea}
"""By the value of `pullRequest.provider`."""
MOST_OF_A_TITLE = 255
"""Characters. GitHub takes 256, GitLab and Gitea 255."""
_LACKS = ("SAML", "insufficient_scope", "higher privileges", "required scope", "not accessible by")
"""In the words of a 403, these say that the token lacks something. Otherwise the repository forbids it to everybody."""


def open_or_update(
    destination: GitDestination, token: str, head: str, title: str, body: str, *, ca_file: Path | None = None
) -> str:
    """Makes the text of the open request from a branch to `destination.branch`, and opens it if there is none.

    Other processes may do the same at the same time. If one of them wins, its request gets this text.

    Args:
        destination: has `pull_request`.
        token: may read and write pull requests of the repository.
        head: branch of the same repository, already pushed.
        title: one line.
        body: Markdown. If it is too long for the provider, it is cut at the end of a line, and says so.
        ca_file: certificates to trust in place of the system's.

    Returns:
        URL of the request, for people.

    Raises:
        GitError: the server refuses, or cannot be reached.
    """
    if destination.pull_request is None:
        raise ValueError("the destination has no pullRequest")
    kind = DIALECTS[destination.pull_request.provider]
    api, base = destination.pull_request.api, destination.branch
    rest = f"This text is cut. `{destination.path}/{MARKDOWN_FILE}` in the branch `{head}` has the whole report."
    text = Text(_fitting_title(title), fitting(body, kind.most, rest))
    secret = destination.secret.name if destination.secret else None
    place = Place("spec.artifact.git", destination.url, secret, f"a pull request from {head} to {base}", writes=True)
    last: Refusal | None = None
    try:
        dialect = kind(place, api, token.strip(), ca_file)
        for pause in (*PAUSES, None):
            try:
                if url := _once(dialect, head, base, text):
                    return url
            except Refusal as refusal:
                if not _is_overtaken(refusal):
                    raise
                last = refusal
            if pause is not None:
                time.sleep(pause)
    except Refusal as refusal:
        raise _explained(refusal, kind, place) from refusal
    fault = f"other processes open, change or close {place.wanted} all the time{_remark(last)}"
    raise GitError(WorkerReason.GIT_REFUSED, f"{place.field}: {sentence(fault)}", terminal=False) from last


def _once(dialect: Dialect, head: str, base: str, text: Text) -> str | None:
    """Returns the URL; None if somebody has closed the request since it was found."""
    made, found = None, set(dialect.find(head, base))
    if not found:
        made = dialect.open(head, base, text)
        found = {made, *dialect.find(head, base)}
    # Gitea can open two if two processes ask at the same moment. All processes keep the same one: the oldest.
    kept, *others = sorted(found, key=lambda each: each.number)
    for other in others:
        dialect.close(other.number)
    if kept != made:
        kept = dialect.update(kept.number, text)
    return kept.url if kept.is_open else None


def _is_overtaken(refusal: Refusal) -> bool:
    """Returns whether another process has just opened or changed the request, so that a second look finds it."""
    return refusal.status == 409 or (refusal.status == 422 and "already exists" in refusal.said)


def _explained(refusal: Refusal, kind: type[Dialect], place: Place) -> GitError:
    """Returns what people can do about a refusal."""
    said, token = _remark(refusal), f"the token in {place.held} (key {kind.keys})"
    if refusal.status == 401:
        return credentials_rejected(place, f"{kind.name} rejects {token} for {place.url}{said}. {kind.right}")
    if refusal.status == 403 and any(sign in refusal.said for sign in _LACKS):
        return credentials_rejected(place, f"{token} may not open {place.wanted} at {place.url}{said}. {kind.right}")
    if refusal.status == 403:
        return refused(place, f"{kind.name} forbids {place.wanted} at {place.url}{said}. {kind.right}")
    if refusal.status == 404:
        return not_found(
            place,
            f"{kind.name} has no repository {place.url}, or lacks one of the branches of {place.wanted}, or hides them "
            f"from {token}{said}. {kind.right} If all this is right, check {place.field}.pullRequest",
        )
    if refusal.status < 400:
        return refused(
            place,
            f"the API of {kind.name} is at another address now{said}. The token never follows it there. Write the new "
            f"address into {place.field}.url or {place.field}.pullRequest.api",
        )
    return refused(place, f"{kind.name} refuses {place.wanted} at {place.url}{said or f' ({refusal.status})'}")


def _remark(refusal: Refusal | None) -> str:
    """Returns what the server itself says, as the end of a sentence; empty if it says nothing."""
    said = refusal.said.rstrip(" .") if refusal else ""
    return f". The server says: {said}" if said else ""


def _fitting_title(title: str) -> str:
    line = " ".join(title.split())
    return line if len(line) <= MOST_OF_A_TITLE else f"{line[: MOST_OF_A_TITLE - 1]}…"
