"""Makes a Kubernetes cluster for tests and demonstrations. One small interface covers three kinds of machines.

    cluster = testbed.cluster()
    cluster.load(*testbed.project_images())
    cluster.kubectl("get", "nodes")

`docs/cluster.md` explains how a cluster is made; `python -m testbed doctor` explains it for this machine.
"""

import os
from collections.abc import Sequence

from testbed import cache, clusters, images
from testbed.clusters import DEFAULT_NAME, Cluster
from testbed.machine import NoWayError
from testbed.shell import CommandError

__all__ = ["Cluster", "CommandError", "NoWayError", "cluster", "project_images"]


def cluster(name: str = "", nodes: int = 1, context: str | None = None) -> Cluster:
    """Return the cluster of this name, and make it if it is missing. With `context`, return that context's cluster.

    The variable DSPY_SWARM_CLUSTER has the default name.
    """
    with cache.lock():
        return clusters.up(
            clusters.prepare(context), name or os.environ.get("DSPY_SWARM_CLUSTER") or DEFAULT_NAME, nodes
        )


def project_images(names: Sequence[str] = (), tag: str = "dev", context: str | None = None) -> list[str]:
    """Build the named images of the project, or all, if something in them has changed. Return their tags."""
    with cache.lock():
        return images.build(clusters.prepare(context), names, tag)
