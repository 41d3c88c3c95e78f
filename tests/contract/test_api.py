"""The API adapter, the live look and the watches against an API server that errs, breaks off, and talks rubbish."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from countersign.adapters.api import KubernetesApi
from countersign.adapters.clock import SystemClock
from countersign.adapters.live import ApiLiveLook
from countersign.adapters.requests import ApiRequests
from countersign.adapters.store import ClusterStore
from countersign.adapters.watch import PART, Watches
from countersign.domain.approval import MOST_APPROVALS
from countersign.domain.errors import UnableError
from countersign.domain.resources import Cluster, Target
from countersign.domain.statement import act_of
from countersign.service.ports import ApiError, ConflictError, GoneError, NotFoundError, Question
from countersign.wire.errors import WireError
from countersign.wire.resources import render_change_request
from tests.support.contracts import ENVIRONMENT, AdaptersSite
from tests.support.objects import NOW, change_request
from tests.support.simulated_api import SimulatedApi, until
from tests.support.world import Json, World

NAMESPACES = "/api/v1/namespaces"
SPACE = Target("", "v1", "namespaces", "payments")


@dataclass(frozen=True)
class OffClock:
    """The system's, and somebody has set it."""

    off: timedelta

    def now(self) -> datetime:
        return SystemClock().now() + self.off

    def monotonic(self) -> float:
        return SystemClock().monotonic()


def status(code: int, reason: str = "Any") -> Json:
    return {"kind": "Status", "status": "Failure", "reason": reason, "message": f"the API server says {code}", "code": code}


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


# ── the live look ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def look(api: KubernetesApi, world: World) -> ApiLiveLook:
    world.create("namespaces", "payments")
    world.create("protectedenvironments", "default", spec=ENVIRONMENT)
    return ApiLiveLook(api, world.snapshot)


ASKED = Question(("delete-namespace-payments-00000000",), "payments", SPACE)
LISTS = ["agentidentities", "reviewers", "protectedenvironments", "approvals", "persistentvolumeclaims", "services"]
RUBBISH: list[bytes] = [
    b"{}",
    b"[]",
    b"null",
    b'{"kind": "Status", "metadata": {}, "status": "Success"}',
    b'{"kind": "AnyList", "items": []}',
    b'{"kind": "AnyList", "metadata": {"resourceVersion": "1"}, "items": {}}',
    b'{"kind": "AnyList", "metadata": {"resourceVersion": "1"}, "items": [1]}',
    b'{"kind": "AnyList", "metadata": {"resourceVersion": "1", "continue": "more"}, "items": []}',
]


async def test_a_sound_look(look: ApiLiveLook, server: SimulatedApi) -> None:
    found = await look.look(ASKED, timeout=5)
    assert set(found.snapshot.environments) == {"default"}
    assert all("resourceVersion" not in asked.query for asked in server.asked), "a consistent read names no version"
    settings = [asked for asked in server.asked if asked.path.endswith(("/reviewers", "/agentidentities", "/protectedenvironments"))]
    assert all("PartialObjectMetadataList" in asked.headers["Accept"] for asked in settings)


@pytest.mark.parametrize(("off", "sentence"), [
    (timedelta(minutes=4), ""), (timedelta(minutes=-4), ""),
    (timedelta(minutes=6), "ahead of"), (timedelta(minutes=-6), "behind"), (timedelta(hours=-30), "behind"),
])  # fmt: skip
async def test_a_clock_that_was_set_refuses(server: SimulatedApi, world: World, off: timedelta, sentence: str) -> None:
    """Expiry and windows are by our clock, signatures' times by the API server's, which says what it is with every answer."""
    world.create("namespaces", "payments")
    api = KubernetesApi(server=server.url, ca_file=server.ca_file, token_file=server.token_file, user_agent="x", clock=OffClock(off))
    look = ApiLiveLook(api, world.snapshot, clock_ahead=lambda: api.clock_ahead)
    try:
        assert (await look.look(ASKED, timeout=5)).namespace is not None
        assert not sentence
    except UnableError as error:
        assert sentence
        assert f" s {sentence} the API server's" in str(error)  # noqa: PT017  # both ends are looked at
    finally:
        await api.close()
    assert abs(api.clock_ahead - off) < timedelta(seconds=3)


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 22 Nov 2026 25:61:00 GMT", "Sun, 22 Nov 2026 12:00:00 -0000"])
async def test_a_date_that_is_none_says_nothing(server: SimulatedApi, date: str) -> None:
    api = KubernetesApi(
        server=server.url, ca_file=server.ca_file, token_file=server.token_file, user_agent="x", clock=OffClock(timedelta())
    )
    api._compare_clocks(date)
    assert api.clock_ahead == timedelta()
    await api.close()


async def test_more_approvals_than_can_be_looked_at_refuse(look: ApiLiveLook, server: SimulatedApi, world: World) -> None:
    """In one page, bounded by the API server, so that nobody fills our memory with them."""
    request = change_request()
    for number in range(2 * MOST_APPROVALS + 1):
        world.create(
            "approvals",
            f"a-{number}",
            spec={"changeRequest": request.meta.name, "reviewer": "bob", "decision": "Approve", "signature": "x"},
        )
    for asking in (look.look(Question((request.meta.name,)), timeout=5), look.count_approvals(request.meta.name, timeout=5)):
        with pytest.raises(UnableError, match=f"more than {2 * MOST_APPROVALS} approvals"):
            await asking
    assert all(asked.query["limit"] == str(2 * MOST_APPROVALS) for asked in server.asked if asked.path.endswith("/approvals"))
    world.delete("approvals", "a-0")
    assert await look.count_approvals(request.meta.name, timeout=5) == 2 * MOST_APPROVALS


@pytest.mark.parametrize("plural", LISTS)
async def test_no_list_is_not_an_empty_list(look: ApiLiveLook, server: SimulatedApi, plural: str) -> None:
    """Else a proxy's friendly 200 would mean: no agents, no environments, nothing to lose."""
    for body in RUBBISH:
        server.answer(f"/{plural}", 200, body)
        with pytest.raises(UnableError):
            await look.look(ASKED, timeout=5)
        assert server.canned.pop().times == 0, "it was not asked for"


@pytest.mark.parametrize("plural", [*LISTS, "payments$", "changerequests"])
async def test_any_read_that_fails_fails_the_look(look: ApiLiveLook, server: SimulatedApi, plural: str) -> None:
    for code in (401, 403, 404, 410, 429, 500, 503):
        if code == 404 and plural in ("payments$", "changerequests"):
            continue  # absent, in the API server's words
        server.answer(f"/{plural}", code, status(code))
        with pytest.raises(UnableError):
            await look.look(ASKED, timeout=5)
        assert server.canned.pop().times == 0, "it was not asked for"


async def test_only_what_has_changed_is_fetched(look: ApiLiveLook, server: SimulatedApi, world: World) -> None:
    memory = world.snapshot()
    kept = ApiLiveLook(look._api, lambda: memory)
    await kept.look(Question(), timeout=5)
    assert not any(asked.path.endswith("/default") for asked in server.asked)
    world.update("protectedenvironments", "default", lambda doc: doc["spec"].update(mode="Audit"))
    found = await kept.look(Question(), timeout=5)
    assert found.snapshot.environments["default"].mode == "Audit"
    world.delete("protectedenvironments", "default")
    world.create("protectedenvironments", "default", spec=ENVIRONMENT)
    assert (await kept.look(Question(), timeout=5)).snapshot.environments["default"].mode == "Enforce"


async def test_what_memory_has_not_heard_of_is_found_by_its_act(look: ApiLiveLook, world: World) -> None:
    memory = world.snapshot()
    request = change_request()
    world.create("changerequests", request.meta.name, spec=render_change_request(request)["spec"])
    found = (await ApiLiveLook(look._api, lambda: memory).look(ASKED, timeout=5)).snapshot
    assert [each.meta.name for each in found.rounds[act_of(request)]] == [request.meta.name]
    memory = world.snapshot()
    world.delete("changerequests", request.meta.name)
    world.delete("namespaces", "payments")
    found = (await ApiLiveLook(look._api, lambda: memory).look(ASKED, timeout=5)).snapshot
    assert request.meta.name not in found.requests
    assert tuple(found.rounds.get(act_of(request), ())) == ()
    assert "payments" not in found.namespaces
    assert "kube-system" in found.namespaces


async def test_a_setting_that_cannot_be_read_fails_the_look(look: ApiLiveLook, world: World) -> None:
    memory = world.snapshot()
    world.update("protectedenvironments", "default", lambda doc: doc["spec"].update(protectFrom="Somebody"))
    with pytest.raises(UnableError):
        await ApiLiveLook(look._api, lambda: memory).look(Question(), timeout=5)


async def test_an_approval_that_cannot_be_read_fails_the_look(look: ApiLiveLook, world: World) -> None:
    world.create("approvals", "x", spec={"changeRequest": ASKED.requests[0], "decision": "Maybe"})
    memory = World().snapshot()
    with pytest.raises(UnableError):
        await ApiLiveLook(look._api, lambda: memory).look(ASKED, timeout=5)


async def test_a_look_keeps_to_its_time(look: ApiLiveLook, server: SimulatedApi) -> None:
    server.delay = 5
    begun = asyncio.get_running_loop().time()
    for reading in (look.look(ASKED, timeout=0.1), look.losses(SPACE, timeout=0.1), look.target(SPACE, timeout=0.1)):
        with pytest.raises(UnableError):
            await reading
    assert asyncio.get_running_loop().time() - begun < 3


async def test_memory_that_is_unable_fails_the_look(api: KubernetesApi) -> None:
    def unable() -> Any:
        raise UnableError("not synced")

    with pytest.raises(UnableError, match="not synced"):
        await ApiLiveLook(api, unable).look(Question(), timeout=5)


@pytest.mark.parametrize("plural", ["persistentvolumeclaims", "services"])
@pytest.mark.parametrize("code", [403, 500])
async def test_a_count_that_fails(look: ApiLiveLook, server: SimulatedApi, plural: str, code: int) -> None:
    server.answer(f"/{plural}", code, status(code))
    with pytest.raises(UnableError, match="could not be counted"):
        await look.losses(SPACE, timeout=5)


async def test_a_kind_that_may_not_be_read_names_the_role(look: ApiLiveLook, server: SimulatedApi) -> None:
    server.answer("/applications/", 403, status(403))
    with pytest.raises(UnableError, match='aggregate-to-webhook: "true"'):
        await look.target(Target("argoproj.io", "v1alpha1", "applications", "web", "argocd"), timeout=5)
    assert server.asked[-1].path == "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/web"


@pytest.mark.parametrize("name", ["payments?watch=true", "payments#x", "p a", "system:x"])
async def test_a_forged_name_stays_a_name(look: ApiLiveLook, server: SimulatedApi, name: str) -> None:
    await look.target(Target("", "v1", "persistentvolumeclaims", name, "payments"), timeout=5)
    assert server.asked[-1].query == {}


@pytest.mark.parametrize("name", ["payments/status", "..", ".", "payments%2fstatus"])
async def test_a_name_that_nothing_can_bear_is_not_even_asked_for(look: ApiLiveLook, server: SimulatedApi, name: str) -> None:
    assert await look.target(Target("", "v1", "namespaces", name), timeout=5) is None
    assert server.asked == []


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


# ── watches ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Time:
    """Real time, and a jump."""

    def __init__(self) -> None:
        self.jump = 0.0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.jump


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("countersign.adapters.watch._FIRST_PAUSE", 0.02)
    caplog.set_level(logging.CRITICAL)


def environments(site: AdaptersSite) -> set[str]:
    return set(site.watches.snapshot().environments)


async def test_nothing_is_decided_before_all_kinds_are_synced(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    server.answer("/reviewers", 500, status(500), times=5)
    site = AdaptersSite(api, world=world)
    following = asyncio.create_task(site.watches.run())
    await until(lambda: len(site.watches.ages()) == 5)
    with pytest.raises(UnableError, match="reviewers are not synced"):
        site.watches.snapshot()
    await until(lambda: len(site.watches.ages()) == 6)
    site.watches.snapshot()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


@pytest.mark.parametrize("body", RUBBISH)
async def test_rubbish_is_not_synced(api: KubernetesApi, server: SimulatedApi, world: World, body: bytes) -> None:
    world.create("protectedenvironments", "default", spec=ENVIRONMENT)
    server.answer("/protectedenvironments", 200, body, times=3)
    site = AdaptersSite(api, world=world)
    async with site.running():
        assert environments(site) == {"default"}


async def test_thousands_are_listed_in_parts(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    """Whole they would take more memory than a small pod has. What a later list lacks is gone all the same."""
    for number in range(2 * PART + 1):
        world.create("namespaces", f"n-{number}")
    async with AdaptersSite(api, world=world).running() as site:
        known = site.watches.snapshot().namespaces
        assert {f"n-{number}" for number in range(2 * PART + 1)} <= set(known)
        lists = [asked for asked in server.asked if asked.path == NAMESPACES and "watch" not in asked.query]
        assert [asked.query.get("continue") for asked in lists] == [None, str(PART), str(2 * PART)]
        assert all(asked.query["limit"] == str(PART) and "resourceVersion" not in asked.query for asked in lists)
        world.delete("namespaces", "n-0")
        server.forgets = world.latest
        server.cut_watches()
        await until(lambda: "n-0" not in site.watches.snapshot().namespaces)


async def test_every_record_is_read_where_all_are_asked_for(look: ApiLiveLook, world: World) -> None:
    for number in range(PART + 5):
        world.create("changerequests", f"r-{number}", spec=render_change_request(change_request())["spec"])
    found = await look.look(Question(all_requests=True), timeout=10)
    assert len(found.snapshot.requests) == PART + 5


async def test_a_watch_that_breaks_goes_on_where_it_was(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    async with AdaptersSite(api, world=world).running() as site:
        for number in range(3):
            server.cut_watches()
            world.create("protectedenvironments", f"e{number}", spec=ENVIRONMENT)
            await until(lambda number=number: f"e{number}" in environments(site))  # type: ignore[misc]  # mypy infers no type for a default argument of a lambda
        assert environments(site) == {"e0", "e1", "e2"}
        versions = [
            int(asked.query["resourceVersion"]) for asked in server.asked if asked.query.get("watch") and "environments" in asked.path
        ]
        second = world.get("protectedenvironments", "e1")
        assert second is not None
        assert versions == sorted(versions)
        assert versions[-1] >= int(second["metadata"]["resourceVersion"]), "the last one goes on from what was heard before it broke"


async def test_a_watch_that_says_nothing_and_ends_is_no_sign_of_life(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    """A proxy's empty 200, asked again and again, must not look as if all were well."""
    server.answer("watch=true", 200, b"", times=10**9)
    async with AdaptersSite(api, world=world, stale_after=2.0).running() as site:

        def is_unable() -> bool:
            try:
                site.watches.snapshot()
            except UnableError as error:
                return "nothing was heard of" in str(error)
            return False

        await until(is_unable)
        assert len(server.asked) < 300, "and not as fast as the network carries it"


async def test_a_watch_that_is_too_old_lists_anew(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    world.create("protectedenvironments", "old", spec=ENVIRONMENT)
    async with AdaptersSite(api, world=world).running() as site:
        del world.documents["protectedenvironments", "", "old"]  # an event that nobody will hear
        world.create("protectedenvironments", "new", spec=ENVIRONMENT)
        server.forgets = world.latest + 1
        world.create("namespaces", "later")
        server.cut_watches()
        await until(lambda: environments(site) == {"new"})


@pytest.mark.parametrize("line", [
    b"rubbish\n", b"[]\n", b"{}\n", b'{"type": "ADDED"}\n', b'{"type": "ODD", "object": {"metadata": {"resourceVersion": "1"}}}\n',
    b'{"type": "DELETED", "object": {}}\n', b'{"type": "ERROR"}\n', b'{"type": "ERROR", "object": {"code": 500}}\n',
])  # fmt: skip
async def test_a_watch_that_talks_rubbish_is_taken_up_again(api: KubernetesApi, server: SimulatedApi, world: World, line: bytes) -> None:
    world.create("protectedenvironments", "there", spec=ENVIRONMENT)
    server.answer("/protectedenvironments.*watch=true", 200, line, times=2)
    async with AdaptersSite(api, world=world).running() as site:
        world.create("protectedenvironments", "later", spec=ENVIRONMENT)
        await until(lambda: "later" in environments(site))
        assert environments(site) == {"there", "later"}


async def test_a_large_object_does_not_stop_a_watch(api: KubernetesApi, world: World) -> None:
    async with AdaptersSite(api, world=world).running() as site:
        world.create("namespaces", "large", annotations={"x": "y" * 1_500_000})
        await until(lambda: "large" in site.watches.snapshot().namespaces)


async def test_an_api_server_that_went_silent_is_noticed(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    clock = Time()
    watches = Watches(api, ClusterStore("c"), clock, plurals=ClusterStore.plurals(), stale_after=3.0)
    following = asyncio.create_task(watches.run())
    await until(lambda: len(watches.ages()) == 6)
    watches.snapshot()
    clock.jump = 3.5
    with pytest.raises(UnableError, match="nothing was heard of"):
        watches.snapshot()
    await until(lambda: max(watches.ages().values()) < 3.0)  # the watches' ends and beginnings are heard
    watches.snapshot()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_quiet_is_not_silence(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    """Nothing happens in the cluster, and no bookmark comes; the ends of watches say that all is well."""
    async with AdaptersSite(api, world=world, stale_after=3.0).running() as site:
        server.silent = True
        for _ in range(8):
            await asyncio.sleep(0.5)
            site.watches.snapshot()


async def test_a_setting_that_cannot_be_read_stops_decisions_until_it_is_mended(api: KubernetesApi, world: World) -> None:
    async with AdaptersSite(api, world=world).running() as site:
        world.create("protectedenvironments", "odd", spec={"protectFrom": "Somebody"})

        def is_unable() -> bool:
            try:
                site.watches.snapshot()
            except UnableError as error:
                return "odd" in str(error)
            return False

        await until(is_unable)
        world.update("protectedenvironments", "odd", lambda doc: doc["spec"].update(protectFrom="Agents"))
        await until(lambda: not is_unable() and "odd" in environments(site))
        world.update("protectedenvironments", "odd", lambda doc: doc["spec"].update(protectFrom="Nobody"))
        await until(is_unable)
        world.delete("protectedenvironments", "odd")
        await until(lambda: not is_unable())


async def test_a_request_that_cannot_be_read_is_as_absent(api: KubernetesApi, world: World) -> None:
    world.create("changerequests", "odd", spec={"what": "ever"})
    async with AdaptersSite(api, world=world).running() as site:
        assert site.watches.snapshot().requests == {}


@pytest.mark.parametrize(("given", "name"), [("", "cluster-1a2b3c4d"), ("prod-eu-1", "prod-eu-1")])
def test_a_cluster_without_a_name_is_called_after_its_uid(given: str, name: str) -> None:
    uid = "1a2b3c4d-0000-4000-8000-000000000001"
    store = ClusterStore(given)
    store.replace("namespaces", [{"metadata": {"name": "kube-system", "uid": uid}}])
    assert store.snapshot().cluster == Cluster(name, uid)
    store.apply("namespaces", "MODIFIED", {"metadata": {"name": "kube-system", "uid": uid, "labels": {"a": "b"}}})
    assert store.snapshot().cluster.name == name


def test_a_store_without_the_cluster_cannot_say_whose_it_is() -> None:
    with pytest.raises(UnableError, match="kube-system"):
        ClusterStore("c").snapshot()


async def test_what_no_change_request_can_hold_is_no_outage(api: KubernetesApi, server: SimulatedApi) -> None:
    words = 'ChangeRequest.kube-countersign.dev "x" is invalid: spec.requester.username: Too long: may not be more than 1024 bytes'
    server.answer("/changerequests", 422, {**status(422), "message": words})
    with pytest.raises(WireError, match=f"cannot be put before people to sign, so it cannot be done: {words}"):
        await ApiRequests(api).create(change_request(), timeout=5)
    server.answer("/changerequests", 500, status(500))
    with pytest.raises(UnableError):
        await ApiRequests(api).create(change_request(), timeout=5)
