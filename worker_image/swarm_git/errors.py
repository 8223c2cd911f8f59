"""Errors of git and of git servers, in words that tell people what to do."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from swarm_wire.names import WorkerReason
from swarm_wire.words import sentence

IN_THE_WAY: Final = re.compile(
    r"exists; cannot create|there are still refs under|directory/file conflict|refname conflict", re.IGNORECASE
)
"""What git says if a branch has the name of another one's folder."""
QUOTED_LINES = 4
"""A message about an unknown failure quotes so many of the last lines that git has printed."""
QUOTED_CHARACTERS = 600
_NOISE = re.compile(r"\s*(hint: |warning: |POST |Total |To |Done$|and the repository exists\.|Please make sure )")


class GitError(Exception):
    """The files cannot be fetched, or the artifact cannot be published.

    Args:
        reason: the reason that the commit record and a condition repeat.
        message: says what is wrong, where, and what to do. It contains no secret.
        terminal: whether another attempt would end in the same way.
    """

    def __init__(self, reason: WorkerReason, message: str, terminal: bool) -> None:
        super().__init__(message)
        self.reason, self.terminal = reason, terminal


@dataclass(frozen=True)
class Place:
    """What a message says about the repository.

    Attributes:
        field: path of the repository in the spec: "spec.program.source.git" or "spec.artifact.git".
        url: the repository's URL.
        secret: name of the Secret with the credentials; None without one.
        wanted: what the process looks for in the repository, such as "the branch main".
        writes: whether the process pushes.
    """

    field: str
    url: str
    secret: str | None = None
    wanted: str = "the repository"
    writes: bool = False

    @property
    def held(self) -> str:
        """Returns where the credentials are, for people."""
        return f"the Secret {self.secret} ({self.field}.secret)" if self.secret else f"{self.field}.secret"


def credentials_rejected(place: Place, what: str) -> GitError:
    """Returns the error of credentials that cannot be used, or that the server does not accept."""
    return GitError(WorkerReason.GIT_CREDENTIALS_REJECTED, f"{place.field}: {sentence(what)}", terminal=True)


def missing_secret(field: str, name: str | None, key: str | None = None) -> GitError:
    """Returns the error of a Secret that does not exist, or holds nothing. It may be created later.

    Args:
        field: path of the field in the spec that names the Secret.
        key: the only key that is needed; None if several keys would do.
    """
    lacking = "it is empty" if key is None else f"its key {key} is missing or empty"
    return GitError(
        WorkerReason.MISSING_SECRET,
        f"{field}: there is no Secret {name}, or {lacking}. Create it; another attempt follows.",
        terminal=False,
    )


def not_found(place: Place, what: str) -> GitError:
    return GitError(WorkerReason.GIT_NOT_FOUND, f"{place.field}: {sentence(what)}", terminal=True)


def refused(place: Place, what: str) -> GitError:
    """Returns the error of a push that the server, or this program, does not allow."""
    return GitError(WorkerReason.GIT_REFUSED, f"{place.field}: {sentence(what)}", terminal=True)


def edited(place: Place) -> GitError:
    """Returns the error of an artifact that is not the one that the run has found."""
    return GitError(
        WorkerReason.GIT_REFUSED,
        f"{place.field}: somebody has edited the artifact's ConfigMap, so nothing was pushed. Delete it, and "
        "the operator writes it again; another attempt follows.",
        terminal=False,
    )


def unreachable(place: Place, what: str) -> GitError:
    return GitError(WorkerReason.GIT_UNREACHABLE, f"{place.field}: {sentence(what)}", terminal=False)


def invalid(place: Place, what: str) -> GitError:
    """Returns the error of fetched files that cannot be a program's."""
    return GitError(WorkerReason.SOURCE_INVALID, f"{place.field}: {sentence(what)}", terminal=True)


def _unauthorized(place: Place, _: str) -> GitError:
    if place.secret is None:
        return credentials_rejected(
            place,
            f"the server of {place.url} wants credentials. Name a Secret in {place.field}.secret. If the repository is "
            "public, check the URL: some servers ask for credentials if they have no such repository",
        )
    return credentials_rejected(
        place,
        f"the server of {place.url} refuses the credentials in {place.held}. The token or password is wrong or "
        "expired, or it has no access to this repository. Put a valid one into the Secret",
    )


def _forbidden(place: Place, said: str) -> GitError:
    if place.secret is None:
        return _unauthorized(place, said)
    right = "write to" if place.writes else "read"
    return credentials_rejected(
        place,
        f"the server of {place.url} does not let the credentials in {place.held} {right} the repository. Give them the "
        f"right to {right} it (GitHub: contents; GitLab: {right.split()[0]}_repository), or use others"
        f"{_remark(said)}",
    )


def _no_repository(place: Place, said: str) -> GitError:
    shown = f" to the credentials in {place.held}" if place.secret else " without credentials"
    return not_found(
        place,
        f"the server has no repository {place.url}, or does not show it{shown}. Check {place.field}.url, and what the "
        f"credentials may read{_remark(said)}",
    )


def _unknown_host_key(place: Place, _: str) -> GitError:
    return credentials_rejected(
        place,
        f"the ssh key of the host of {place.url} is not among the known_hosts of {place.held}. Either the host has a "
        "new key, or another machine answers in its place. Compare the key with the one that the host's owner "
        "publishes, then put the output of `ssh-keyscan HOST` (with -p PORT for another port) into the key known_hosts",
    )


def _ssh_refused(place: Place, _: str) -> GitError:
    return credentials_rejected(
        place,
        f"the server of {place.url} does not accept the ssh key in the key identity of {place.held}. Add its public "
        f"key to the repository as a deploy key{' with the right to write' if place.writes else ''}, and check the "
        "user in the URL (usually git@)",
    )


def _bad_identity(place: Place, _: str) -> GitError:
    return credentials_rejected(
        place,
        f"the key identity of {place.held} is no private ssh key that ssh can read. Put the whole file into it, with "
        "its first and last lines",
    )


def _certificate(place: Place, said: str) -> GitError:
    return credentials_rejected(
        place,
        f"the certificate of the server of {place.url} cannot be verified. If the server has a CA of your own, put "
        f"the CA's certificate into the key ca.crt of {place.held}. Otherwise another machine may answer in its "
        f"place, or the certificate has expired. git says: {quoted(said)}",
    )


def _no_ref(place: Place, _: str) -> GitError:
    return not_found(
        place,
        f"{place.url} does not have {place.wanted}. Check the spelling in {place.field}, and whether its url is that "
        "of a git repository",
    )


def _unadvertised(place: Place, _: str) -> GitError:
    return not_found(
        place,
        f"the server of {place.url} does not give out {place.wanted} by its id. Name a branch or a tag, or allow it on "
        "the server (uploadpack.allowReachableSHA1InWant)",
    )


def _moved(place: Place, _: str) -> GitError:
    return not_found(
        place,
        f"the server says that {place.url} is at another address now. Credentials never follow it there. Write the new "
        f"address into {place.field}.url; often it only lacks .git at its end, or has https in place of http",
    )


def _unanswered(place: Place, said: str) -> GitError:
    return unreachable(
        place,
        f"the server of {place.url} does not answer as it should: {sentence(quoted(said))} Another attempt follows. If "
        "that does not help, check the host in the URL, the proxy, and the network policies of the namespace",
    )


def _hook(place: Place, said: str) -> GitError:
    return refused(
        place,
        f"the server of {place.url} refuses the push to {place.wanted}{_remark(said)}. If the branch is protected, let "
        f"the credentials push to it, name another branch, or set {place.field}.pullRequest",
    )


def _in_the_way(place: Place, said: str) -> GitError:
    if found := re.search(r"'refs/heads/([^']+)' exists; cannot create", said, re.IGNORECASE):
        there, it = f"has a branch {found[1]}", f"the branch {found[1]}"
    else:
        name = place.wanted.removeprefix("the branch ")
        above = name.split("/")[:-1]
        folders = ["/".join(above[:end]) for end in range(1, len(above) + 1)]
        named = f"is {' or '.join(folders)}, or begins with {name}/" if folders else f"begins with {name}/"
        there, it = f"has a branch whose name {named}", "that branch"
    return refused(place, f"{place.url} {there}, so git cannot make {place.wanted}. Rename or delete {it}")


def _full(place: Place, _: str) -> GitError:
    return GitError(
        WorkerReason.INFRASTRUCTURE_FAILED,
        f"{place.field}: the pod has no disk space left for {place.url}. Another attempt follows. If that does not "
        "help, give the nodes more ephemeral storage, or move the files to a smaller repository.",
        terminal=False,
    )


def _no_user(place: Place, said: str) -> GitError:
    return GitError(
        WorkerReason.INFRASTRUCTURE_FAILED,
        f"{place.field}: ssh does not run in this image: {quoted(said)}. The image's /etc/passwd needs a line for the "
        "uid of the pod; our image has one for 65532.",
        terminal=False,
    )


def _other_ids(place: Place, _: str) -> GitError:
    make = refused if place.writes else invalid
    return make(place, f"{place.url} has ids of SHA-256. Only repositories with SHA-1 ids can be used, the usual kind")


_RULES: Final[tuple[tuple[str, Callable[[Place, str], GitError]], ...]] = (
    (r"no space left on device|disk quota exceeded|file too large", _full),
    (r"no user exists for uid", _no_user),
    (r"rate limit|too many requests|error: 429", _unanswered),
    (r"host key verification failed|remote host identification has changed|host key is known", _unknown_host_key),
    (r"load key .*(error in libcrypto|invalid format|incorrect passphrase)", _bad_identity),
    (r"permission denied \(|too many authentication failures", _ssh_refused),
    (
        r"certificate verif|ssl certificate|peer certificate|certificate subject name|error setting certificate"
        r"|problem with the ssl ca cert|self.signed certificate",
        _certificate,
    ),
    (
        r"error: 401|authentication failed|could not read (username|password)|terminal prompts disabled"
        r"|invalid credentials|bad credentials",
        _unauthorized,
    ),
    (r"error: 403|permission to \S+ denied|write access to repository not granted|key.* read.only", _forbidden),
    (r"error: 30[12378]|update url base from redirection", _moved),
    (
        r"error: 404|error: 410|repository not found|repository '.*' not found"
        r"|does not appear to be a git repository|project you were looking for could not be found",
        _no_repository,
    ),
    (r"unadvertised object", _unadvertised),
    (r"couldn't find remote ref|not our ref|invalid refspec|no such remote ref|remote branch .* not found", _no_ref),
    (r"mismatched algorithms|unsupported object format|unknown object format", _other_ids),
    (IN_THE_WAY.pattern, _in_the_way),
    (
        r"protected branch|pre-receive hook declined|hook declined|not allowed to push|gh00\d|branch is currently "
        r"checked out|denyupdating|deny updating|funny refname|\(prohibited|deletion prohibited|read.only",
        _hook,
    ),
    (
        r"resolve host|name or service not known|temporary failure in name|connection (refused|reset|closed)"
        r"|failed to connect|couldn't connect|timed out|timeout|too slow|no route to host|network is unreachable"
        r"|unexpected disconnect|early eof|rpc failed|hung up|error: 5\d\d|empty reply|gnutls|ssl_|curl \d+"
        r"|received http code|connect tunnel failed|expected flush|protocol error|bad line length|invalid index-pack",
        _unanswered,
    ),
)


def explained(said: str, place: Place) -> GitError:
    """Returns the error that git's output means.

    Args:
        said: what git and the server have printed, without secrets.
    """
    for pattern, make in _RULES:
        if re.search(pattern, said, re.IGNORECASE):
            return make(place, said)
    doing = "pushed to" if place.writes else "fetched from"
    return GitError(
        WorkerReason.WORKER_FAILED,
        f"{place.field}: {place.wanted} cannot be {doing} {place.url}. git says: {sentence(quoted(said))}",
        terminal=False,
    )


def quoted(said: str) -> str:
    """Returns the last lines of git's output that say something."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _NOISE.match(line)]
    told = " | ".join(lines[-QUOTED_LINES:]) or "nothing"
    return told if len(told) <= QUOTED_CHARACTERS else f"... {told[-QUOTED_CHARACTERS:]}"


def _remark(said: str) -> str:
    """Returns what the server itself says, as the end of a sentence; empty if it says nothing."""
    lines = [line.partition("remote:")[2].strip() for line in said.splitlines() if "remote:" in line]
    told = " ".join(filter(None, lines))[:QUOTED_CHARACTERS].rstrip(" .")
    return f". The server says: {told}" if told else ""
