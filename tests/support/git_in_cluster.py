"""A git server in a namespace of a cluster: `git_server` in a pod with the git image, as the Service `git`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.cluster import Manifest, Namespace, config_map, secret
from support.git_server import USER, Authority, basic

__all__ = ["PASSWORD", "URL", "USER", "commit", "files_of", "git", "slow", "start_git", "trailers"]

PORT = 8443
PASSWORD = "canary-of-git-0123456789"
URL = f"https://git:{PORT}/app.git"
SERVER = Path(__file__).with_name("git_server.py")
SERVE = f"""
import sys
import time
from pathlib import Path

sys.path.insert(0, "/srv/code")
import git_server

root, tls = Path("/tmp/repositories"), Path("/srv/tls")
authority = git_server.Authority(tls / "ca.crt", tls / "server.crt", tls / "server.key")
repository = git_server.Repository.made(root / "app.git")
files = (path for path in Path("/srv/files").iterdir() if path.is_file())
repository.commit({{path.name.replace("--", "/"): path.read_bytes() for path in files}})

def fault(handler):
    if Path("/tmp/slow").exists():
        time.sleep(1)
    down = Path("/tmp/down").exists()
    return down and git_server.answering(503)(handler)

with git_server.https(root, authority, address=("0.0.0.0", {PORT})) as server:
    server.fault = fault
    server.accepts = {{(tls / "accepts").read_text()}}
    print("ready", flush=True)
    git_server.threading.Event().wait()
"""


def start_git(namespace: Namespace, folder: Path, files: dict[str, str]) -> None:
    """Starts the server with one repository, whose branch `main` has these files. Makes the Secret `git` for it.

    Args:
        folder: a new folder for the certificates.
    """
    made = Authority.made(folder, "git", f"git.{namespace.name}.svc")
    ca = made.ca.read_text()
    tls = {
        "ca.crt": ca,
        "server.crt": made.certificate.read_text(),
        "server.key": made.key.read_text(),
        "accepts": basic(USER, PASSWORD),
    }
    namespace.apply(
        config_map("git-code", {"git_server.py": SERVER.read_text(encoding="utf-8"), "serve.py": SERVE}),
        config_map("git-files", {path.replace("/", "--"): text for path, text in files.items()}),
        secret("git-tls", tls),
        secret("git", {"username": USER, "password": PASSWORD, "ca.crt": ca}),
        _pod(),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "git"},
            "spec": {"selector": {"app": "git"}, "ports": [{"port": PORT}]},
        },
    )
    namespace.kubectl("wait", "--for=condition=Ready", "pod/git", "--timeout=120s")


def git(namespace: Namespace, *arguments: str) -> str:
    """Returns the output of git in the server's repository."""
    repository = ("git", "--git-dir", "/tmp/repositories/app.git")
    return namespace.kubectl("exec", "pod/git", "--", *repository, *arguments)


def commit(namespace: Namespace, files: dict[str, str]) -> str:
    """Adds a commit with these files to the branch `main`, as a person who pushes it. Returns its id."""
    code = f"""
import sys
from pathlib import Path

sys.path.insert(0, "/srv/code")
import git_server

repository = git_server.Repository(Path("/tmp/repositories/app.git"))
print(repository.commit({{path: text.encode() for path, text in {files!r}.items()}}))
"""
    return namespace.kubectl("exec", "pod/git", "--", "python", "-c", code).strip()


def _pod() -> Manifest:
    volumes: dict[str, Any] = {
        "code": {"configMap": {"name": "git-code"}},
        "files": {"configMap": {"name": "git-files"}},
        "tls": {"secret": {"secretName": "git-tls"}},
        "tmp": {"emptyDir": {}},
    }
    closed = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    identity = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    paths = {name: "/tmp" if name == "tmp" else f"/srv/{name}" for name in volumes}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "git", "labels": {"app": "git"}},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": identity,
            "containers": [
                {
                    "name": "git",
                    "image": "dspy-swarm/git:dev",
                    "command": ["python", "/srv/code/serve.py"],
                    "env": [{"name": "HOME", "value": "/tmp"}],
                    "securityContext": closed,
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                    "volumeMounts": [{"name": name, "mountPath": path} for name, path in paths.items()],
                }
            ],
            "volumes": [{"name": name, **volume} for name, volume in volumes.items()],
        },
    }


@contextmanager
def slow(namespace: Namespace) -> Iterator[None]:
    """Makes the server take a second more for each answer within the block."""
    namespace.kubectl("exec", "pod/git", "--", "touch", "/tmp/slow")
    yield
    namespace.kubectl("exec", "pod/git", "--", "rm", "/tmp/slow")


@contextmanager
def down(namespace: Namespace) -> Iterator[None]:
    """Makes the server answer 503 within the block."""
    namespace.kubectl("exec", "pod/git", "--", "touch", "/tmp/down")
    yield
    namespace.kubectl("exec", "pod/git", "--", "rm", "/tmp/down")


def trailers(message: str) -> dict[str, str]:
    """Returns the trailers of a commit's message."""
    return dict(line.split(": ", 1) for line in message.strip().rpartition("\n\n")[2].splitlines())


def files_of(namespace: Namespace, commit: str, path: str) -> dict[str, Any]:
    """Returns the JSON files of a folder in a commit, by name."""
    names = git(namespace, "ls-tree", "--name-only", f"{commit}:{path}").split()
    written = {name: git(namespace, "show", f"{commit}:{path}/{name}") for name in names}
    return {name: json.loads(text) for name, text in written.items() if name.endswith(".json")}
