"""Makes, finds, uses and removes clusters of all kinds."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed import cache, engine, loading, machine, nodes, tools
from testbed.machine import Way
from testbed.shell import CommandError, run, say

DEFAULT_NAME = "dspy-swarm"
# The API server reaches this address only while the pod network and the cluster's DNS work. A condition in an object's
# status could be older than the last restart, but an answer from this address cannot.
_DNS_METRICS = "/api/v1/namespaces/kube-system/services/http:kube-dns:metrics/proxy/metrics"
TOOLS = ("kubectl", "helm", "kind")


@dataclass(frozen=True)
class Setup:
    """How this machine gets a cluster: the way, the folder of its programs, and the variables of its Docker engine."""

    way: Way
    programs: Path
    engine: Mapping[str, str] = field(default_factory=dict)
    context: str | None = None

    @property
    def env(self) -> dict[str, str]:
        """Return the environment in which docker, kind, kubectl and helm are those of this setup."""
        return {**self.engine, "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"}


@dataclass(frozen=True)
class Cluster:
    """A running cluster. `kubeconfig` contains only this cluster, as the context named `context`."""

    name: str
    kubeconfig: Path
    context: str
    setup: Setup

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run kubectl on this cluster, and return its output."""
        return run("kubectl", "--kubeconfig", self.kubeconfig, *arguments, stdin=stdin, env=self.setup.env)

    def helm(self, *arguments: str | Path) -> str:
        """Run helm on this cluster, and return its output."""
        return run("helm", "--kubeconfig", self.kubeconfig, *arguments, env=self.setup.env)

    def load(self, *images: str) -> None:
        """Load images of the Docker engine onto every node that lacks them."""
        if self.setup.way is Way.CONTEXT:
            raise CommandError(f"push {', '.join(images)} to where the cluster of {self.context} pulls from")
        for image in images:
            say(f"loading {image} into {self.name}")
            if self.setup.way is Way.SOURCE:
                loading.load(image, _nodes_of(self))
            else:
                run("kind", "load", "docker-image", "--name", self.name, image, env=self.setup.env)

    def image_id(self, image: str) -> str:
        """Return the Docker engine's id of an image. It is empty if this cluster pulls its images from elsewhere."""
        if self.setup.way is Way.CONTEXT:
            return ""
        return run("docker", "image", "inspect", "--format", "{{.Id}}", image, env=self.setup.env)

    def wait_ready(self) -> None:
        """Wait until pods can be created, have a network, and resolve names."""
        self.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s")
        _until(lambda: self.kubectl("--request-timeout=5s", "get", "--raw", _DNS_METRICS), seconds=120)
        _until(lambda: self.kubectl("get", "serviceaccount", "default"), seconds=30)


def prepare(context: str | None = None) -> Setup:
    """Choose the way to a cluster on this machine. Make the Docker engine and the tools that it needs and lacks."""
    facts = machine.look(context)
    way = machine.choose(facts)
    if way is Way.SOURCE:
        engine.install()
        engine.start()
        return Setup(way, tools.folder(TOOLS, docker=engine.CLIENT), engine.env())
    missing = [name for name in TOOLS if not shutil.which(name) and not (name == "kind" and facts.context)]
    if missing and not facts.go:
        raise machine.NoWayError(f"Install {', '.join(missing)}; or install Go, and they are built here.")
    return Setup(way, tools.folder(missing), context=facts.context)


def up(setup: Setup, name: str = DEFAULT_NAME, count: int = 1) -> Cluster:
    """Return the cluster of this name if it works. Otherwise make a new cluster with so many nodes."""
    if setup.context:
        return _of_context(setup, setup.context)
    cluster = _of_kind(setup, name)
    if not _is_well(cluster):
        say(f"the way on this machine: {setup.way.value}")
        _create(cluster, count)
    cluster.wait_ready()
    return cluster


def running(setup: Setup, name: str = DEFAULT_NAME) -> Cluster:
    """Return the cluster of this name that `up` has made."""
    if setup.context:
        return _of_context(setup, setup.context)
    if not exists(setup, name):
        raise CommandError(f"no cluster {name}: make it with `python -m testbed up --name {name}`")
    return _of_kind(setup, name)


def exists(setup: Setup, name: str) -> bool:
    """Return whether kind knows a cluster of this name, even a broken cluster."""
    return name in run("kind", "get", "clusters", env=setup.env).splitlines()


def down(setup: Setup, name: str = DEFAULT_NAME) -> None:
    """Delete the cluster of this name, but not the cluster of a user's context."""
    if not setup.context:
        cluster = _of_kind(setup, name)
        run("kind", "delete", "cluster", "--name", name, "--kubeconfig", cluster.kubeconfig, env=setup.env)
        cluster.kubeconfig.unlink(missing_ok=True)


def _of_kind(setup: Setup, name: str) -> Cluster:
    return Cluster(name, _kubeconfig(name), f"kind-{name}", setup)


def _of_context(setup: Setup, context: str) -> Cluster:
    alone = run(*("kubectl", "config", "view", "--context", context, "--minify", "--flatten", "--raw"), env=setup.env)
    cluster = Cluster(context, _kubeconfig(context.replace("/", "_")), context, setup)
    cluster.kubeconfig.touch(mode=0o600)
    cluster.kubeconfig.write_text(alone + "\n")
    return cluster


def kubeconfigs() -> Path:
    """Return the folder with a kubeconfig for each cluster."""
    return cache.root() / "kubeconfigs"


def _kubeconfig(name: str) -> Path:
    kubeconfigs().mkdir(parents=True, exist_ok=True)
    return kubeconfigs() / name


def _nodes_of(cluster: Cluster) -> list[str]:
    return run("kind", "get", "nodes", "--name", cluster.name, env=cluster.setup.env).split()


def _is_well(cluster: Cluster) -> bool:
    """Start the cluster's containers if they have stopped, and return whether the cluster answers."""
    if not exists(cluster.setup, cluster.name):
        return False
    try:
        run("docker", "start", *_nodes_of(cluster), env=cluster.setup.env)
        arguments = ("--name", cluster.name, "--kubeconfig", cluster.kubeconfig)
        run("kind", "export", "kubeconfig", *arguments, env=cluster.setup.env)
        _until(lambda: cluster.kubectl("--request-timeout=5s", "get", "--raw", "/readyz"), seconds=60)
    except CommandError as unwell:
        say(f"cluster {cluster.name} is there but not well: {str(unwell).splitlines()[-1]}")
        return False
    return True


def _create(cluster: Cluster, count: int) -> None:
    setup = cluster.setup
    image = nodes.image() if setup.way is Way.SOURCE else machine.node_image()
    if exists(setup, cluster.name):
        down(setup, cluster.name)
    say(f"creating cluster {cluster.name} with {count} node{'s' if count > 1 else ''}")
    run(
        *("kind", "create", "cluster", "--name", cluster.name, "--image", image, "--wait", "120s"),
        *("--kubeconfig", cluster.kubeconfig, "--config", "-"),
        stdin=configuration(count),
        env=setup.env,
    )


def configuration(count: int) -> str:
    """Return kind's configuration of a cluster with one control plane and `count - 1` workers."""
    roles: Sequence[str] = ["control-plane"] + ["worker"] * (count - 1)
    header = ["kind: Cluster", "apiVersion: kind.x-k8s.io/v1alpha4", "nodes:"]
    return "\n".join(header + [f"  - role: {role}" for role in roles]) + "\n"


def _until(attempt: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            attempt()
            return
        except CommandError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
