"""Builds Go programs: kubectl, helm and kind for the user, and the programs of a node image."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from testbed import cache
from testbed.shell import run, say

NODE_IMAGE = Path(__file__).parent / "node_image"

# Kubernetes 1.36 needs containerd 2, but Debian 12 has containerd 1.6. We use Debian 12, since its systemd still runs
# on cgroup v1.
KUBERNETES = "v1.35.4"
KIND = "sigs.k8s.io/kind@v0.33.0"
HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"
COREDNS = "github.com/coredns/coredns@v1.14.7"

_NAMES_OF_KUBE = ("kubectl", "kubeadm")
_MODULES = {"kind": KIND, "helm": HELM, "coredns": COREDNS}
_STRIPPED = "-s -w"


def program(name: str) -> Path:
    """Build a program unless it was built before. Return its path."""
    if name in _MODULES:
        module = _MODULES[name]
        return cache.made(name, (module,), lambda folder: _install(module, folder)) / name
    if name == "pause":
        return _compiled("pause", _STRIPPED) / "pause"
    folder = _compiled("kube", f"{_STRIPPED} {_version_flags()}")
    return folder / (name if name in _NAMES_OF_KUBE else "kube")


def _install(module: str, folder: Path) -> None:
    say(f"building {module}")
    run(
        *("nice", "go", "install", "-trimpath", "-ldflags", _STRIPPED, module),
        env=_go_env() | {"GOBIN": str(folder)},
        cwd=Path("/"),
    )


def _compiled(package: str, flags: str) -> Path:
    def make(folder: Path) -> None:
        say(f"building {package}" + (f", all of Kubernetes {KUBERNETES}" if package == "kube" else ""))
        run(
            *("nice", "go", "build", "-trimpath", "-ldflags", flags, "-o", folder / package, f"./{package}"),
            env=_go_env(),
            cwd=NODE_IMAGE,
        )
        for name in _NAMES_OF_KUBE if package == "kube" else ():
            (folder / name).symlink_to(package)

    # `pause` has no dependency in go.mod, so a change of Kubernetes need not rebuild it.
    locks = (NODE_IMAGE / "go.mod", NODE_IMAGE / "go.sum") if package == "kube" else ()
    return cache.made(package, (flags, *locks, NODE_IMAGE / package), make)


def _go_env() -> dict[str, str]:
    """Return variables that make Go programs static, and keep Go's build cache where `clean --all` deletes it."""
    return {"CGO_ENABLED": "0", "GOCACHE": str(cache.root() / "go-build")}


def _version_flags() -> str:
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    values = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())


def kind_files() -> Path:
    """Return the folder of the files that kind's authors put into a node image. It is in kind's Go module."""
    module = json.loads(run("go", "mod", "download", "-json", KIND, cwd=Path("/")))
    return Path(module["Dir"]) / "images/base/files"


def folder(names: Iterable[str], **links: Path) -> Path:
    """Make a folder for the front of a PATH, with the named programs and further links. Return it."""
    wanted = {name: program(name) for name in names} | links

    def make(place: Path) -> None:
        for name, target in wanted.items():
            (place / name).symlink_to(target)

    return cache.made("bin", tuple(f"{name}={target}" for name, target in sorted(wanted.items())), make)
