"""A namespace for objects that nobody works on: they name an image that is not there."""

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
    """Returns when the API server tells of a CRD that was installed just now: it does so a while after serving it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            namespace.kubectl("explain", "dspyc.status.conditions")
            return
        except CommandError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
