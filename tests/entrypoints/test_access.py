"""/authorize on the webhook's server: whatever is asked, there is a denial, no opinion, or an error that the API server denies for."""

import json
import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from countersign.adapters.access_metrics import AccessCounters
from countersign.domain.authorize import Access, Deny, Ground, NoOpinion, Opinion
from countersign.domain.errors import UnableError
from countersign.domain.request import UserInfo
from countersign.entrypoints import bodies
from countersign.entrypoints.access import AccessPath
from countersign.wire.access import MAX_ACCESS_BYTES
from tests.support.webhook import Start, Webhook, review

JSON_TYPE = {"content_type": "application/json"}


def asked(user: str = "kiro", verb: str = "impersonate", padding: int = 0) -> bytes:
    spec = {"user": user, "resourceAttributes": {"verb": verb, "resource": "users", "name": "alice"}, "extra": {"k": ["v" * padding]}}
    return json.dumps({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}).encode()


class Scripted:
    """Denies impersonation; fails for the users that say so."""

    def authorize(self, user: UserInfo, access: Access) -> Opinion:
        match user.username:
            case "unable":
                raise UnableError("agentidentities are not synced yet.")
            case "broken":
                raise RuntimeError("a bug")
            case _:
                return Deny(Ground.IMPERSONATION, "no") if access.verb == "impersonate" else NoOpinion(Ground.ORDINARY)


async def elsewhere(scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "elsewhere", "path": scope["path"]})


class Served:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.path = AccessPath(elsewhere, service=Scripted(), metrics=AccessCounters(self.registry), room=bodies.Room())

    async def post(
        self, *messages: dict[str, Any], method: str = "POST", path: str = "/authorize", kind: bytes = b"application/json"
    ) -> list[Any]:
        arriving, sent = iter(messages), []

        async def receive() -> dict[str, Any]:
            return next(arriving)

        async def send(message: Any) -> None:
            sent.append(message)

        await self.path({"type": "http", "path": path, "method": method, "headers": [(b"content-type", kind)], "state": {}}, receive, send)
        return sent

    async def ask(self, body: bytes) -> tuple[int, str]:
        head, rest = await self.post({"type": "http.request", "body": body})
        return head["status"], rest["body"].decode()

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"countersign_authorizer_{name}", labels) or 0.0


@pytest.fixture
def served() -> Served:
    return Served()


async def test_a_denial_and_no_opinion(served: Served) -> None:
    status, text = await served.ask(asked())
    assert (status, json.loads(text)["status"]) == (200, {"allowed": False, "denied": True, "reason": "no"})
    status, text = await served.ask(asked(verb="get"))
    assert (status, json.loads(text)["status"]) == (200, {"allowed": False})
    assert served.count("requests_total") == 2


@pytest.mark.parametrize(("user", "cause", "words"), [("unable", "unable", "not synced yet"), ("broken", "error", "error of its own")])
async def test_what_cannot_be_judged_is_an_error_that_is_not_asked_again(served: Served, user: str, cause: str, words: str) -> None:
    """A 500 would be sent five times over four seconds, a 503 is not."""
    status, text = await served.ask(asked(user, verb="get"))
    assert status == 503
    assert words in text
    assert "a bug" not in text
    assert served.count("undecided_total", cause=cause) == 1


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 400), (b"{}", 400), (review(), 400), (asked(""), 400), (asked(padding=MAX_ACCESS_BYTES), 413)]
)
async def test_what_is_no_review_is_an_error(served: Served, body: bytes, status: int) -> None:
    assert (await served.ask(body))[0] == status
    assert served.count("unreadable_total", code=str(status)) == 1


async def test_other_methods_types_and_paths(served: Served) -> None:
    assert (await served.post(method="GET"))[0]["status"] == 405
    assert (await served.post(kind=b"application/vnd.kubernetes.protobuf"))[0]["status"] == 415
    assert await served.post(path="/authorize/") == [{"type": "elsewhere", "path": "/authorize/"}]
    assert await served.post(path="/validate") == [{"type": "elsewhere", "path": "/validate"}]


async def test_a_client_that_goes_gets_nothing_judged(served: Served) -> None:
    assert await served.post({"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}) == []


async def test_a_body_in_pieces(served: Served) -> None:
    whole = asked()
    head, rest = await served.post(
        {"type": "http.request", "body": whole[:40], "more_body": True}, {"type": "http.request", "body": whole[40:], "more_body": False}
    )
    assert (head["status"], b'"denied":true' in rest["body"]) == (200, True)


def test_over_the_real_server(start: Start) -> None:
    webhook = start(access=True)
    status, text = webhook.ask("POST", "/authorize", asked(), **JSON_TYPE)
    assert (status, json.loads(text)["status"]["denied"]) == (200, True)
    assert webhook.answer("allow")["allowed"] is True
    assert webhook.ask("POST", "/authorize", asked(padding=MAX_ACCESS_BYTES), **JSON_TYPE)[0] == 413
    status, text = webhook.ask("GET", "/else")
    assert (status, "/validate, /authorize, /livez" in text) == (404, True)
    metrics = webhook.ask("GET", "/metrics")[1]
    assert re.search(r"^countersign_authorizer_requests_total 2\.0$", metrics, re.MULTILINE)
    assert re.search(r"^countersign_webhook_requests_total 1\.0$", metrics, re.MULTILINE)


def test_it_is_not_there_unless_chosen(shared: Webhook) -> None:
    assert shared.ask("POST", "/authorize", asked(), **JSON_TYPE)[0] == 404
    assert "countersign_authorizer" not in shared.ask("GET", "/metrics")[1]
