"""A real API server behaves as the cluster in memory does, and the operator's client understands it."""

from collections.abc import AsyncIterator

import pytest
from kubernetes.aio import client, config

from support.cluster import Namespace
from support.kube_contract import KubeContract
from swarm_operator.cluster.client import RestKube
from swarm_operator.settings import Settings


class TestApiServer(KubeContract):
    @pytest.fixture
    async def kube(self, namespace: Namespace) -> AsyncIterator[RestKube]:
        cluster, configuration = namespace.cluster, client.Configuration()
        await config.load_kube_config(
            config_file=str(cluster.kubeconfig), context=cluster.context, client_configuration=configuration
        )
        found = RestKube(client.ApiClient(configuration), Settings())
        yield found
        await found.close()

    @pytest.fixture
    def place(self, namespace: Namespace) -> str:
        return namespace.name
