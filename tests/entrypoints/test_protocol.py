"""The server's bounds, each shown on a real connection. Limits are short here; what ships is asserted at the end."""

import socket
import ssl
import time

import pytest

from countersign.entrypoints.protocol import Limits
from tests.support.webhook import HEAD, Start, Webhook, one_answer, request, review, until_closed

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
        connection.sendall(request(review("long-200000", padding=200_000)) * 200)
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
