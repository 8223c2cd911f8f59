"""The REST client against a server that answers as something between may answer."""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web
from kubernetes.aio import client

from swarm_operator.__main__ import OneLine
from swarm_operator.cluster import errors
from swarm_operator.cluster.client import RestKube
from swarm_operator.cluster.resources import CONFIG_MAPS
from swarm_operator.settings import Settings


@pytest.fixture
async def kube() -> AsyncIterator[RestKube]:
    """Its server says 200 to everything, with a page of its own; for a pod's output it has a clock of its own, too."""

    async def page(request: web.Request) -> web.Response:
        date = {"Date": "Sat, 21 Nov 2048 12:00:00 GMT"} if request.path.endswith("/log") else None
        return web.Response(text="<html>Welcome</html>", content_type="text/html", headers=date)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", page)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    found = RestKube(client.ApiClient(configuration), Settings())
    yield found
    await found.close()
    await runner.cleanup()


async def test_an_answer_that_is_no_json_is_no_answer(kube: RestKube) -> None:
    with pytest.raises(errors.Unavailable, match="no JSON"):
        await kube.get(CONFIG_MAPS, "a", "b")
    with pytest.raises(errors.Unavailable, match="no JSON"):
        await kube.create(CONFIG_MAPS, "a", {})


async def test_its_clock_is_the_servers(kube: RestKube) -> None:
    await kube.log("a", "b", "c", limit=10, timeout=5)
    assert 0 <= (kube.clock() - datetime(2048, 11, 21, 12, tzinfo=UTC)).total_seconds() < 60


def test_what_pods_say_stays_one_line_of_the_log() -> None:
    record = logging.LogRecord("n", logging.INFO, "f", 1, "%s", ("a\n2026 ERROR forged\r\x1b[2Jü",), None)
    assert OneLine("%(message)s").format(record) == r"a\n2026 ERROR forged\r\x1b[2Jü"
