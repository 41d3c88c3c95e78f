"""The application behind the real server, over TLS: whatever is asked, only what the service allowed is an allow."""

import asyncio
import json
import re
from typing import Any

import pytest

from countersign.adapters.metrics import PrometheusMetrics
from countersign.domain.answer import Answer
from countersign.domain.request import Request
from countersign.entrypoints import bodies
from countersign.entrypoints.webhook import LONGEST, ReviewPath, allowance
from countersign.wire.admission import MAX_REVIEW_BYTES
from tests.support.webhook import Start, Webhook, one_answer, request, review


def test_a_review_is_answered(shared: Webhook) -> None:
    assert shared.answer("payments") == {
        "uid": "the-uid",
        "allowed": False,
        "status": {"status": "Failure", "code": 403, "reason": "Forbidden", "message": "held: payments"},
    }


def test_what_the_service_allows_is_allowed(shared: Webhook) -> None:
    assert shared.answer("allow") == {"uid": "the-uid", "allowed": True}


def test_a_large_review_is_answered(shared: Webhook) -> None:
    status, text = shared.post(review("payments", padding=3_000_000))
    assert (status, json.loads(text)["response"]["allowed"]) == (200, False)


def other(**changes: Any) -> bytes:
    return json.dumps({**json.loads(review("allow")), **changes}).encode()


JSON_TYPE = {"content_type": "application/json"}
TOO_LARGE = "larger than 7340032 bytes"
BAD: dict[str, tuple[str, str, bytes | None, dict[str, str], int, str]] = {
    "read": ("GET", "/validate", None, {}, 405, "Only POST is answered here"),
    "replaced": ("PUT", "/validate", review("allow"), JSON_TYPE, 405, "Only POST is answered here"),
    "no content type": ("POST", "/validate", review("allow"), {}, 415, "content type application/json"),
    "a form": ("POST", "/validate", review("allow"), {"content_type": "application/x-www-form-urlencoded"}, 415, "x-www-form-urlencoded"),
    "protobuf": ("POST", "/validate", b"k8s\0", {"content_type": "application/vnd.kubernetes.protobuf"}, 415, "protobuf"),
    "almost JSON": ("POST", "/validate", review("allow"), {"content_type": "application/json-patch+json"}, 415, "json-patch"),
    "nothing": ("POST", "/validate", b"", JSON_TYPE, 400, "not JSON"),
    "no JSON": ("POST", "/validate", b"delete it", JSON_TYPE, 400, "not JSON"),
    "half": ("POST", "/validate", review("allow")[:-20], JSON_TYPE, 400, "not JSON"),
    "a list": ("POST", "/validate", b"[]", JSON_TYPE, 400, "not JSON that holds one object"),
    "deep": ("POST", "/validate", b"[" * 1_000_000, JSON_TYPE, 400, "not JSON"),
    "another object": ("POST", "/validate", b'{"kind":"Namespace","apiVersion":"v1"}', JSON_TYPE, 400, "admissionReviewVersions"),
    "another version": ("POST", "/validate", other(apiVersion="admission.k8s.io/v1beta1"), JSON_TYPE, 400, "v1beta1"),
    "no request": ("POST", "/validate", other(request=None), JSON_TYPE, 400, "$.request"),
    "a missing field": ("POST", "/validate", review("allow").replace(b'"username"', b'"userName"'), JSON_TYPE, 400, "`username`"),
    "too large": ("POST", "/validate", b" " * (MAX_REVIEW_BYTES + 1), JSON_TYPE, 413, TOO_LARGE),
    "elsewhere": ("POST", "/validate/", review("allow"), JSON_TYPE, 404, "/validate, /livez, /readyz and /metrics"),
    "the docs": ("GET", "/docs", None, {}, 404, "nothing else"),
    "the schema": ("GET", "/openapi.json", None, {}, 404, "nothing else"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_review_gets_a_sentence_and_no_allow(shared: Webhook, what: str) -> None:
    method, path, body, headers, expected, words = BAD[what]
    status, text = shared.ask(method, path, body, **headers)
    assert status == expected
    assert words in text
    assert re.fullmatch(r"[A-Z][^\n]*\.", text), "one sentence"
    assert 'allowed":true' not in text.replace(" ", "")


def test_a_body_without_a_length_is_bounded_too(shared: Webhook) -> None:
    client = shared.client()
    client.request("POST", "/validate", iter([b" " * 1_000_000] * 8), {"content-type": "application/json"}, encode_chunked=True)
    answer = client.getresponse()
    assert (answer.status, TOO_LARGE in answer.read().decode()) == (413, True)
    client.close()


@pytest.mark.parametrize(
    "begun",
    [
        b"content-length: 8000000\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n" + b"f4240\r\n" + b" " * 1_000_000 + (b"\r\nf4240\r\n" + b" " * 1_000_000) * 7,
    ],
    ids=["announced", "seen"],
)
def test_what_is_too_large_is_told_so_before_it_is_all_here(shared: Webhook, begun: bytes) -> None:
    connection = shared.raw()
    connection.settimeout(5)
    connection.sendall(b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" + begun)
    assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_the_connection_goes_on_after_a_body_that_was_too_large(shared: Webhook) -> None:
    client = shared.client()
    client.request("POST", "/validate", b" " * (MAX_REVIEW_BYTES + 1), {"content-type": "application/json"})
    assert client.getresponse().read()
    client.request("GET", "/livez")
    assert client.getresponse().read() == b"ok"
    client.close()


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_said_in_other_words(shared: Webhook, content_type: str) -> None:
    assert shared.ask("POST", "/validate", review("payments"), content_type=content_type)[0] == 200


@pytest.mark.parametrize("error", ["RecursionError", "MemoryError", "KeyError"])
def test_an_error_is_a_refusal_with_the_uid(shared: Webhook, error: str) -> None:
    response = shared.answer(f"raise-{error}")
    assert response["allowed"] is False
    assert (response["status"]["code"], response["status"]["reason"]) == (500, "InternalError")
    assert "COULD NOT DECIDE" in response["status"]["message"]
    assert response["status"]["details"]["causes"] == [{"reason": "outcome", "message": "Unable"}]


@pytest.mark.parametrize(("name", "closes"), [("payments", False), ("allow-it", False), ("raise-KeyError", True), ("unable", True)])
def test_who_cannot_decide_sends_the_api_server_elsewhere(shared: Webhook, name: str, *, closes: bool) -> None:
    """It would else go on asking the one replica that is cut off, over the connection that it has."""
    connection = shared.raw()
    connection.sendall(request(review(name)))
    head, _ = one_answer(connection)
    assert (b"connection: close" in head) == closes


def test_an_answer_that_cannot_be_written_is_a_refusal(shared: Webhook) -> None:
    response = shared.answer("badaudit")
    assert (response["allowed"], response["status"]["code"]) == (False, 500)


def test_no_decision_in_time_is_a_refusal_before_the_api_server_gives_up(shared: Webhook) -> None:
    response = shared.answer("sleep-30", "/validate?timeout=1s")
    assert (response["allowed"], response["status"]["code"], response["status"]["reason"]) == (False, 504, "Timeout")


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        (b"timeout=10s", LONGEST),
        (b"timeout=30s", LONGEST),
        (b"timeout=5s", 4.0),
        (b"timeout=2.5s", 1.5),
        (b"timeout=1s", 0.5),
        (b"timeout=500ms", 0.25),
        (b"timeout=1m0s", LONGEST),
        (b"timeout=4s500ms", 3.5),
        (b"a=b&timeout=3s", 2.0),
        (b"", LONGEST),
        (b"timeout=", LONGEST),
        (b"timeout=-5s", LONGEST),
        (b"timeout=99999999999999999999s", LONGEST),
        (b"xtimeout=1s", LONGEST),
    ],
)
def test_the_time_to_decide_is_below_the_time_that_the_api_server_waits(query: bytes, seconds: float) -> None:
    assert allowance(query) == pytest.approx(seconds)


def test_the_service_is_told_its_deadline(shared: Webhook) -> None:
    assert 3.5 < float(shared.answer("deadline", "/validate?timeout=5s")["status"]["message"]) <= 4.0


def test_probes_and_metrics(shared: Webhook) -> None:
    assert shared.ask("GET", "/livez") == (200, "ok")
    assert shared.ask("GET", "/readyz") == (200, "ok")

    def received() -> float:
        status, text = shared.ask("GET", "/metrics")
        assert status == 200
        found = re.search(r"^countersign_webhook_requests_total (\S+)$", text, re.MULTILINE)
        assert found is not None
        return float(found[1])

    before = received()
    shared.ask("GET", "/readyz")
    assert received() == before
    shared.answer("payments")
    shared.post(b"nonsense")
    assert received() == before + 2
    assert 'countersign_webhook_unreadable_total{code="400"}' in shared.ask("GET", "/metrics")[1]


def test_before_the_first_certificate_it_lives_and_says_what_it_waits_for(start: Start) -> None:
    webhook = start(certificate=False)
    client = webhook.client(trusting=False)
    client.request("GET", "/livez")
    assert client.getresponse().read() == b"ok"
    client.request("GET", "/readyz")
    answer = client.getresponse()
    assert answer.status == 503
    assert "the Secret countersign/countersign-webhook-tls does not exist" in answer.read().decode()
    client.close()


# --- the path by itself, where a server would be in the way


class Never:
    async def review(self, request: Request, *, deadline: float) -> Answer:  # noqa: ARG002  (the service's shape)
        raise AssertionError("nothing is to be decided")

    def ready(self) -> str:
        return ""


class Waiting(Never):
    async def review(self, request: Request, *, deadline: float) -> Answer:  # noqa: ARG002  (the service's shape)
        await asyncio.sleep(60)
        raise AssertionError


async def nowhere(_scope: Any, _receive: Any, _send: Any) -> None:
    raise AssertionError("not for the application")


SCOPE = {"type": "http", "path": "/validate", "method": "POST", "query_string": b"", "headers": [(b"content-type", b"application/json")]}


def path(service: Never) -> ReviewPath:
    return ReviewPath(nowhere, service=service, metrics=PrometheusMetrics(version="test"), room=bodies.Room())


async def posted(path: ReviewPath, *messages: dict[str, Any]) -> list[Any]:
    """What is sent back when these messages arrive."""
    arriving, sent = iter(messages), []

    async def receive() -> dict[str, Any]:
        return next(arriving)

    async def send(message: Any) -> None:
        sent.append(message)

    await path(SCOPE, receive, send)
    return sent


async def test_a_client_that_goes_gets_nothing_decided() -> None:
    chunk = {"type": "http.request", "body": review("allow")[:50], "more_body": True}
    assert await posted(path(Never()), chunk, {"type": "http.disconnect"}) == []
    assert await posted(path(Never()), {"type": "http.disconnect"}) == []


async def test_a_body_in_pieces_is_put_together() -> None:
    sent = await posted(
        path(Never()),
        {"type": "http.request", "body": b'{"a"', "more_body": True},
        {"type": "http.request", "body": b":1}", "more_body": False},
    )
    assert sent[0]["status"] == 400
    assert b"an object without apiVersion" in sent[1]["body"]


async def test_large_bodies_share_a_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_BODIES_BYTES", 1000)
    shared_path = path(Never())
    holding = asyncio.Event()

    async def first_receive() -> dict[str, Any]:
        if not holding.is_set():
            holding.set()
            return {"type": "http.request", "body": b" " * 900, "more_body": True}
        await asyncio.sleep(60)
        raise AssertionError

    async def send(_message: Any) -> None:
        raise AssertionError("the first is still arriving")

    first = asyncio.create_task(shared_path(SCOPE, first_receive, send))
    await holding.wait()
    await asyncio.sleep(0)
    chunk = {"type": "http.request", "body": b" " * 200, "more_body": True}
    assert (await posted(shared_path, chunk))[0]["status"] == 429
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    end = {"type": "http.request", "body": b"", "more_body": False}
    assert (await posted(shared_path, chunk, end))[0]["status"] == 400, "the room is free again"


async def test_a_decision_that_is_cut_off_by_the_end_of_the_process_is_a_refusal() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": review("allow"), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    task = asyncio.create_task(path(Waiting())(SCOPE, receive, send))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    response = json.loads(sent[1]["body"])["response"]
    assert (response["uid"], response["allowed"], response["status"]["code"]) == ("the-uid", False, 503)
