"""Replaces secrets in texts by their names."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from swarm_wire.shards import files

SHORTEST = 4
SHORTEST_OF_OTHERS = 8
"""Lengths of the shortest values that are masked: of a password, and of a value that may be no secret.

Many texts contain a shorter one, such as "git".
"""
_WORDS = frozenset({"x-access-token", "x-oauth-basic", "oauth2"})
"""Names of users that are no secrets."""
_SECRET = frozenset({"password", "bearerToken", "identity", "githubAppPrivateKey", "key"})
PROXIES = tuple(name for each in ("http", "https", "all") for name in (f"{each}_proxy", f"{each.upper()}_PROXY"))
"""Variables with the URL of a proxy, which may have a password."""


class Masks:
    """The secrets of a process. It may learn more of them at any time."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def add(self, name: str, value: str) -> None:
        """Masks a value from now on: whole, its lines, and encoded in base64 or for a URL."""
        least = SHORTEST if name in _SECRET else SHORTEST_OF_OTHERS
        for text in _parts(value):
            if len(text) >= least and text not in _WORDS:
                encoded = base64.b64encode(text.encode()).decode().rstrip("=")
                for form in (text, encoded, quote(text, safe="")):
                    self._found.setdefault(form, name)

    def add_folder(self, folder: Path, public: str) -> None:
        """Masks the content of each file of a mounted Secret.

        Args:
            public: the repository's URL. A user's name that the URL has, too, is no secret.
        """
        for path in files(folder):
            value = path.read_text(encoding="utf-8", errors="replace")
            if path.name in _SECRET or value.strip() not in public:
                self.add(path.name, value)

    def add_proxies(self, environment: Mapping[str, str]) -> None:
        """Masks the passwords in the URLs of proxies."""
        for name in PROXIES:
            password = urlsplit(environment.get(name, "")).password
            if password:
                self.add("password", password)
                self.add("password", unquote(password))

    def add_login(self, user: str, password: str) -> None:
        """Masks a user's password, and the value of the header Authorization that has both."""
        self.add("password", password)
        self.add("password", base64.b64encode(f"{user}:{password}".encode()).decode())

    def redact(self, text: str) -> str:
        """Returns the text with each secret replaced by the name of its key. The longest secrets are replaced first."""
        for form, name in sorted(self._found.items(), key=lambda each: -len(each[0])):
            text = text.replace(form, f"({name})")
        return text


def _parts(value: str) -> Iterator[str]:
    yield value
    yield value.strip()
    lines: Iterable[str] = value.splitlines()
    # The first and last lines of a key file are no secret.
    yield from (line.strip() for line in lines if not line.startswith("-----"))
