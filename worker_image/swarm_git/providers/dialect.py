"""What all providers have in common: where a repository is, and what can be done with its pull requests."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ValidationError

from swarm_git.errors import GitError, Place, not_found, refused
from swarm_git.http_api import HttpApi

MOST_PAGES = 100
"""More pages of requests than this are not read: a server that always has a next page would never end."""


_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Found:
    """A pull request.

    Attributes:
        number: by which the API knows it, within its repository.
        url: its page for people.
        is_open: whether it can still be merged.
    """

    number: int
    url: str
    is_open: bool


@dataclass(frozen=True)
class Text:
    """Title and body of a pull request, in Markdown."""

    title: str
    body: str


class Dialect(ABC):
    """The pull requests of one repository, by one provider's API.

    All methods raise `Refusal` and `GitError`, as `HttpApi.call` does.

    Attributes:
        name: of the provider, for people.
        most: how many characters a body may have.
        right: the sentence that says what a token needs.
        keys: those of the Secret that may hold the token, for people.
        changes: HTTP method that changes a request.
        closing: fields of a request that close it.

    Args:
        place: has the URL of the repository.
        api: URL of the API; None: the provider's usual one.
        token: may read and write the repository's pull requests.
        ca_file: certificates to trust in place of the system's.
    """

    name: ClassVar[str]
    most: ClassVar[int]
    right: ClassVar[str]
    keys: ClassVar[str] = "password or bearerToken"
    changes: ClassVar[str] = "PATCH"
    closing: ClassVar[Mapping[str, str]] = {"state": "closed"}

    def __init__(self, place: Place, api: str | None, token: str, ca_file: Path | None) -> None:
        usual, self.project = self.address(place.url, api)
        if len(self.project.split("/")) < 2:
            raise not_found(place, f"{place.url} names no repository. Write the URL that `git clone` takes")
        self._place = place
        self.api = HttpApi(api or usual, place, token, self._headers(token), ca_file)

    @classmethod
    @abstractmethod
    def address(cls, url: str, api: str | None) -> tuple[str, str]:
        """Returns the usual URL of the API, and the path of a repository within its server, such as "acme/app".

        Args:
            url: of the repository.
            api: `pullRequest.api` of the spec.
        """

    @classmethod
    @abstractmethod
    def _headers(cls, token: str) -> Mapping[str, str]:
        """Returns the headers that carry a token."""

    @abstractmethod
    def find(self, head: str, base: str) -> Iterator[Found]:
        """Yields the open requests from one branch of the repository to another.

        A request from a branch of the same name in a fork is another one.
        """

    @property
    @abstractmethod
    def _path(self) -> str:
        """Returns the path of the repository's requests, percent-encoded."""

    @abstractmethod
    def _branches(self, head: str, base: str) -> Mapping[str, str]:
        """Returns the fields of a new request that name its branches."""

    @abstractmethod
    def _text(self, text: Text) -> Mapping[str, str]:
        """Returns the fields of a request that have its text."""

    @abstractmethod
    def _found(self, value: Any) -> Found:
        """Returns the request that an answer shows."""

    def open(self, head: str, base: str, text: Text) -> Found:
        """Opens a request."""
        body = {**self._branches(head, base), **self._text(text)}
        return self._found(self.api.call("POST", self._path, body=body).value)

    def update(self, number: int, text: Text) -> Found:
        """Gives a request a new title and body."""
        return self._changed(number, self._text(text))

    def close(self, number: int) -> None:
        """Closes a request without merging it."""
        self._changed(number, self.closing)

    def _changed(self, number: int, body: Mapping[str, str]) -> Found:
        return self._found(self.api.call(self.changes, f"{self._path}/{number}", body=body).value)

    def _pages(self, path: str, query: Mapping[str, str], size: tuple[str, int]) -> Iterator[Any]:
        """Yields the items of a list that the API shows in pages.

        Args:
            size: name of the parameter for the size of a page, and its value.
        """
        for page in range(1, MOST_PAGES + 1):
            answer = self.api.call("GET", path, {**query, size[0]: str(size[1]), "page": str(page)})
            if not isinstance(answer.value, list):
                raise self._strange()
            yield from answer.value
            if not answer.has_next:
                return

    def _read(self, model: type[_Model], value: Any) -> _Model:
        """Reads a value by a model.

        Raises:
            GitError: the value is not what the provider's API answers.
        """
        try:
            return model.model_validate(value)
        except ValidationError as error:
            raise self._strange() from error

    def _strange(self) -> GitError:
        fault = f"{self.api.url} does not answer as the API of {self.name} does. Check {self._place.field}.pullRequest"
        return refused(self._place, fault)


def segments(url: str) -> list[str]:
    """Returns the parts of a repository's path at its server, without .git."""
    path = urlsplit(url).path.strip("/").removesuffix(".git")
    return [unquote(part) for part in path.split("/") if part]


def server(url: str, before: Sequence[str]) -> str:
    """Returns the address of a server, with the parts of the path under which it runs."""
    return "/".join([f"https://{urlsplit(url).netloc}", *map(quote, before)])
