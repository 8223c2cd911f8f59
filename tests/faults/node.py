"""Runs commands on the cluster's node, which is a container of this machine."""

from testbed import Cluster
from testbed.shell import run


def name(cluster: Cluster) -> str:
    return f"{cluster.name}-control-plane"


def on_node(cluster: Cluster, *command: str) -> str:
    """Returns the output of the command. Raises CommandError."""
    return run("docker", "exec", name(cluster), *command, env=cluster.setup.env)
