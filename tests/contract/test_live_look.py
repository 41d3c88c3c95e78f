"""The live look against a simulated API server: what it reads, and that any failure fails it."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from countersign.adapters.api import KubernetesApi
from countersign.adapters.clock import SystemClock
from countersign.adapters.live import ApiLiveLook
from countersign.adapters.watch import PART
from countersign.domain.approval import MOST_APPROVALS
from countersign.domain.errors import UnableError
from countersign.domain.resources import Target
from countersign.domain.statement import act_of
from countersign.service.ports import Question
from countersign.wire.resources import render_change_request
from tests.contract._apis import RUBBISH, status
from tests.support.contracts import ENVIRONMENT
from tests.support.objects import change_request
from tests.support.simulated_api import SimulatedApi
from tests.support.world import World

SPACE = Target("", "v1", "namespaces", "payments")


@dataclass(frozen=True)
class OffClock:
    """The system's, and somebody has set it."""

    off: timedelta

    def now(self) -> datetime:
        return SystemClock().now() + self.off

    def monotonic(self) -> float:
        return SystemClock().monotonic()


# ── the live look ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def look(api: KubernetesApi, world: World) -> ApiLiveLook:
    world.create("namespaces", "payments")
    world.create("protectedenvironments", "default", spec=ENVIRONMENT)
    return ApiLiveLook(api, world.snapshot)


ASKED = Question(("delete-namespace-payments-00000000",), "payments", SPACE)
LISTS = ["agentidentities", "reviewers", "protectedenvironments", "approvals", "persistentvolumeclaims", "services"]


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


async def test_every_record_is_read_where_all_are_asked_for(look: ApiLiveLook, world: World) -> None:
    for number in range(PART + 5):
        world.create("changerequests", f"r-{number}", spec=render_change_request(change_request())["spec"])
    found = await look.look(Question(all_requests=True), timeout=10)
    assert len(found.snapshot.requests) == PART + 5
