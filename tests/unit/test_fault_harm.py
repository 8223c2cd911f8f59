"""The proxy of the faults tier injects faults into requests. In these tests, the API server behind the proxy only
counts requests."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from faults import harm
from faults.proxy import FaultProxy

ARRIVED: list[str] = []
OPENER = build_opener(ProxyHandler({}))


class Server(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        ARRIVED.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(201)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    ARRIVED.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with FaultProxy(f"http://127.0.0.1:{server.server_address[1]}", ssl.create_default_context()) as found:
            yield found
        server.shutdown()
        thread.join()


BODY = '{"metadata": {"name": "one"}}'


def create(proxy: FaultProxy) -> bytes:
    url = f"{proxy.url}/apis/batch/v1/namespaces/n/jobs"
    with OPENER.open(Request(url, BODY.encode(), {"Content-Type": "application/json"}), timeout=30) as response:
        answer: bytes = response.read()
        return answer


def test_the_fault_proxy_can_hold_a_write_until_after_a_later_write(proxy: FaultProxy) -> None:
    held, answers = harm.Held(), []
    rule = proxy.add(lambda call: call.resource == "jobs", held)
    sender = threading.Thread(target=lambda: answers.append(create(proxy)))
    sender.start()
    assert held.came.wait(30)
    assert ARRIVED == []
    assert create(proxy) == b"done"
    assert (len(ARRIVED), answers) == (1, [])
    held.let_go()
    sender.join(30)
    assert (len(ARRIVED), answers) == (2, [b"done"])
    assert [str(call) for call in rule.hit] == ["  1 create jobs one"]


def test_the_fault_proxy_records_requests_and_answers(proxy: FaultProxy) -> None:
    recorded = harm.Recorded()
    proxy.add(lambda call: True, recorded, times=None)
    create(proxy)
    create(proxy)
    assert recorded.bodies == [b"done", b"done"]
    assert [call.body for call in proxy.writes] == [BODY.encode()] * 2


def test_the_fault_proxy_can_act_before_a_write_arrives(proxy: FaultProxy) -> None:
    happened: list[int] = []
    proxy.add(lambda call: True, harm.amid(lambda: happened.append(len(ARRIVED))))
    assert create(proxy) == b"done"
    assert (happened, len(ARRIVED)) == ([0], 1)
