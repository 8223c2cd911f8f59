"""The operator's REST client handles the answers of an API server and of proxies before it."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web
from kubernetes.aio import client

from swarm_operator.__main__ import OneLine
from swarm_operator.cluster import errors
from swarm_operator.cluster.client import PAGE, RestKube
from swarm_operator.cluster.resources import CONFIG_MAPS
from swarm_operator.settings import Settings

Answer = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[RestKube]:
    """Yields a client of a server that gives this answer to every request."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    found = RestKube(client.ApiClient(configuration), Settings())
    yield found
    await found.close()
    await runner.cleanup()


@pytest.fixture
async def kube() -> AsyncIterator[RestKube]:
    """Yields a client of a server that answers with a web page, and to a request for a log also with a wrong date."""

    async def page(request: web.Request) -> web.Response:
        date = {"Date": "Sat, 21 Nov 2048 12:00:00 GMT"} if request.path.endswith("/log") else None
        return web.Response(text="<html>Welcome</html>", content_type="text/html", headers=date)

    async with served(page) as found:
        yield found


def pages(*answers: web.Response, asked: list[dict[str, str]]) -> Answer:
    """Returns a handler that gives these answers in turn and appends each query to `asked`."""
    rest = iter(answers)

    async def page(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        return next(rest)

    return page


def part(*names: str, more: str = "") -> web.Response:
    items = [{"metadata": {"name": name}} for name in names]
    return web.json_response({"metadata": {"continue": more} if more else {}, "items": items})


async def test_a_list_is_read_page_by_page() -> None:
    asked: list[dict[str, str]] = []
    async with served(pages(part("a", "b", more="token"), part("c"), asked=asked)) as kube:
        found = await kube.select(CONFIG_MAPS, "team", labels="x=y")
    assert [item["metadata"]["name"] for item in found] == ["a", "b", "c"]
    first = {"limit": str(PAGE), "labelSelector": "x=y"}
    assert asked == [first, {**first, "continue": "token"}]


async def test_a_list_fails_as_a_whole_if_one_of_its_pages_expires() -> None:
    """The operator reads the list again later. Otherwise it would take a part of the list for the whole list."""
    expired = web.json_response({"reason": "Expired", "message": "the token is too old"}, status=410)
    async with served(pages(part("a", more="token"), expired, asked=[])) as kube:
        with pytest.raises(errors.Unavailable, match="too old"):
            await kube.select(CONFIG_MAPS, "team")


async def test_an_answer_of_the_api_server_that_is_not_json_raises_an_error(kube: RestKube) -> None:
    with pytest.raises(errors.Unavailable, match="no JSON"):
        await kube.get(CONFIG_MAPS, "a", "b")
    with pytest.raises(errors.Unavailable, match="no JSON"):
        await kube.create(CONFIG_MAPS, "a", {})


async def test_the_client_tells_the_time_of_the_api_server(kube: RestKube) -> None:
    await kube.log("a", "b", "c", limit=10, timeout=5)
    assert 0 <= (kube.clock() - datetime(2048, 11, 21, 12, tzinfo=UTC)).total_seconds() < 60


def test_a_text_from_a_pod_stays_on_one_line_of_the_operators_log() -> None:
    record = logging.LogRecord("n", logging.INFO, "f", 1, "%s", ("a\n2026 ERROR forged\r\x1b[2Jü",), None)
    assert OneLine("%(message)s").format(record) == r"a\n2026 ERROR forged\r\x1b[2Jü"
