"""A Kubernetes cluster for tests and demonstrations, on machines of three kinds behind one small interface.

    cluster = testbed.cluster()
    cluster.load(*testbed.project_images())
    cluster.kubectl("get", "nodes")

`docs/cluster.md` explains how a cluster is made; `python -m testbed doctor` explains it for this machine.
"""

from collections.abc import Sequence

from testbed import cache, clusters, images
from testbed.clusters import DEFAULT_NAME, Cluster
from testbed.machine import NoWayError
from testbed.shell import CommandError

__all__ = ["Cluster", "CommandError", "NoWayError", "cluster", "project_images"]


def cluster(name: str = DEFAULT_NAME, nodes: int = 1, context: str | None = None) -> Cluster:
    """The cluster of this name, made first if need be, or that of an existing kubeconfig context if asked for."""
    with cache.lock():
        return clusters.up(clusters.prepare(context), name, nodes)


def project_images(names: Sequence[str] = (), tag: str = "dev", context: str | None = None) -> list[str]:
    """The tags of the project's images, or of the named ones, built first where something in them changed."""
    with cache.lock():
        return images.build(clusters.prepare(context), names, tag)
