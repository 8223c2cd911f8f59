"""Reads the credentials of a git repository: a Secret in the form that Flux uses, mounted as a folder."""

import base64
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from swarm_git.command import CONNECT_SECONDS, Access
from swarm_git.errors import GitError, Place, credentials_rejected, missing_secret
from swarm_git.github_app import installation_token
from swarm_git.masking import Masks
from swarm_wire.shards import files

USERNAME, PASSWORD, BEARER, IDENTITY, KNOWN_HOSTS, CA = (
    "username",
    "password",
    "bearerToken",
    "identity",
    "known_hosts",
    "ca.crt",
)
APP: Final = ("githubAppID", "githubAppInstallationID", "githubAppPrivateKey")
APP_URL = "githubAppBaseURL"
_LOGIN = (USERNAME, PASSWORD)
_HTTPS = f"{USERNAME} and {PASSWORD}, or {BEARER}, or {', '.join(APP[:-1])} and {APP[-1]}"
_ASKPASS = """#!/bin/sh
# git runs this with its question as the argument. The answers are in variables, so no file holds them.
case "$1" in
  Username*"'$SWARM_GIT_ORIGIN'"*) printf '%s\\n' "$SWARM_GIT_USERNAME" ;;
  Password*"@$SWARM_GIT_HOST'"*) printf '%s\\n' "$SWARM_GIT_PASSWORD" ;;
  *) exit 1 ;;
esac
"""
_OPENSSH = b"openssh-key-v1\0"


@dataclass(frozen=True)
class _Secret:
    """The mounted Secret.

    Attributes:
        values: the content of each key, without line ends at its end. Empty values count as missing.
        scratch: folder for the files that git or ssh need.
    """

    folder: Path
    values: Mapping[str, str]
    place: Place
    scratch: Path

    @property
    def keys(self) -> str:
        """Returns the keys that the Secret has, for people."""
        return ", ".join(sorted(self.values)) or "no key that is not empty"

    def lacks(self, needed: str) -> GitError:
        return credentials_rejected(
            self.place, f"{self.place.held} has {self.keys}. The URL {self.place.url} needs {needed}"
        )

    def wrong(self, what: str) -> GitError:
        return credentials_rejected(self.place, f"{self.place.held}: {what}")


def access_to(place: Place, folder: Path | None, scratch: Path, masks: Masks) -> Access:
    """Returns the access that the Secret gives. Its files are in `scratch`, and belong to this process only.

    Args:
        folder: the mounted Secret; None if the spec names none.
        masks: learns the secrets.

    Raises GitError if keys are missing or contradict each other, or if GitHub gives no token.
    """
    if folder is None:
        return Access()
    masks.add_folder(folder, place.url)
    texts = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in files(folder)}
    values = {name: text.strip("\r\n") for name, text in texts.items() if text.strip()}
    if not values:
        raise missing_secret(place.field, place.secret)
    secret = _Secret(folder, values, place, scratch)
    return _https(secret, masks) if place.url.startswith("https://") else _ssh(secret)


def _https(secret: _Secret, masks: Masks) -> Access:
    values = secret.values
    kinds = [kind for kind in (_LOGIN, (BEARER,), APP) if any(key in values for key in kind)]
    if len(kinds) > 1:
        raise secret.wrong(f"it has {secret.keys}. Keep only one kind of credentials: {_HTTPS}")
    if not kinds and CA not in values:
        raise secret.lacks(_HTTPS)
    if any(key not in values for kind in kinds for key in kind):
        raise secret.lacks(" and ".join(kinds[0]))
    ca_file = _private(secret.scratch / "ca.crt", values[CA] + "\n") if CA in values else None
    config = {"http.sslCAInfo": str(ca_file)} if ca_file else {}
    if not kinds:
        return Access(config=config, ca_file=ca_file)
    if BEARER in values:
        token = _line(secret, BEARER)
        return Access(config={**config, **_bearer(secret.place.url, token)}, token=token, ca_file=ca_file)
    user, password = "x-access-token", ""
    if PASSWORD in values:
        user, password = _line(secret, USERNAME), _line(secret, PASSWORD)
    else:
        app, installation = _line(secret, APP[0]), _line(secret, APP[1])
        base = values.get(APP_URL)
        password = installation_token(
            secret.place, app, installation, key=secret.folder / APP[2], base=base, ca_file=ca_file
        )
    masks.add_login(user, password)
    return Access(_login(secret, user, password), config, token=password, ca_file=ca_file)


def _line(secret: _Secret, key: str) -> str:
    """Returns a value that must be one line."""
    value = secret.values[key]
    if not value.isprintable():
        raise secret.wrong(f"the key {key} must be one line of printable characters")
    return value


def _bearer(url: str, token: str) -> dict[str, str]:
    """Returns git's configuration for a token. It is that of one host, and git follows no redirect to another."""
    parts = urlsplit(url)
    return {f"http.{parts.scheme}://{parts.netloc}/.extraHeader": f"Authorization: Bearer {token}"}


def _login(secret: _Secret, user: str, password: str) -> dict[str, str]:
    """Returns the variables with which git finds user and password. They answer only for the URL's own host."""
    script = secret.scratch / "askpass"
    script.write_text(_ASKPASS, encoding="utf-8")
    script.chmod(0o700)
    parts = urlsplit(secret.place.url)
    return {
        "GIT_ASKPASS": str(script),
        "SWARM_GIT_ORIGIN": f"{parts.scheme}://{parts.netloc}",
        "SWARM_GIT_HOST": parts.netloc,
        "SWARM_GIT_USERNAME": user,
        "SWARM_GIT_PASSWORD": password,
    }


def _ssh(secret: _Secret) -> Access:
    values = secret.values
    if IDENTITY not in values or KNOWN_HOSTS not in values:
        raise secret.lacks(f"{IDENTITY} (a private ssh key) and {KNOWN_HOSTS} (the output of `ssh-keyscan HOST`)")
    if PASSWORD in values or is_encrypted(values[IDENTITY]):
        raise secret.wrong(
            f"the ssh key in the key {IDENTITY} has a passphrase, which is not supported. Remove it with "
            f"`ssh-keygen -p -N '' -f FILE`, and leave out the key {PASSWORD}"
        )
    identity = private_key(secret.scratch / "identity", values[IDENTITY])
    hosts = _private(secret.scratch / "known_hosts", values[KNOWN_HOSTS] + "\n")
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "ForwardAgent": "no",
        "ClearAllForwardings": "yes",
        "ControlPath": "none",
        "ConnectTimeout": CONNECT_SECONDS,
        "ServerAliveInterval": 15,
        "ServerAliveCountMax": 4,
    }
    words = ["ssh", "-F", "/dev/null", "-i", str(identity)]
    words += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return Access({"GIT_SSH_COMMAND": shlex.join(words)})


def private_key(path: Path, text: str) -> Path:
    """Writes a private ssh key as ssh accepts it: for its owner only, with Unix line ends, and one at the end."""
    return _private(path, text.replace("\r\n", "\n").strip() + "\n")


def is_encrypted(key: str) -> bool:
    """Whether a private ssh key has a passphrase."""
    lines = key.strip().splitlines()
    if "OPENSSH" not in lines[0]:
        return "ENCRYPTED" in key
    try:
        data = base64.b64decode("".join(lines[1:-1]))
    except ValueError:
        return False
    # The name of the cipher follows, with its length in 4 bytes.
    return data.startswith(_OPENSSH) and not data.removeprefix(_OPENSSH).startswith(b"\0\0\0\x04none")


def _private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path
