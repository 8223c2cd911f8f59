"""What the APIs of GitHub and Gitea have in common: Gitea follows GitHub in the paths and fields of pull requests."""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import BaseModel

from swarm_git.providers.dialect import Dialect, Found, Text


class Pull(BaseModel):
    """A pull request, as an answer shows it."""

    number: int
    html_url: str
    state: str


class Pulls(Dialect):
    """The common part of both dialects.

    Attributes:
        model: a pull request in the answers of this provider.
    """

    model: ClassVar[type[Pull]]

    @property
    def _path(self) -> str:
        return f"/repos/{quote(self.project)}/pulls"

    def _branches(self, head: str, base: str) -> Mapping[str, str]:
        return {"head": head, "base": base}

    def _text(self, text: Text) -> Mapping[str, str]:
        return {"title": text.title, "body": text.body}

    def _found(self, value: Any) -> Found:
        found = self._read(self.model, value)
        return Found(found.number, found.html_url, found.state == "open")
