"""Fetches the program's files from git, and data from URLs, on this machine, as pods do in a cluster."""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from swarm_git import snapshot
from swarm_git.command import Access, Git
from swarm_git.credentials import access_to
from swarm_git.errors import GitError, Place
from swarm_git.masking import Masks
from swarm_wire.spec.git import GitSource
from swarm_worker.errors import BadInput
from swarm_worker.local.documents import Manifest
from swarm_worker.local.reasons import LocalReason
from swarm_worker.user.urls import Urls

_OWN: Final = (
    "HOME",
    "SSH_AUTH_SOCK",
    "XDG_CONFIG_HOME",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
)
"""Variables by which git, its helpers and ssh find the user's own credentials."""


def with_files(manifest: Manifest) -> Manifest:
    """Returns the manifest with the files that its spec takes from git. Raises BadInput if git cannot fetch them.

    If the Secret with the credentials is not in the manifest's files, git uses the credentials of this machine's user.
    """
    source = manifest.spec.program.source
    if source is None or source.git is None or manifest.snapshot:
        return manifest
    try:
        return replace(manifest, snapshot=tuple(_fetched(source.git, manifest.git_secret).records()))
    except GitError as error:
        raise BadInput(error.reason, _told(error, source.git, manifest)) from None
    except FileNotFoundError:
        raise BadInput(
            LocalReason.GIT_MISSING,
            "spec.program.source.git needs the command git, which is not on the PATH. Install git.",
        ) from None


@contextmanager
def with_data(manifest: Manifest, parent: Path) -> Iterator[Manifest]:
    """Yields the manifest with the data that its spec names by URLs. The files are in `parent` until the block ends.

    Raises BadInput, or DataUnreachable if a server does not answer.
    """
    if not manifest.spec.data.urls or manifest.data:
        yield manifest
        return
    with tempfile.TemporaryDirectory(dir=parent, prefix="download-") as scratch:
        found = Urls(manifest.spec.data, manifest.url_options).fetch(Path(scratch))
        yield replace(manifest, data=tuple(found))


def _fetched(source: GitSource, secret: Mapping[str, bytes]) -> snapshot.Archive:
    name = source.secret.name if source.secret else None
    place, masks = Place("spec.program.source.git", source.url, name), Masks()
    with tempfile.TemporaryDirectory() as given, tempfile.TemporaryDirectory() as scratch:
        for key, value in secret.items():
            (Path(given) / key).write_bytes(value)
        access = access_to(place, Path(given), Path(scratch), masks) if secret else _own_access()
        return snapshot.fetch(Git(Path(scratch), access, place, masks), source)


def _told(error: GitError, source: GitSource, manifest: Manifest) -> str:
    """Returns the error for people at a laptop, where no other attempt follows."""
    text = re.sub(r"[;.] [Aa]nother attempt follows", "", str(error))
    if source.secret is None or manifest.git_secret:
        return text
    return (
        f"{text} The Secret {source.secret.name!r} is not in these files, so git used your own credentials. To use "
        "others, add the Secret to the file after a line of ---."
    )


def _own_access() -> Access:
    """Returns the access of this machine's user: helpers and rewritten URLs of git's configuration, and ssh."""
    environment = {name: os.environ[name] for name in _OWN if name in os.environ}
    return Access({"XDG_CONFIG_HOME": str(Path.home() / ".config"), **environment}, users_config=True)
