"""What may change under a running server, and how it ends: its certificate, and its process, without a failed review."""

import json
import signal
import subprocess
import threading
import time
from datetime import timedelta
from itertools import cycle

import pytest

from tests.support.pems import ec_key, rsa_key
from tests.support.webhook import Start, one_answer, request, review, until_closed

# --- the certificate is changed under a running server


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
            webhook.wait_serving(issued)
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
    webhook.wait_serving(good)
    other = webhook.authority.issue(ec_key())
    mixed = json.loads((webhook.folder / "secret.json").read_text())
    webhook.serve(other)
    mixed_with_other_chain = json.loads((webhook.folder / "secret.json").read_text())
    mixed_with_other_chain["data"]["tls.key"] = mixed["data"]["tls.key"]
    webhook.wait_serving(other)
    for bad in (
        json.dumps(mixed_with_other_chain),
        '{"data":{}}',
        '{"data":{"tls.crt":"!","tls.key":"!"}}',
        "the API server is away",
        "{}",
    ):
        webhook.write_secret(bad)
        time.sleep(0.2)
        assert webhook.serial() == other.serial
        assert webhook.ask("GET", "/readyz") == (200, "ok")
    assert "no usable pair" in webhook.log.read_text()
    last = webhook.authority.issue(rsa_key())
    webhook.serve(last)
    webhook.wait_serving(last)


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
