"""The server's bounds, each shown on a real connection. Limits are short here; what ships is asserted at the end."""

import json
import signal
import socket
import ssl
import subprocess
import threading
import time
from datetime import timedelta
from itertools import cycle

import pytest

from countersign.entrypoints.protocol import Limits
from tests.support.pems import ec_key, rsa_key
from tests.support.webhook import Start, Webhook, review

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


# --- too slow


def test_who_says_nothing_is_closed(start: Start) -> None:
    connection = start(receive=0.5).raw()
    began = time.monotonic()
    assert until_closed(connection, within=3) == b""
    assert time.monotonic() - began > 0.3


def test_who_does_not_even_greet_is_closed(start: Start) -> None:
    webhook = start(handshake=0.5)
    plain = socket.create_connection(("127.0.0.1", webhook.port), timeout=3)
    assert plain.recv(1) == b""
    plain.close()


@pytest.mark.parametrize(
    "begun", [b"POST /val", HEAD, HEAD + b"content-length: 100\r\n\r\n{", HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{"]
)
def test_half_a_request_gets_a_sentence_and_is_closed(start: Start, begun: bytes) -> None:
    connection = start(receive=0.5).raw()
    connection.sendall(begun)
    answer = until_closed(connection, within=3)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert answer.endswith(b"The request did not arrive whole within 0.5 seconds.")


@pytest.mark.parametrize("begun", [b"POST /validate HTTP/1.1\r\nx: ", HEAD + b"content-length: 100\r\n\r\n"])
def test_trickling_buys_no_time(start: Start, begun: bytes) -> None:
    connection = start(receive=0.7).raw()
    connection.sendall(begun)
    began = time.monotonic()
    with pytest.raises((ConnectionError, ssl.SSLError)):  # noqa: PT012  (closed at whichever byte it is)
        while time.monotonic() - began < 5:
            connection.sendall(b"a")
            time.sleep(0.1)
    assert 0.5 < time.monotonic() - began < 2.5


def test_empty_lines_buy_no_time_either(start: Start) -> None:
    connection = start(receive=0.7).raw()
    connection.sendall(request(review()))
    one_answer(connection)
    began = time.monotonic()
    with pytest.raises((ConnectionError, ssl.SSLError)):  # noqa: PT012  (closed at whichever line it is)
        while time.monotonic() - began < 5:
            connection.sendall(b"\r\n")
            time.sleep(0.1)
    assert time.monotonic() - began < 2.5


def test_a_service_that_thinks_longer_than_a_request_may_arrive_is_not_cut_off(start: Start) -> None:
    webhook = start(receive=0.3)
    assert webhook.answer("sleep-1")["status"]["message"] == "held: sleep-1"


def test_who_does_not_read_is_closed(start: Start) -> None:
    webhook = start(write=0.5)
    connection = webhook.raw()
    connection.settimeout(5)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        connection.sendall(request(review("n" * 200_000)) * 200)
    assert webhook.ask("GET", "/livez") == (200, "ok")


# --- too much


def test_a_large_head_gets_a_sentence_and_is_closed(start: Start) -> None:
    connection = start(head=4096).raw()
    connection.sendall(b"POST /validate HTTP/1.1\r\nx: ")
    time.sleep(0.2)
    connection.sendall(b"a" * 8192)
    assert until_closed(connection, within=3).startswith(b"HTTP/1.1 431 ")


def test_what_trails_after_a_body_is_bounded(start: Start) -> None:
    connection = start(message=100_000).raw()
    connection.settimeout(5)
    with pytest.raises((ConnectionError, ssl.SSLError)):  # noqa: PT012  (closed at whichever write it is)
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n")
        for number in range(10_000):
            connection.sendall(b"x-%d: %s\r\n" % (number, b"a" * 1000))


def test_what_is_no_http_is_refused(shared: Webhook) -> None:
    connection = shared.raw()
    connection.sendall(b"hello\r\n\r\n")
    assert until_closed(connection, within=3).startswith(b"HTTP/1.1 400 ")


def test_a_stranger_who_hoards_connections_loses_the_oldest_first(start: Start) -> None:
    webhook = start(connections=5)
    hoarded = [webhook.raw() for _ in range(5)]
    assert webhook.ask("GET", "/livez") == (200, "ok")
    assert until_closed(hoarded[0], within=3) == b""
    hoarded[4].sendall(request(review()))
    assert b"the-uid" in one_answer(hoarded[4])[1]


def test_connections_at_work_are_not_given_up_for_others(start: Start) -> None:
    webhook = start(connections=3)
    busy = [webhook.raw() for _ in range(3)]
    for connection in busy:
        connection.sendall(request(review("sleep-1")))
    time.sleep(0.2)
    with pytest.raises(OSError):  # noqa: PT011  (refused in whichever way the kernel tells it)
        webhook.ask("GET", "/livez")
    for connection in busy:
        assert b"held: sleep-1" in one_answer(connection)[1]
    assert webhook.ask("GET", "/livez") == (200, "ok")


# --- kept alive


def test_a_connection_is_kept_between_reviews(start: Start) -> None:
    webhook = start(receive=0.3)
    client = webhook.client()
    addresses = set()
    for _ in range(3):
        client.request("POST", "/validate", review(), {"content-type": "application/json"})
        answer = client.getresponse()
        assert answer.status == 200
        assert answer.headers.get("connection") != "close"
        answer.read()
        addresses.add(client.sock.getsockname())
        time.sleep(0.6)
    assert len(addresses) == 1, "one connection, though idle for longer than a request may take to arrive"
    client.close()


def test_an_idle_connection_is_closed_in_the_end(start: Start) -> None:
    connection = start(keep_alive=1).raw()
    connection.sendall(request(review()))
    one_answer(connection)
    began = time.monotonic()
    assert until_closed(connection, within=4) == b""
    assert time.monotonic() - began > 0.7


def test_many_small_requests_at_once_are_no_large_head(start: Start) -> None:
    webhook = start(head=4096)
    connection = webhook.raw()
    connection.settimeout(5)
    connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" * 1000 + b"GET /li")
    data = b""
    while data.count(b"HTTP/1.1 200 OK") < 1000:
        data += connection.recv(65536)
    assert b" 431 " not in data


def test_requests_that_come_at_once_are_answered_in_turn(shared: Webhook) -> None:
    connection = shared.raw()
    connection.sendall(request(review("one")) + request(review("two")))
    data = b""
    connection.settimeout(5)
    while data.count(b"held: ") < 2:
        data += connection.recv(65536)
    assert data.index(b"held: one") < data.index(b"held: two")


def test_what_ships_outlasts_the_api_server() -> None:
    limits = Limits()
    assert limits.keep_alive > 90, "the API server keeps idle connections for 90 s, and never sends a POST twice"
    assert limits.receive == 10
    assert limits.connections == 1000


# --- the certificate is changed under a running server


def serial(webhook: Webhook) -> int:
    from cryptography import x509  # noqa: PLC0415  (nothing else here reads certificates)

    connection = webhook.raw()
    der = connection.getpeercert(binary_form=True)
    connection.close()
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def wait_for(what: int, webhook: Webhook) -> None:
    deadline = time.monotonic() + 5
    while serial(webhook) != what:
        assert time.monotonic() < deadline, "the new certificate is not served"
        time.sleep(0.02)


def test_certificates_change_without_a_failed_request(start: Start) -> None:
    webhook = start()
    stop = threading.Event()
    failures: list[str] = []
    done = [0, 0]

    def on_new_connections() -> None:
        while not stop.is_set():
            try:
                assert webhook.answer("payments")["allowed"] is False
                done[0] += 1
            except Exception as error:  # noqa: BLE001  (whatever failed is what this test is about)
                failures.append(repr(error))

    def on_one_connection() -> None:
        client = webhook.client()
        while not stop.is_set():
            try:
                client.request("POST", "/validate", review(), {"content-type": "application/json"})
                assert client.getresponse().read()
                done[1] += 1
            except Exception as error:  # noqa: BLE001  (as above)
                failures.append(repr(error))
            time.sleep(0.002)
        client.close()

    threads = [threading.Thread(target=on_new_connections), threading.Thread(target=on_one_connection)]
    for thread in threads:
        thread.start()
    try:
        for kind, _ in zip(cycle([rsa_key, ec_key]), range(12), strict=False):
            issued = webhook.authority.issue(kind())
            webhook.serve(issued)
            wait_for(issued.serial, webhook)
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert failures == []
    assert min(done) > 50


def test_a_pair_that_does_not_fit_leaves_the_old_one_in_use(start: Start) -> None:
    webhook = start()
    good = webhook.authority.issue(ec_key())
    webhook.serve(good)
    wait_for(good.serial, webhook)
    other = webhook.authority.issue(ec_key())
    mixed = json.loads((webhook.folder / "secret.json").read_text())
    webhook.serve(other)
    mixed_with_other_chain = json.loads((webhook.folder / "secret.json").read_text())
    mixed_with_other_chain["data"]["tls.key"] = mixed["data"]["tls.key"]
    wait_for(other.serial, webhook)
    for bad in (
        json.dumps(mixed_with_other_chain),
        '{"data":{}}',
        '{"data":{"tls.crt":"!","tls.key":"!"}}',
        "the API server is away",
        "{}",
    ):
        webhook.write_secret(bad)
        time.sleep(0.2)
        assert serial(webhook) == other.serial
        assert webhook.ask("GET", "/readyz") == (200, "ok")
    assert "no usable pair" in webhook.log.read_text()
    last = webhook.authority.issue(rsa_key())
    webhook.serve(last)
    wait_for(last.serial, webhook)


def test_a_certificate_that_has_ended_makes_it_not_ready(start: Start) -> None:
    webhook = start()
    issued = webhook.authority.issue(ec_key(), ends_in=timedelta(seconds=-1))
    webhook.serve(issued)
    client = webhook.client(trusting=False)
    deadline = time.monotonic() + 5
    text = ""
    while "has expired" not in text:
        assert time.monotonic() < deadline, text
        client.request("GET", "/readyz")
        text = client.getresponse().read().decode()
    client.close()


# --- on its way out


def test_it_drains_before_it_stops(start: Start) -> None:
    webhook = start(drain=1.0)
    kept, thinking = webhook.raw(), webhook.raw()
    kept.sendall(request(review()))
    assert b"connection: close" not in one_answer(kept)[0]
    thinking.sendall(request(review("sleep-1.4")))
    time.sleep(0.1)
    webhook.terminate()
    time.sleep(0.2)
    assert webhook.ask("GET", "/readyz") == (503, "shutting down")
    assert webhook.ask("GET", "/livez") == (200, "ok")
    assert webhook.answer("payments")["allowed"] is False, "new connections are answered"
    kept.sendall(request(review()))
    head, body = one_answer(kept)
    assert b"connection: close" in head, "old ones are answered, and asked to come back elsewhere"
    assert b"the-uid" in body
    assert until_closed(kept, within=1) == b""
    assert b"held: sleep-1.4" in one_answer(thinking)[1], "what was being decided when the drain ended is still answered"
    assert webhook.process.wait(5) == 0


def test_the_second_signal_ends_the_drain(start: Start) -> None:
    webhook = start(drain=60.0)
    webhook.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        webhook.process.wait(0.5)
    webhook.terminate()
    assert webhook.process.wait(3) == 0


def test_a_person_at_a_terminal_does_not_wait_for_the_drain(start: Start) -> None:
    webhook = start(drain=60.0)
    webhook.process.send_signal(signal.SIGINT)
    assert webhook.process.wait(3) == 0


def test_no_review_is_lost_while_it_drains(start: Start) -> None:
    """As an API server does: it goes on sending over connections of its own until it is told to close them."""
    webhook = start(drain=1.0)
    failures: list[str] = []
    answered = [0]
    drained_at: list[float] = []

    def keep_asking() -> None:
        client = webhook.client()
        while not drained_at or time.monotonic() < drained_at[0] + 0.8:
            try:
                client.request("POST", "/validate", review(), {"content-type": "application/json"})
                answer = client.getresponse()
                answer.read()
                answered[0] += 1
                if answer.headers.get("connection") == "close":
                    client.close()
            except Exception as error:  # noqa: BLE001  (whatever failed is what this test is about)
                failures.append(repr(error))
        client.close()

    threads = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    webhook.terminate()
    drained_at.append(time.monotonic())
    for thread in threads:
        thread.join(10)
    assert failures == []
    assert answered[0] > 100
    assert webhook.process.wait(5) == 0
