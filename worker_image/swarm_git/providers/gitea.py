"""Pull requests of Gitea and Forgejo.

Source: https://docs.gitea.com/api/1.26/, and routers/api/v1/repo/pull.go of Gitea 1.26.4
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import BaseModel

from swarm_git.providers.dialect import Found, segments, server
from swarm_git.providers.pulls import Pull, Pulls


class _Branch(BaseModel):
    ref: str
    repo_id: int


class _Pull(Pull):
    head: _Branch
    base: _Branch


class Gitea(Pulls):
    """The dialect of Gitea and Forgejo."""

    model: ClassVar[type[Pull]] = _Pull
    name: ClassVar[str] = "Gitea"
    most: ClassVar[int] = 1_048_576
    """Gitea has no limit of its own. A browser shows so much without trouble."""
    right: ClassVar[str] = (
        'A token needs the scope "write:repository", and its user needs the right to write code and pull requests of '
        "this repository."
    )

    @classmethod
    def address(cls, url: str, api: str | None) -> tuple[str, str]:
        """Returns the API's usual URL, and owner/repository. What comes before them in the path is the server's own."""
        parts = segments(url)
        return f"{server(url, parts[:-2])}/api/v1", "/".join(parts[-2:])

    @classmethod
    def _headers(cls, token: str) -> Mapping[str, str]:
        """Returns the header that carries a token.

        Source: https://docs.gitea.com/development/api-usage
        """
        return {"Authorization": f"token {token}"}

    def find(self, head: str, base: str) -> Iterator[Found]:
        """Yields the open requests.

        GET pulls/{base}/{head} would find a closed request, too. Servers before 1.25 and Forgejo ignore the filter
        base_branch, so the branches are compared here.
        """
        # Most servers show at most 50 requests in a page, whatever the limit is.
        for value in self._pages(self._path, {"state": "open", "base_branch": base}, ("limit", 50)):
            pull = self._read(_Pull, value)
            if (pull.head.ref, pull.base.ref, pull.head.repo_id) == (head, base, pull.base.repo_id):
                yield self._found(value)
