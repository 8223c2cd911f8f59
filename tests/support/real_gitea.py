"""A repository of a real Gitea, as the decision table of pull requests wants a server."""

import base64
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from support.cluster import Namespace, secret
from support.git_server import Authority
from swarm_wire.spec.git import GitDestination
from testbed import gitea
from testbed.gitea import ADMIN, PASSWORD, Gitea

REPOSITORY = "app"


@dataclass(frozen=True)
class Pull:
    """An open pull request."""

    number: int
    base: str
    title: str
    body: str


@dataclass
class RealGitea:
    """A private repository with the branch main. Its owner is ADMIN.

    Attributes:
        token: its scope is the least that our messages name.
        owner: of the repository.
    """

    gitea: Gitea
    token: str = ""
    owner: str = ADMIN
    name: str = REPOSITORY
    passwords: dict[str, str] = field(default_factory=lambda: {ADMIN: PASSWORD})

    @classmethod
    def made(cls, gitea: Gitea) -> "RealGitea":
        host = cls(gitea)
        host.call("POST", "/user/repos", {"name": host.name, "private": True, "auto_init": True})
        host.token = host.token_of(ADMIN, "write:repository")
        return host

    @property
    def ca_file(self) -> Path:
        return self.gitea.ca_file

    @property
    def path(self) -> str:
        return f"/repos/{self.owner}/{self.name}"

    @property
    def url(self) -> str:
        return f"{self.gitea.url}/{self.owner}/{self.name}.git"

    def call(self, method: str, path: str, body: Any = None, user: str = ADMIN) -> Any:
        """Returns the JSON of an answer. Raises HTTPError."""
        login = base64.b64encode(f"{user}:{self.passwords[user]}".encode()).decode()
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        request = Request(f"{self.gitea.url}/api/v1{path}", data=data, headers=headers, method=method)
        context = ssl.create_default_context(cafile=self.ca_file)
        try:
            with build_opener(ProxyHandler({}), HTTPSHandler(context=context)).open(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except HTTPError as error:
            with error:
                error.add_note(error.read().decode(errors="replace"))
            raise

    def pages(self, path: str, **query: str) -> Iterator[Any]:
        page = 1
        while found := self.call("GET", f"{path}?{urlencode({**query, 'page': page})}"):
            yield from found
            page += 1

    def token_of(self, user: str, *scopes: str) -> str:
        named = {"name": "-".join([user, *scopes]).replace(":", "-"), "scopes": list(scopes)}
        return str(self.call("POST", f"/users/{user}/tokens", named, user)["sha1"])

    def add_user(self, name: str, permission: str | None = None) -> None:
        """Makes a user, with a permission for the repository."""
        self.passwords[name] = PASSWORD
        account = {"username": name, "password": PASSWORD, "email": f"{name}@example.com"}
        self.call("POST", "/admin/users", {**account, "must_change_password": False})
        if permission:
            self.call("PUT", f"{self.path}/collaborators/{name}", {"permission": permission})

    def destination(self, base: str = "main", **changed: Any) -> GitDestination:
        return GitDestination.model_validate(
            {
                "url": self.url,
                "secret": {"name": "git-token"},
                "branch": base,
                "path": "prompts/triage",
                "pullRequest": {"provider": "gitea"},
                **changed,
            }
        )

    def add_branch(self, name: str, user: str = ADMIN) -> None:
        content = base64.b64encode(name.encode()).decode()
        file = {"branch": "main", "new_branch": name, "content": content, "message": f"Begin {name}"}
        self.call("POST", f"{self.path}/contents/{quote(name)}.txt", file, user)

    def commit(self, files: Mapping[str, str], message: str = "work") -> str:
        """Adds a commit with these files to main, and returns its id."""
        changes = []
        for path, text in files.items():
            change = {"operation": "create", "path": path, "content": base64.b64encode(text.encode()).decode()}
            if (sha := self._sha(path)) is not None:
                change |= {"operation": "update", "sha": sha}
            changes.append(change)
        told = self.call("POST", f"{self.path}/contents", {"branch": "main", "message": message, "files": changes})
        return str(told["commit"]["sha"])

    def _sha(self, path: str) -> str | None:
        try:
            return str(self.call("GET", f"{self.path}/contents/{quote(path)}?ref=main")["sha"])
        except HTTPError as error:
            if error.code == 404:
                return None
            raise

    def read(self, path: str, branch: str = "main") -> str:
        found = self.call("GET", f"{self.path}/contents/{quote(path)}?ref={quote(branch)}")
        return base64.b64decode(found["content"]).decode()

    def merge(self, number: int) -> None:
        """Merges a pull request. Gitea needs a moment to find out that it can be merged."""
        for left in reversed(range(20)):
            try:
                self.call("POST", f"{self.path}/pulls/{number}/merge", {"Do": "merge"})
                return
            except HTTPError as error:
                if error.code != 405 or not left:
                    raise
                time.sleep(0.5)

    def add_webhook(self, url: str, key: str) -> None:
        configuration = {"url": url, "content_type": "json", "secret": key}
        hook: dict[str, Any] = {"type": "gitea", "config": configuration, "events": ["push"], "active": True}
        hook["branch_filter"] = "main"
        self.call("POST", f"{self.path}/hooks", hook)

    def close(self, number: int) -> None:
        self.call("PATCH", f"{self.path}/pulls/{number}", {"state": "closed"})

    def open_pulls(self, head: str) -> list[Pull]:
        return [
            Pull(pull["number"], pull["base"]["ref"], pull["title"], pull["body"])
            for pull in self.pages(f"{self.path}/pulls", state="open")
            if pull["head"]["ref"] == head and pull["head"]["repo_id"] == pull["base"]["repo_id"]
        ]


@contextmanager
def reachable(namespace: Namespace, folder: Path) -> Iterator[RealGitea]:
    """Yields a Gitea that the cluster's pods reach, and writes its credentials to the Secret `gitea`.

    Args:
        folder: a new folder for the certificates.
    """
    address = _address(namespace)
    authority = Authority.made(folder, address)
    with gitea.running(authority.ca, authority.certificate, authority.key, address) as server:
        found = RealGitea.made(server)
        namespace.apply(
            secret("gitea", {"username": ADMIN, "password": found.token, "ca.crt": found.ca_file.read_text()})
        )
        yield found


def _address(namespace: Namespace) -> str:
    """Returns the address of this machine from which it reaches the cluster's nodes."""
    nodes = json.loads(namespace.kubectl("get", "nodes", "-o", "json"))["items"]
    [node] = [each["address"] for each in nodes[0]["status"]["addresses"] if each["type"] == "InternalIP"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((node, 9))  # sends nothing
        return str(probe.getsockname()[0])
