"""Looks at this machine, and chooses how it gets a cluster."""

from __future__ import annotations

import enum
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from testbed import engine
from testbed.shell import succeeds

# This is the default node image of the kind release in `tools.py`. kind's authors tested the two together.
PUBLISHED_NODE_IMAGE = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"


class Way(enum.Enum):
    """A way to get a cluster. The value explains the way to the user in one line."""

    CONTEXT = "the cluster of an existing kubeconfig context, because one was asked for"
    KIND = "kind on this machine's Docker engine, with the published node image"
    SOURCE = "kind on an engine of our own (Debian's docker.io), with a node image built from Go modules"


class NoWayError(RuntimeError):
    """This machine cannot have a cluster as it is. The message says what to install."""


@dataclass(frozen=True)
class Facts:
    """Facts about the machine that decide the way to a cluster."""

    context: str | None = None
    docker: bool = False
    node_image: bool = False
    root: bool = False
    apt: bool = False
    go: bool = False


OTHERWISE = (
    "To choose otherwise: DSPY_SWARM_CONTEXT=<kubeconfig context> takes a cluster that you have, "
    "CLUSTER=none leaves the tests of a cluster out."
)


def announcement(facts: Facts, missing: Sequence[str]) -> str:
    """Return a line that says what the cluster tests will install and make on such a machine.

    Args:
        missing: the Debian packages that our own engine needs and that are not installed.
    """
    match choose(facts):
        case Way.CONTEXT:
            what = f"use the cluster of the context {facts.context}, and install the chart there"
        case Way.KIND:
            what = f"make a kind cluster in this machine's Docker, with the node image {node_image().partition('@')[0]}"
        case Way.SOURCE:
            packages = f"install {', '.join(missing)} with apt-get, and " if missing else ""
            what = f"{packages}make a kind cluster in a Docker engine of their own, built from Go modules"
    return f"The tests of a cluster {what}. {OTHERWISE}"


def choose(facts: Facts) -> Way:
    """Choose the way to a cluster that uses as much as possible of what the user already has."""
    if facts.context:
        return Way.CONTEXT
    if facts.docker and facts.node_image:
        return Way.KIND
    if facts.root and facts.apt and facts.go:
        return Way.SOURCE
    raise NoWayError(_advice(facts))


def _advice(facts: Facts) -> str:
    lacking = {
        "run as root": not facts.root,
        "a Debian-like system with apt-get": not facts.apt,
        "Go 1.25 or later (go.dev/dl)": not facts.go,
    }
    first = (
        f"let Docker have the node image: docker pull {node_image()}"
        if facts.docker
        else "install Docker and start it (docs.docker.com/engine/install)"
    )
    return "\n".join(
        [
            "This machine cannot have a test cluster as it is. Any one of these cures it:",
            f"  - {first}",
            "  - name a cluster that you have: DSPY_SWARM_CONTEXT=<kubeconfig context>",
            "  - leave the tests of a cluster out: make test CLUSTER=none",
            f"  - build everything from source; what is missing for that: "
            f"{', '.join(need for need, missing in lacking.items() if missing)}",
        ]
    )


def look(context: str | None = None) -> Facts:
    """Return facts about this machine. The user's context is `context`, or `$DSPY_SWARM_CONTEXT` if it is None."""
    context = context or os.environ.get("DSPY_SWARM_CONTEXT") or None
    ours = os.environ.get("DOCKER_HOST") == engine.env()["DOCKER_HOST"]
    docker = not context and not ours and succeeds("docker", "version")
    return Facts(
        context=context,
        docker=docker,
        node_image=docker
        and (
            succeeds("docker", "image", "inspect", node_image())
            or succeeds("docker", "manifest", "inspect", node_image())
        ),
        root=os.geteuid() == 0,
        apt=shutil.which("apt-get") is not None,
        go=shutil.which("go") is not None,
    )


def node_image() -> str:
    """Return the node image for kind: `$DSPY_SWARM_NODE_IMAGE`, or the published image."""
    return os.environ.get("DSPY_SWARM_NODE_IMAGE") or PUBLISHED_NODE_IMAGE
