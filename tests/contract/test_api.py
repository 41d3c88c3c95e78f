"""The adapters that talk to the API server, against a simulated one: requests, errors, and change requests."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from countersign.adapters.api import KubernetesApi
from countersign.adapters.requests import ApiRequests
from countersign.domain.errors import UnableError
from countersign.service.ports import ApiError, ConflictError, GoneError, NotFoundError
from countersign.wire.errors import WireError
from tests.contract._apis import NAMESPACES, status
from tests.support.objects import change_request
from tests.support.simulated_api import SimulatedApi
from tests.support.world import World

# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_sent(api: KubernetesApi, server: SimulatedApi) -> None:
    await api.create("/apis/kube-countersign.dev/v1alpha1/changerequests", {"metadata": {"name": "x"}, "spec": {"a": "ä"}})
    (asked,) = server.asked
    assert (asked.method, asked.body) == ("POST", {"metadata": {"name": "x"}, "spec": {"a": "ä"}})
    assert asked.headers["User-Agent"] == "tests"
    assert asked.headers["Authorization"] == "Bearer the-token"


@pytest.mark.parametrize(("method", "call"), [
    ("PUT", lambda api: api.replace(f"{NAMESPACES}/x", {"a": 1})),
    ("PATCH", lambda api: api.patch(f"{NAMESPACES}/x", {"a": 1})),
    ("DELETE", lambda api: api.delete(f"{NAMESPACES}/x", uid="u-1")),
])  # fmt: skip
async def test_the_other_verbs(
    api: KubernetesApi, server: SimulatedApi, method: str, call: Callable[[KubernetesApi], Coroutine[Any, Any, Any]]
) -> None:
    server.answer("/x", 200, {"kind": "Any"})
    await call(api)
    (asked,) = server.asked
    assert asked.method == method
    if method == "DELETE":
        assert asked.body["preconditions"] == {"uid": "u-1"}
    if method == "PATCH":
        assert asked.headers["Content-Type"] == "application/merge-patch+json"


@pytest.mark.parametrize(
    ("code", "kind"), [(404, NotFoundError), (409, ConflictError), (410, GoneError), (403, ApiError), (429, ApiError), (500, ApiError)]
)
async def test_errors_in_the_api_servers_words(api: KubernetesApi, server: SimulatedApi, code: int, kind: type[ApiError]) -> None:
    server.answer("/payments", code, status(code))
    with pytest.raises(ApiError) as error:
        await api.get(f"{NAMESPACES}/payments")
    assert type(error.value) is kind
    assert error.value.status == code
    assert str(error.value) == f"the API server says {code}"


@pytest.mark.parametrize("body", [b"404 page not found\n", b"{}", b"[]", b"\xff", b"", b'{"kind":"Status","code":500}'])
async def test_a_404_of_somebody_else_is_no_absence(api: KubernetesApi, server: SimulatedApi, body: bytes) -> None:
    server.answer("/payments", 404, body)
    with pytest.raises(ApiError) as error:
        await api.get(f"{NAMESPACES}/payments")
    assert not isinstance(error.value, NotFoundError)
    assert error.value.status == 404


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff", b'{"a": NaN}'])
async def test_an_answer_that_is_not_json(api: KubernetesApi, server: SimulatedApi, body: bytes) -> None:
    server.answer("/payments", 200, body)
    with pytest.raises(ApiError, match="not JSON"):
        await api.get(f"{NAMESPACES}/payments")


async def test_numbers_come_as_they_were_written(api: KubernetesApi, server: SimulatedApi) -> None:
    server.answer("/payments", 200, b'{"n": 1.50}')
    assert (await api.get(f"{NAMESPACES}/payments"))["n"].text == "1.50"


async def test_an_api_server_that_does_not_answer(api: KubernetesApi, server: SimulatedApi) -> None:
    server.delay = 5
    with pytest.raises(ApiError, match=r"no answer|out of reach") as error:
        await api.get(f"{NAMESPACES}/payments", timeout=0.05)
    assert error.value.status == 0


async def test_an_api_server_that_is_not_there(server: SimulatedApi) -> None:
    api = KubernetesApi(server="https://127.0.0.1:1", ca_file=server.ca_file, token_file=server.token_file, user_agent="x")
    with pytest.raises(ApiError, match="out of reach"):
        await api.get(NAMESPACES)
    await api.close()


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
async def test_no_proxy_is_taken_from_the_environment(server: SimulatedApi, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A cluster's images often carry one for the way out; the API server is never on that way, and what it says decides."""
    for known in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(known, raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    api = KubernetesApi(server=server.url, ca_file=server.ca_file, token_file=server.token_file, user_agent="x")
    await api.get(NAMESPACES)
    await api.close()
    assert server.asked


async def test_the_token_is_read_anew(api: KubernetesApi, server: SimulatedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.get(NAMESPACES)
    server.token = "another"
    server.token_file.write_text("another\n")
    monkeypatch.setattr("countersign.adapters.api._TOKEN_AGE", 3600.0)
    with pytest.raises(ApiError) as error:
        await api.get(NAMESPACES)
    assert error.value.status == 401
    monkeypatch.setattr("countersign.adapters.api._TOKEN_AGE", 0.0)
    await api.get(NAMESPACES)
    server.token_file.unlink()
    with pytest.raises(ApiError, match="token file"):
        await api.get(NAMESPACES)


# ── change requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [400, 403, 422, 500])
async def test_a_request_that_cannot_be_written(api: KubernetesApi, server: SimulatedApi, code: int) -> None:
    server.answer("/changerequests", code, status(code))
    with pytest.raises(UnableError, match="no change request could be written"):
        await ApiRequests(api).create(change_request(), timeout=5)


async def test_a_request_that_is_none_of_ours_is_as_absent(api: KubernetesApi, world: World, server: SimulatedApi) -> None:
    world.create("changerequests", "odd", spec={"what": "ever"})
    assert await ApiRequests(api).get("odd", timeout=5) is None
    server.answer("/odd", 500, status(500))
    with pytest.raises(UnableError):
        await ApiRequests(api).get("odd", timeout=5)


async def test_what_no_change_request_can_hold_is_no_outage(api: KubernetesApi, server: SimulatedApi) -> None:
    words = 'ChangeRequest.kube-countersign.dev "x" is invalid: spec.requester.username: Too long: may not be more than 1024 bytes'
    server.answer("/changerequests", 422, {**status(422), "message": words})
    with pytest.raises(WireError, match=f"cannot be put before people to sign, so it cannot be done: {words}"):
        await ApiRequests(api).create(change_request(), timeout=5)
    server.answer("/changerequests", 500, status(500))
    with pytest.raises(UnableError):
        await ApiRequests(api).create(change_request(), timeout=5)
