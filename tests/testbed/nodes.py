"""Builds the node image of kind from a Debian root filesystem, Go programs and kind's own files."""

from __future__ import annotations

import shutil
from pathlib import Path

from testbed import cache, debian, engine, tools
from testbed.shell import run, say

PACKAGES = (
    *("systemd", "procps", "kmod", "jq", "ca-certificates", "busybox-static"),
    *("conntrack", "ethtool", "iproute2", "iptables", "nftables"),
    *("containerd", "runc", "containernetworking-plugins"),
)
_PAUSE = "registry.k8s.io/pause:3.10"  # kind's containerd configuration names this image


def image() -> str:
    """Build the node image unless the engine has it. Return its tag."""
    root = debian.image("dspy-swarm/node-root", PACKAGES)
    programs = {name: tools.program(name) for name in ("kube", "coredns", "pause")}
    parts: list[cache.Input] = [
        root,
        tools.KIND,
        tools.NODE_IMAGE,
        *(str(path) for path in programs.values()),
    ]
    tag = f"dspy-swarm/node:{tools.KUBERNETES}-{cache.key(*parts)}"
    if not engine.has_image(tag):
        with cache.scratch() as context:
            _stage(context, programs)
            say("building the images that a node starts with")
            archive = _archive(context, root)
            say("building the node image")
            _build("node", f"{tag}-empty", context, root)
            _preload(f"{tag}-empty", archive, tag)
    return tag


def _stage(context: Path, programs: dict[str, Path]) -> None:
    for file in tools.NODE_IMAGE.iterdir():
        if file.is_file():
            shutil.copy(file, context)
    for name, path in programs.items():
        shutil.copy(path, context / name)
    shutil.copytree(tools.kind_files(), context / "kind", copy_function=shutil.copyfile)
    for path in (context / "kind").rglob("*"):
        path.chmod(0o755 if path.is_dir() or "bin" in path.parts else 0o644)


def _build(target: str, tag: str, context: Path, root: str) -> None:
    arguments = ("--build-arg", f"ROOT_IMAGE={root}", "--build-arg", f"KUBERNETES={tools.KUBERNETES}")
    engine.docker("build", "--target", target, "--tag", tag, *arguments, context)


def _archive(context: Path, root: str) -> Path:
    """Make an archive of all images that kubeadm needs, under kubeadm's names. Return its path."""
    kubeadm = tools.program("kubeadm")
    names = run(kubeadm, "config", "images", "list", "--kubernetes-version", tools.KUBERNETES).split()
    wanted: dict[str, list[str]] = {"kubernetes": [], "coredns": [], "pause": [_PAUSE]}
    for name in names:
        program = name.rpartition("/")[2].partition(":")[0]
        wanted[program if program in wanted else "kubernetes"].append(name)
    tags = [(target, tag) for target, tags in wanted.items() for tag in tags]
    for target, tag in tags:
        _build(target, tag, context, root)
    engine.docker("save", "--output", context / "images.tar", *(tag for _, tag in tags))
    return context / "images.tar"


def _preload(empty: str, archive: Path, tag: str) -> None:
    """Import the archive into the containerd of a node image. It runs a container, since containerd must run for it."""
    container = engine.docker(
        *("run", "--detach", "--privileged", "--security-opt", "seccomp=unconfined"),
        *("--volume", f"{archive}:/images.tar:ro", "--entrypoint", "sleep", empty, "infinity"),
    )
    try:
        engine.docker("exec", container, "sh", "/kind/preload.sh", "/images.tar")
        entrypoint = 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]'
        engine.docker("commit", "--change", entrypoint, "--change", "CMD []", container, tag)
    finally:
        engine.docker("rm", "--force", "--volumes", container)
        engine.docker("rmi", "--no-prune", empty)
