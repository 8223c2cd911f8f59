"""GitLab's merge requests.

Source: https://docs.gitlab.com/api/merge_requests/
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from pydantic import BaseModel

from swarm_git.providers.dialect import Dialect, Found, Text, segments, server

_API = "/api/v4"


class _MergeRequest(BaseModel):
    iid: int
    web_url: str
    state: str
    source_branch: str
    target_branch: str
    source_project_id: int | None
    """None: the fork has been deleted."""
    target_project_id: int


class GitLab(Dialect):
    """The dialect of GitLab."""

    name: ClassVar[str] = "GitLab"
    most: ClassVar[int] = 1_048_576
    """Source: the parameter `description` of https://docs.gitlab.com/api/merge_requests/#create-mr"""
    changes: ClassVar[str] = "PUT"
    closing: ClassVar[Mapping[str, str]] = {"state_event": "close"}
    right: ClassVar[str] = 'A token needs the scope "api", and at least the role Developer in this project.'

    @classmethod
    def address(cls, url: str, api: str | None) -> tuple[str, str]:
        """Returns the API's usual URL, and the project's path with all its groups.

        Groups can be nested, so only `api` tells the path under which a server runs from a group.
        """
        parts = segments(url)
        if api and urlsplit(api).netloc == urlsplit(url).netloc:
            before = [part for part in urlsplit(api).path.rstrip("/").removesuffix(_API).split("/") if part]
            parts = parts[len(before) :] if parts[: len(before)] == before else parts
        return f"{server(url, [])}{_API}", "/".join(parts)

    @classmethod
    def _headers(cls, token: str) -> Mapping[str, str]:
        """Returns the header that carries a token: GitLab takes personal, project and OAuth tokens in it.

        Source: https://docs.gitlab.com/api/rest/authentication/
        """
        return {"Authorization": f"Bearer {token}"}

    def find(self, head: str, base: str) -> Iterator[Found]:
        """Yields the open requests. The filters also find requests from branches of the same name in forks."""
        query = {"state": "opened", "source_branch": head, "target_branch": base}
        for value in self._pages(self._path, query, ("per_page", 100)):
            found = self._read(_MergeRequest, value)
            branches = (found.source_branch, found.target_branch)
            if branches == (head, base) and found.source_project_id == found.target_project_id:
                yield self._found(value)

    @property
    def _path(self) -> str:
        # GitLab takes the path in place of the project's number, with each "/" as %2F.
        return f"/projects/{quote(self.project, safe='')}/merge_requests"

    def _branches(self, head: str, base: str) -> Mapping[str, str]:
        return {"source_branch": head, "target_branch": base}

    def _text(self, text: Text) -> Mapping[str, str]:
        return {"title": text.title, "description": text.body}

    def _found(self, value: Any) -> Found:
        found = self._read(_MergeRequest, value)
        return Found(found.iid, found.web_url, found.state == "opened")
