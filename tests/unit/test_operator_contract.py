"""The cluster in memory behaves as a real API server does. `tests/cluster/test_contract.py` checks the real one."""

import pytest

from support.fake_cluster import NAMESPACE, FakeCluster
from support.kube_contract import KubeContract


class TestFakeCluster(KubeContract):
    @pytest.fixture
    def kube(self) -> FakeCluster:
        return FakeCluster()

    @pytest.fixture
    def place(self) -> str:
        return NAMESPACE
