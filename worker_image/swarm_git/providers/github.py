"""GitHub's pull requests, on github.com and GitHub Enterprise.

Source: https://docs.github.com/en/rest/pulls/pulls
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel

from swarm_git.providers.dialect import Found, segments, server
from swarm_git.providers.pulls import Pull, Pulls


class _Repository(BaseModel):
    id: int


class _Branch(BaseModel):
    ref: str
    repo: _Repository | None = None
    """None: the fork has been deleted."""


class _Pull(Pull):
    head: _Branch
    base: _Branch


class GitHub(Pulls):
    """The dialect of GitHub."""

    model: ClassVar[type[Pull]] = _Pull
    name: ClassVar[str] = "GitHub"
    most: ClassVar[int] = 65_536
    """More is answered with 422, "body is too long (maximum is 65536 characters)"."""
    right: ClassVar[str] = (
        'A fine-grained token or a GitHub App needs the permissions "Contents" and "Pull requests" to read and write '
        'this repository; a classic token needs the scope "repo".'
    )
    keys: ClassVar[str] = "password, bearerToken or githubAppPrivateKey"

    @classmethod
    def address(cls, url: str, api: str | None) -> tuple[str, str]:
        """Returns the API's usual URL, and owner/repository.

        Source: https://docs.github.com/en/enterprise-server/rest/using-the-rest-api/getting-started-with-the-rest-api,
        and for *.ghe.com: https://docs.github.com/en/enterprise-cloud@latest/admin/data-residency
        """
        parts, host = segments(url), urlsplit(url).netloc.lower()
        if host.removeprefix("www.") == "github.com":
            usual = "https://api.github.com"
        elif host.endswith(".ghe.com"):
            usual = f"https://api.{host}"
        else:
            usual = f"{server(url, parts[:-2])}/api/v3"
        return usual, "/".join(parts[-2:])

    @classmethod
    def _headers(cls, token: str) -> Mapping[str, str]:
        return {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }

    def find(self, head: str, base: str) -> Iterator[Found]:
        """Yields the open requests.

        The filter `head` needs the owner before the branch. GitHub ignores a filter without it, and shows all requests.
        Two repositories of one owner can be forks of each other, so the repository is compared, too.
        """
        owner = self.project.partition("/")[0]
        query = {"state": "open", "base": base, "head": f"{owner}:{head}"}
        for value in self._pages(self._path, query, ("per_page", 100)):
            pull = self._read(_Pull, value)
            if (pull.head.ref, pull.base.ref, pull.head.repo) == (head, base, pull.base.repo):
                yield self._found(value)
