"""Installs the product on a cluster for the tiers that need a cluster."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import testbed
from support.cluster import OPERATOR_NAMESPACE, Namespace, install_operator, secret

WEBHOOK_KEY = "a key of webhooks in tests"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> testbed.Cluster:
    """Returns a cluster with this checkout's operator. Its deadlines are short, so that their tests are short."""
    # The file is beside the folders of all test processes.
    with first_of(tmp_path_factory.getbasetemp().parent / f"installed-{testrun_uid}") as is_first:
        cluster = testbed.cluster()
        if is_first:
            if not cluster.setup.context:  # in a cluster of somebody else, the owner has loaded the images
                cluster.load(*testbed.project_images())
            place = Namespace(cluster, OPERATOR_NAMESPACE)
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR_NAMESPACE}}
            place.apply(namespace, secret("webhook", {"key": WEBHOOK_KEY}))
            install_operator(
                cluster,
                **{"operator.gatherInterval": "1", "operator.pendingDeadline": "10", "operator.retryDelay": "1"},
                **{"webhook.enabled": "true", "webhook.secretName": "webhook"},
            )
    return cluster


@contextmanager
def first_of(file: Path) -> Iterator[bool]:
    """Yields whether this process is the first that enters with this file. Only one process is inside at a time."""
    with file.open("a") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        yield mark.seek(0, os.SEEK_END) == 0
        mark.write("installed\n")
