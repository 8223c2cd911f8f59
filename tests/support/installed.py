"""The product on a cluster, for the tiers that need one."""

import pytest

import testbed
from support.cluster import install_operator


@pytest.fixture(scope="session")
def installed() -> testbed.Cluster:
    """A cluster with this checkout's operator. Its deadlines are short, so that tests of them are."""
    cluster = testbed.cluster()
    cluster.load(*testbed.project_images())
    install_operator(
        cluster, **{"operator.gatherInterval": "1", "operator.pendingDeadline": "10", "operator.retryDelay": "1"}
    )
    return cluster
