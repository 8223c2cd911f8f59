"""The decision table of pull requests: what a server has before, and what it has afterwards.

Unit tests run it on servers of their own, and tests/gitea on a real Gitea.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from swarm_git.pull_requests import open_or_update
from swarm_wire.spec.git import GitDestination


class SeenPull(Protocol):
    """A pull request as a test sees it."""

    @property
    def number(self) -> int: ...
    @property
    def base(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def body(self) -> str: ...


class Host(Protocol):
    """A server with one repository. It has the branch main."""

    @property
    def ca_file(self) -> Path | None: ...
    @property
    def token(self) -> str: ...
    def destination(self, base: str = ..., **changed: Any) -> GitDestination: ...
    def add_branch(self, name: str) -> None:
        """Makes a branch with a commit of its own."""

    def close(self, number: int) -> None:
        """Closes a pull request without merging it."""

    def open_pulls(self, head: str) -> Sequence[SeenPull]:
        """Returns the open pull requests from a branch of the repository."""


def publish(
    host: Host, head: str, title: str = "Compile triage: 86.5", base: str = "main", body: str = "# Report"
) -> str:
    return open_or_update(host.destination(base), host.token, head, title, body, ca_file=host.ca_file)


def new_branch(host: Host, start: str = "dspy/team/triage") -> str:
    """Makes a branch that no other test uses. Its name has slashes, as most have."""
    name = f"{start}-{uuid4().hex[:8]}"
    host.add_branch(name)
    return name


def opens_a_request_if_there_is_none(host: Host) -> None:
    head = new_branch(host)
    url = publish(host, head, "Compile triage: 86.5", body="# Compiled program\n\n| a | b |\n|---|---|\n| ü | 🙂 |\n")
    [pull] = host.open_pulls(head)
    assert url.startswith("https://")
    assert url.endswith(f"/{pull.number}")
    assert (pull.base, pull.title) == ("main", "Compile triage: 86.5")
    assert pull.body == "# Compiled program\n\n| a | b |\n|---|---|\n| ü | 🙂 |\n"


def updates_the_open_request(host: Host) -> None:
    head = new_branch(host)
    first = publish(host, head, "old", body="old")
    assert publish(host, head, "new", body="new") == first
    [pull] = host.open_pulls(head)
    assert (pull.title, pull.body) == ("new", "new")


def opens_another_after_the_first_is_closed(host: Host) -> None:
    head = new_branch(host)
    first = publish(host, head)
    host.close(host.open_pulls(head)[0].number)
    assert publish(host, head) != first
    assert len(host.open_pulls(head)) == 1


def leaves_requests_of_other_branches_alone(host: Host) -> None:
    head, other, base = new_branch(host), new_branch(host), new_branch(host, "release")
    publish(host, other, "other head")
    publish(host, head, "other base", base=base)
    publish(host, head, "ours")
    assert [pull.title for pull in host.open_pulls(other)] == ["other head"]
    assert sorted((pull.base, pull.title) for pull in host.open_pulls(head)) == [
        ("main", "ours"),
        (base, "other base"),
    ]


def finds_its_request_behind_many_others(host: Host) -> None:
    head = new_branch(host)
    first = publish(host, head, "ours")
    for _ in range(7):
        publish(host, new_branch(host, "other"))
    assert publish(host, head, "ours, again") == first
    assert [pull.title for pull in host.open_pulls(head)] == ["ours, again"]


def several_at_once_make_one_request(host: Host) -> None:
    head = new_branch(host)
    with ThreadPoolExecutor(4) as pool:
        urls = list(pool.map(lambda number: publish(host, head, f"title {number}"), range(4)))
    assert len(set(urls)) == 1
    assert len(host.open_pulls(head)) == 1


TABLE: tuple[Callable[[Host], None], ...] = (
    opens_a_request_if_there_is_none,
    updates_the_open_request,
    opens_another_after_the_first_is_closed,
    leaves_requests_of_other_branches_alone,
    finds_its_request_behind_many_others,
    several_at_once_make_one_request,
)
