"""These tests have a namespace in which no pod ever runs, since the image of its objects does not exist."""

import time
from collections.abc import Iterator

import pytest

import testbed
from support.cluster import Namespace
from support.installed import installed
from testbed import CommandError

__all__ = ["installed"]


@pytest.fixture(scope="session")
def namespace(installed: testbed.Cluster) -> Iterator[Namespace]:
    found = Namespace(installed, "api")
    found.delete()
    found.create()
    wait_for_documentation(found)
    yield found
    found.delete(wait=False)


def wait_for_documentation(namespace: Namespace, seconds: float = 60) -> None:
    """Waits until the API server documents the CRD. It first serves the CRD, and documents it a while later."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            namespace.kubectl("explain", "dspyc.status.conditions")
            return
        except CommandError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
