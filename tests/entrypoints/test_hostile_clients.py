"""Whoever reaches the port may say anything: it is refused in bounded time and memory, and the API server's own calls go on being answered."""

import gzip
import http.client
import json
import os
import resource
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from countersign.adapters.certificates import ServingCertificate
from countersign.adapters.clock import SystemClock
from countersign.entrypoints.handshakes import HANDSHAKES
from tests.support.webhook import HEAD, Start, Webhook, one_answer, request, review, until_closed

MEGABYTE = 1024 * 1024
SILENT = 9000
ROOM = 70 * MEGABYTE
"""More than what handshakes within their bound were seen to take (25 MB), far less than without one (480 MB)."""


def memory(webhook: Webhook) -> int:
    """Resident bytes."""
    pages = int(Path(f"/proc/{webhook.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def files(webhook: Webhook) -> int:
    return len(list(Path(f"/proc/{webhook.process.pid}/fd").iterdir()))


@contextmanager
def many_files(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard > count + 500, f"this test needs {count + 500} file descriptors: ulimit -n"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 500), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def one_call(client: http.client.HTTPSConnection) -> float:
    """Seconds that the API server, on the connection that it has, waits for an answer."""
    began = time.monotonic()
    client.request("POST", "/validate?timeout=10s", review(), {"content-type": "application/json"})
    answer = client.getresponse()
    assert answer.status == 200
    assert b"held: payments" in answer.read()
    return time.monotonic() - began


# --- connections


def test_thousands_of_silent_connections_take_no_memory_and_keep_nobody_out(start: Start) -> None:
    webhook = start()
    kept = webhook.client()
    one_call(kept)
    before, crowd = memory(webhook), []
    with many_files(SILENT):
        try:
            for number in range(SILENT):
                silent = socket.socket()
                silent.setblocking(False)
                silent.connect_ex(("127.0.0.1", webhook.port))
                crowd.append(silent)
                if number % 1000 == 999:
                    assert one_call(kept) < 5, "on the connection that it has"
                    assert webhook.answer("payments")["allowed"] is False, "and on a new one"
            assert memory(webhook) - before < ROOM
            assert files(webhook) < HANDSHAKES + 100
        finally:
            for silent in crowd:
                silent.close()
    kept.close()


def test_half_a_greeting_is_silence_too(start: Start) -> None:
    webhook = start(handshake=1.0)
    half = []
    for _ in range(HANDSHAKES + 50):
        plain = socket.create_connection(("127.0.0.1", webhook.port), timeout=5)
        plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")  # a ClientHello of 508 bytes, which do not follow
        half.append(plain)
    assert webhook.answer("payments")["allowed"] is False
    time.sleep(1.5)
    assert files(webhook) < 50, "a second is all they get"
    for plain in half:
        plain.close()


def test_connections_that_come_and_go_leave_nothing(start: Start) -> None:
    webhook = start()
    for _ in range(50):
        webhook.raw().close()
    before = memory(webhook)
    for _ in range(400):
        webhook.raw().close()
    assert webhook.answer("payments")["allowed"] is False
    assert memory(webhook) - before < 10 * MEGABYTE
    assert files(webhook) < 50


# --- TLS


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_below_1_2_is_refused(shared: Webhook, version: ssl.TLSVersion) -> None:
    context = ssl._create_unverified_context()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    plain = socket.create_connection(("127.0.0.1", shared.port), timeout=5)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain, server_hostname="127.0.0.1")
    plain.close()


def test_nobody_makes_us_shake_hands_again(shared: Webhook) -> None:
    openssl = shutil.which("openssl")
    assert openssl, "this test needs the program openssl"
    ran = subprocess.run(
        [openssl, "s_client", "-connect", f"127.0.0.1:{shared.port}", "-tls1_2"],
        input=b"R\n",  # openssl's word for: renegotiate
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert b"RENEGOTIATING" in ran.stdout + ran.stderr
    assert b"no renegotiation" in ran.stderr
    assert shared.answer("payments")["allowed"] is False


def test_each_context_says_so() -> None:
    api: Any = None
    certificate = ServingCertificate(api, SystemClock(), namespace="countersign")
    for context in (certificate.context, certificate._serving):
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


# --- HTTP

_TWO = b"content-length: 5\r\ncontent-length: 6\r\n"
SMUGGLED = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
AMBIGUOUS = {
    "length and chunks": HEAD + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": HEAD + _TWO + b"\r\nhello" + SMUGGLED,
    "the same length twice": HEAD + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello" + SMUGGLED,
    "a list of lengths": HEAD + b"content-length: 5, 5\r\n\r\nhello" + SMUGGLED,
    "a negative length": HEAD + b"content-length: -5\r\n\r\n" + SMUGGLED,
    "a signed length": HEAD + b"content-length: +5\r\n\r\nhello" + SMUGGLED,
    "a hexadecimal length": HEAD + b"content-length: 0x5\r\n\r\nhello" + SMUGGLED,
    "a length past all numbers": HEAD + b"content-length: 99999999999999999999999\r\n\r\n" + SMUGGLED,
    "an encoding nobody knows": HEAD + b"transfer-encoding: chonked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked, and then something else": HEAD + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk of no number": HEAD + b"transfer-encoding: chunked\r\n\r\nxyz\r\n" + SMUGGLED,
    "a chunk past all numbers": HEAD + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff1\r\n" + SMUGGLED,
    "a folded header": b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length\r\n : 5\r\n\r\nhello" + SMUGGLED,
    "a space before the colon": b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length : 5\r\n\r\nhello" + SMUGGLED,
    "a header with a NUL": b"POST /validate HTTP/1.1\r\nhost: x\x00y\r\n\r\n" + SMUGGLED,
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 64,
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_two_readers_could_read_differently_ends_the_connection(shared: Webhook, sent: bytes) -> None:
    connection = shared.raw()
    connection.sendall(sent)
    answer = until_closed(connection, within=12)
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert answer.startswith(b"HTTP/1.1 4"), answer
    assert b"\r\n\r\nok" not in answer, "the smuggled request was answered"


def test_an_offer_of_http_2_is_not_taken(shared: Webhook) -> None:
    context = shared.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    plain = socket.create_connection(("127.0.0.1", shared.port), timeout=5)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        assert connection.selected_alpn_protocol() is None


def test_a_body_in_a_million_chunks(shared: Webhook) -> None:
    """Each costs a call; all together they cost no more than their time to arrive."""
    before, kept = memory(shared), shared.client()
    connection = shared.raw()
    connection.settimeout(30)
    connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    slowest = 0.0
    try:
        for _ in range(40):
            connection.sendall(b"1\r\n{\r\n" * 25_000)
            slowest = max(slowest, one_call(kept))
        connection.sendall(b"0\r\n\r\n")
        assert one_answer(connection)[0].startswith(b"HTTP/1.1 400 ")
    except (ConnectionError, ssl.SSLError):
        pass  # it did not arrive in time: closed
    assert slowest < 3
    assert memory(shared) - before < ROOM
    kept.close()


def test_a_packed_body_is_not_unpacked(shared: Webhook) -> None:
    bomb = gzip.compress(b"{" + b" " * 50 * MEGABYTE)
    status, text = shared.ask("POST", "/validate", bomb, content_type="application/json", content_encoding="gzip")
    assert status == 415
    assert text == "AdmissionReviews come as they are, without a content encoding."
    assert shared.ask("POST", "/validate", bomb, content_type="application/json")[0] == 400


# --- JSON


def nested(depth: int) -> bytes:
    return review().replace(b'"data": ""', b'"data": ' + b'{"a":' * depth + b"1" + b"}" * depth)


def with_member(member: str) -> bytes:
    return review().replace(b'"name": "payments", "resource"', f'"name": "payments", {member}, "resource"'.encode())


ODD: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" " * MEGABYTE,
    "a byte order mark": b"\xef\xbb\xbf" + review(),
    "UTF-16": review().decode().encode("utf-16"),
    "UTF-32": review().decode().encode("utf-32-le"),
    "NUL at the end": review() + b"\0",
    "two documents": review() + review(),
    "a list of reviews": b"[" + review() + b"]",
    "NaN": with_member('"x": NaN'),
    "Infinity": with_member('"x": -Infinity'),
    "a number of a million digits": with_member('"x": ' + "9" * 1_000_000),
    "an exponent past all numbers": with_member('"x": 1e999999999'),
    "a lone surrogate in a name": review().replace(b'"username": "alice"', b'"username": "\\ud800"'),
    "bytes that are no UTF-8 in a name": review().replace(b'"alice"', b'"al\xff\xfeice"'),
    "a control character in a name": review().replace(b'"alice"', b'"al\nice"'),
    "nested a hundred thousand deep": nested(100_000),
    "nested open and never closed": b"[" * 5 * MEGABYTE,
    "a uid of a megabyte": review(uid="u" * MEGABYTE),
    "a username of a megabyte": review().replace(b'"alice"', b'"' + b"a" * MEGABYTE + b'"'),
    "a name of a megabyte": review("n" * MEGABYTE),
    "a hundred thousand groups": review().replace(
        b'"username": "alice"', b'"username": "alice", "groups": ' + json.dumps(["g"] * 100_000).encode()
    ),
    "a hundred thousand members": with_member(", ".join(f'"x{number}": 0' for number in range(100_000))),
    "a comment": review() + b"// so",
    "single quotes": review().replace(b'"', b"'"),
    "a number for a name": review().replace(b'"alice"', b"7"),
    "null for a user": review().replace(b'{"username": "alice"}', b"null"),
    "an operation of another case": review().replace(b"DELETE", b"Delete"),
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_odd_bodies_are_refused_in_no_time(shared: Webhook, body: bytes) -> None:
    began = time.monotonic()
    status, text = shared.post(body)
    assert time.monotonic() - began < 3
    if status == 200:
        assert json.loads(text)["response"]["allowed"] is False
    else:
        assert status in (400, 413)
        assert "Traceback" not in text
    assert shared.answer("payments")["allowed"] is False


def test_of_a_member_that_is_there_twice_the_last_counts_for_everything(shared: Webhook) -> None:
    """An API server sends none twice. The scripted service allows by name: were one part of us to read the first, this would pass."""
    twice = review("allow-it").replace(b'"name": "allow-it", "resource"', b'"name": "allow-it", "name": "held", "resource"')
    status, text = shared.post(twice)
    response = json.loads(text)["response"]
    assert (status, response["allowed"], response["status"]["message"]) == (200, False, "held: held")


def test_after_all_that_it_is_as_it_was(shared: Webhook) -> None:
    assert shared.ask("GET", "/readyz") == (200, "ok")
    assert memory(shared) < 200 * MEGABYTE
    assert "Traceback" not in shared.log.read_text()


def test_a_body_that_is_cut_short_is_nobodys_decision(shared: Webhook) -> None:
    connection = shared.raw()
    connection.sendall(request(review())[:-10])
    connection.close()
    assert shared.answer("payments")["allowed"] is False
