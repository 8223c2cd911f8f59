"""Builds Flux's controllers from their Go modules, and runs them beside a cluster for tests of GitOps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed import cache
from testbed.shell import CommandError, free_port, run, say

VERSION = "v1.9.6"
KUSTOMIZE, SOURCE = "kustomize-controller", "source-controller"
_REPLACED = {SOURCE: {"github.com/fluxcd/pkg/artifact": "v0.18.0"}}
"""Versions of modules in place of those that a controller asks for and that no proxy has."""
_KSTATUS = Path(__file__).parent / "kstatus" / "main.go"
_SECONDS_TO_START = 60


def programs() -> Path:
    """Build the controllers, and a program that computes kstatus, unless they were built before: some minutes.

    Return the folder with them, and with their CRDs in `crds/`.
    """
    return cache.made("flux", (VERSION, json.dumps(_REPLACED), _KSTATUS), _make)


def _make(folder: Path) -> None:
    (folder / "crds").mkdir()
    for name in (KUSTOMIZE, SOURCE):
        say(f"building Flux's {name} {VERSION}, which takes some minutes")
        module = f"github.com/fluxcd/{name}"
        got = json.loads(run("go", "mod", "download", "-json", f"{module}@{VERSION}", cwd=Path("/")))
        with cache.scratch() as place:
            (place / "go.mod").write_text(_go_mod(name, got["GoMod"]), encoding="utf-8")
            targets = {name: module}
            if name == KUSTOMIZE:
                (place / "kstatus").mkdir()
                shutil.copy(_KSTATUS, place / "kstatus")
                targets["kstatus"] = "./kstatus"
            for program, package in targets.items():
                run(
                    *("nice", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder / program, package),
                    env={
                        "CGO_ENABLED": "0",
                        "GOTOOLCHAIN": "local",
                        "GOFLAGS": "-mod=mod",
                        "GOCACHE": str(cache.root() / "go-build"),
                    },
                    cwd=place,
                )
        for crd in (Path(got["Dir"]) / "config/crd/bases").iterdir():
            shutil.copyfile(crd, folder / "crds" / crd.name)


def _go_mod(name: str, upstream: str) -> str:
    """Return a go.mod that asks for the controller, with the replacements of its own go.mod that are not local."""
    told = json.loads(run("go", "mod", "edit", "-json", upstream, cwd=Path("/")))
    replaced = {
        _named(each["Old"]): _named(each["New"]) for each in told.get("Replace") or () if "Version" in each["New"]
    }
    replaced |= {path: f"{path} {version}" for path, version in _REPLACED.get(name, {}).items()}
    lines = [
        f"module dspy-swarm.dev/{name}",
        f"go {told['Go']}",
        f"require github.com/fluxcd/{name} {VERSION}",
        *(f"replace {old} => {new}" for old, new in replaced.items()),
    ]
    return "\n".join(lines) + "\n"


def _named(module: Mapping[str, str]) -> str:
    return " ".join(filter(None, (module["Path"], module.get("Version"))))


def kstatus(objects: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the status of each object, as the library of Flux computes it."""
    done = subprocess.run(
        [programs() / "kstatus"], input=json.dumps(list(objects)).encode(), capture_output=True, check=False
    )
    if done.returncode:
        raise CommandError(done.stderr.decode(errors="replace"))
    found: list[str] = json.loads(done.stdout)
    return found


@dataclass(frozen=True)
class Flux:
    """Running controllers.

    Attributes:
        logs: the log of each controller.
    """

    logs: Mapping[str, Path]


@contextmanager
def running(kubeconfig: Path) -> Iterator[Flux]:
    """Run both controllers on this machine for a cluster that has their CRDs, until the block ends.

    Raises:
        CommandError: one does not start. The message ends with what it has printed.
    """
    folder = Path(tempfile.mkdtemp(prefix="dspy-swarm-flux-"))
    storage = f"127.0.0.1:{free_port()}"
    flags: dict[str, list[str]] = {
        SOURCE: [
            f"--storage-addr={storage}",
            f"--storage-adv-addr={storage}",
            f"--storage-path={folder / 'artifacts'}",
        ],
        KUSTOMIZE: [],
    }
    (folder / "artifacts").mkdir()
    logs = {name: folder / f"{name}.log" for name in flags}
    try:
        with ExitStack() as stack:
            for name, more in flags.items():
                stack.enter_context(_serving(name, more, kubeconfig, logs[name]))
            yield Flux(logs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _serving(name: str, flags: list[str], kubeconfig: Path, log: Path) -> Iterator[None]:
    health = f"127.0.0.1:{free_port()}"
    command = [
        str(programs() / name),
        "--watch-all-namespaces",
        "--enable-leader-election=false",
        "--metrics-addr=127.0.0.1:0",
        f"--health-addr={health}",
        *flags,
    ]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "RUNTIME_NAMESPACE": "flux-system"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + _SECONDS_TO_START
        while not _is_ready(f"http://{health}/readyz"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise CommandError(f"{name} does not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.3)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
