"""Webhooks in processes of their own (webhook_process.py), and ways to talk to them."""

import base64
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

from tests.support.pems import Authority, Issued, ec_key

ROOT = Path(__file__).parents[2]


def review(name: str = "payments", *, uid: str = "the-uid", padding: int = 0) -> bytes:
    tree = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "name": name,
            "resource": {"group": "", "version": "v1", "resource": "namespaces"},
            "operation": "DELETE",
            "userInfo": {"username": "alice"},
            "oldObject": {"metadata": {"name": name}, "data": "x" * padding},
        },
    }
    return json.dumps(tree).encode()


HEAD = b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def request(body: bytes, extra: bytes = b"") -> bytes:
    return HEAD + extra + b"content-length: %d\r\n\r\n" % len(body) + body


def until_closed(connection: ssl.SSLSocket, *, within: float) -> bytes:
    """What comes until the other side closes. Fails when it does not."""
    connection.settimeout(within)
    data = b""
    while True:
        try:
            chunk = connection.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return data
        if not chunk:
            return data
        data += chunk


def one_answer(connection: ssl.SSLSocket) -> tuple[bytes, bytes]:
    """Head and body of one answer."""
    connection.settimeout(5)
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")).split(b":")[1])
    while len(body) < length:
        body += connection.recv(65536)
    return head, body


def secret(pair: Issued) -> str:
    data = {"tls.crt": base64.b64encode(pair.chain).decode(), "tls.key": base64.b64encode(pair.key).decode()}
    return json.dumps({"data": data})


@dataclass
class Webhook:
    """A webhook of its own process, and ways to talk to it."""

    folder: Path
    process: subprocess.Popen[str]
    port: int
    authority: Authority
    log: Path
    _open: list[socket.socket] = field(default_factory=list)

    def trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        context.check_hostname = True
        return context

    def client(self, *, trusting: bool = True, timeout: float = 10, context: ssl.SSLContext | None = None) -> http.client.HTTPSConnection:
        context = context or (self.trusting() if trusting else ssl._create_unverified_context())
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=timeout)

    def raw(self) -> ssl.SSLSocket:
        """A TLS connection on which nothing was said yet."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        wrapped = self.trusting().wrap_socket(plain, server_hostname="127.0.0.1")
        self._open.append(wrapped)
        return wrapped

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        client = self.client()
        try:
            client.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = client.getresponse()
            return answer.status, answer.read().decode()
        finally:
            client.close()

    def post(self, body: bytes, path: str = "/validate?timeout=10s") -> tuple[int, str]:
        return self.ask("POST", path, body, content_type="application/json")

    def answer(self, name: str, path: str = "/validate?timeout=10s") -> dict[str, Any]:
        status, text = self.post(review(name), path)
        assert status == 200, text
        response: dict[str, Any] = json.loads(text)["response"]
        assert response["uid"] == "the-uid"
        return response

    def serve(self, pair: Issued) -> None:
        """Put a pair into the Secret, in one step."""
        self.write_secret(secret(pair))

    def wait_serving(self, pair: Issued) -> None:
        """Until new connections get that pair."""
        deadline = time.monotonic() + 5
        while self.serial() != pair.serial:
            assert time.monotonic() < deadline, "the new certificate is not served"
            time.sleep(0.02)

    def serial(self) -> int:
        """Of the certificate that a new connection gets."""
        connection = self.raw()
        der = connection.getpeercert(binary_form=True)
        connection.close()
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number

    def write_secret(self, text: str) -> None:
        new = self.folder / "secret.new"
        new.write_text(text)
        new.rename(self.folder / "secret.json")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


Start = Callable[..., Webhook]


@contextmanager
def webhooks(folder: Path) -> Iterator[Start]:
    """Yields what starts a webhook with given limits; `certificate=False`: before its Secret exists. All end with the block."""
    started: list[Webhook] = []

    def begin(*, certificate: bool = True, **options: Any) -> Webhook:
        home = folder / str(len(started))
        home.mkdir()
        log, authority = home / "stderr", Authority()
        if certificate:
            (home / "secret.json").write_text(secret(authority.issue(ec_key())))
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.webhook_process", str(home), json.dumps(options)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=ROOT,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        webhook = Webhook(home, process, int(line or 0), authority, log)
        started.append(webhook)
        assert webhook.port, log.read_text()
        return webhook

    try:
        yield begin
    finally:
        for webhook in started:
            webhook.close()
