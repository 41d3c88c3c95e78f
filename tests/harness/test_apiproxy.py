"""The proxy before the API server, in front of a small server of our own: what is frozen stands still, all else flows."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.controlplane import apiproxy
from tests.controlplane.apiproxy import ApiProxy
from tests.controlplane.pki import Authority


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked; a watch gets a line every 50 ms."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        if "watch=true" not in self.path:
            self.wfile.write(self.path.encode())
            return
        try:
            for number in range(200):
                self.wfile.write(f"{number}\n".encode())
                time.sleep(0.05)
        except OSError:
            return

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.end_headers()
        self.wfile.write(json.dumps([self.headers["Connection"], self.headers["Authorization"], len(body)]).encode())

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.load_or_make(tmp_path / "ca.crt", tmp_path / "ca.key")


@pytest.fixture
def upstream(authority: Authority) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.daemon_threads = True
    server.block_on_close = False
    context = apiproxy._server_context(authority.server(["localhost"], ["127.0.0.1"]))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def proxy(upstream: str, authority: Authority, tmp_path: Path) -> Iterator[ApiProxy]:
    with ApiProxy(upstream, (tmp_path / "ca.crt").read_bytes(), authority.server(["localhost"], ["127.0.0.1"])) as running:
        yield running


@pytest.fixture
def client(proxy: ApiProxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url, verify=False, timeout=1, trust_env=False) as connected:
        yield connected


def test_requests_pass_with_their_bodies_and_headers(client: httpx.Client) -> None:
    assert client.get("/api/v1/namespaces?limit=1").text == "/api/v1/namespaces?limit=1"
    answer = client.post("/api", content=b"x" * 300_000, headers={"Authorization": "Bearer t"})
    assert answer.json() == ["close", "Bearer t", 300_000]


def test_frozen_watches_stand_still_while_reads_go_on(proxy: ApiProxy, client: httpx.Client) -> None:
    with client.stream("GET", "/pods?watch=true") as watch:
        lines = watch.iter_lines()
        assert next(lines) == "0"
        proxy.freeze_watches()
        assert client.get("/read").text == "/read"
        with ThreadPoolExecutor(1) as pool:
            seen = pool.submit(lambda: [next(lines) for _ in range(12)])
            time.sleep(0.4)
            assert not seen.done()
            proxy.thaw()
            assert seen.result(2)[-1] == "12"


def test_a_watch_begun_while_frozen_says_nothing(proxy: ApiProxy, client: httpx.Client) -> None:
    proxy.freeze_watches()
    with pytest.raises(httpx.ReadTimeout):
        client.get("/pods?watch=true", timeout=0.3)


def test_all_frozen_answers_nobody_until_thawed(proxy: ApiProxy, client: httpx.Client) -> None:
    proxy.freeze()
    with pytest.raises(httpx.ReadTimeout):
        client.get("/read", timeout=0.3)
    proxy.thaw()
    assert client.get("/read").text == "/read"


def test_cut_ends_what_is_open_and_serves_what_comes(proxy: ApiProxy, client: httpx.Client) -> None:
    with client.stream("GET", "/pods?watch=true") as watch:
        lines = watch.iter_lines()
        assert next(lines) == "0"
        proxy.cut()
        with contextlib.suppress(httpx.TransportError):
            assert len(list(lines)) < 20
    assert client.get("/read").text == "/read"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET /api/v1/pods?watch=true HTTP/1.1", True),
        (b"GET /api/v1/pods?allowWatchBookmarks=true&watch=1 HTTP/1.1", True),
        (b"GET /api/v1/pods?watch=false HTTP/1.1", False),
        (b"GET /api/v1/pods?labelSelector=watch%3Dtrue HTTP/1.1", False),
        (b"GET /watch HTTP/1.1", False),
        (b"", False),
    ],
)
def test_what_a_watch_is(line: bytes, expected: bool) -> None:
    assert apiproxy.is_watch(line + b"\r\nHost: x\r\n\r\n") is expected
