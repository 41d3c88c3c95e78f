"""The webhook's certificate: made, renewed, lost, garbled, out of date, on clocks that jump, and from one layout to the next."""

import base64
import random
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from countersign.adapters.authority import AUTHORITY_LIFE, BACKDATED, NOTICE, Issued, new_authority, new_certificate, server_names
from countersign.domain.certificates import bundle
from countersign.service.ports import ApiError, ConflictError
from countersign.service.rollover import LEAF_LIFE
from countersign.service.trust import CONFIGURATION, PROPAGATION
from tests.support.operator import MemoryOwner
from tests.support.rotation import AUTHORITY, NAMES, SECRETS, SERVED, Operator, Replica, World

ROUND = timedelta(seconds=5)
LAG = PROPAGATION - ROUND
"""How late an API server may hear of a change: a round less than what the operator waits for."""


@pytest.fixture
def world() -> World:
    return World()


async def pass_time(world: World, operator: Operator, replicas: list[Replica], rounds: int, *, lag: timedelta = LAG) -> list[str]:
    """Rounds of five seconds; what failed of one request each from an API server that heard of everything and one that lags."""
    failures = []
    for _ in range(rounds):
        await operator.round()
        for replica in replicas:
            await replica.look()
            failures += [fault for late in (timedelta(), lag) if (fault := world.fault(replica.leaf(), late))]
        world.clock.forward(ROUND)
    return failures


async def settled(world: World, operator: Operator) -> Replica:
    """A day after the installation."""
    await operator.round()
    replica = world.replica()
    await replica.look()
    world.clock.forward(timedelta(days=1))
    assert await pass_time(world, operator, [replica], 3) == []
    return replica


# --- made


async def test_a_new_installation_serves_at_once(world: World) -> None:
    operator = world.operator()
    await operator.round()
    replica = world.replica()
    await replica.look()
    assert world.fault(replica.leaf()) == ""
    assert operator.condition().holds
    assert operator.condition().message == "Good until 2027-02-20. The operator renews it."
    assert operator.meter.is_good
    assert operator.meter.expiries["serving"] == world.leaf().not_valid_after_utc.timestamp()
    assert operator.meter.expiries["authority"] == (world.clock.now() + AUTHORITY_LIFE).timestamp()


async def test_the_webhook_reads_no_key_that_signs(world: World) -> None:
    await world.operator().round()
    assert set(world.api.objects[SERVED]["data"]) == {"tls.crt", "tls.key", "ca.crt"}
    assert set(world.api.objects[AUTHORITY]["data"]) == {"ca.crt", "ca.key"}
    assert world.part("tls.key") != world.part("ca.key", AUTHORITY)


async def test_the_names_are_what_the_api_server_calls_it_by(world: World) -> None:
    await world.operator().round()
    names = world.leaf().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(NAMES)
    assert server_names("x", "https://127.0.0.1:9443/validate") == ("127.0.0.1", "localhost")
    assert server_names("x", "https://hooks.example.com/validate") == ("hooks.example.com", "localhost", "127.0.0.1")


async def test_a_second_time_writes_nothing(world: World) -> None:
    operator = world.operator()
    await operator.round()
    written = world.api.writes()
    for _ in range(3):
        await operator.round()
        await world.operator().round()
    assert world.api.writes() == written == [("POST", SECRETS)] * 2


async def test_both_secrets_go_with_the_charts_role(world: World) -> None:
    await world.operator().round()
    for path in (SERVED, AUTHORITY):
        assert [each["uid"] for each in world.api.objects[path]["metadata"]["ownerReferences"]] == ["role"]
    before, authority = world.part("tls.crt"), world.part("ca.crt", AUTHORITY)
    operator = world.operator()
    operator.rollover._owner = MemoryOwner("role-2")
    await operator.round()
    for path in (SERVED, AUTHORITY):
        assert [each["uid"] for each in world.api.objects[path]["metadata"]["ownerReferences"]] == ["role-2"]
    assert (world.part("tls.crt"), world.part("ca.crt", AUTHORITY)) == (before, authority)


async def test_nothing_is_made_while_the_chart_is_uninstalled(world: World) -> None:
    operator = world.operator()
    operator.rollover._owner = MemoryOwner("")
    assert await operator.rollover.ensure() is None
    assert world.api.writes() == []


# --- renewed


@pytest.mark.parametrize(
    ("after", "leaf_is_new", "authorities"),
    [
        (timedelta(days=58), False, 1),
        (timedelta(days=61), True, 1),
        (AUTHORITY_LIFE * 2 / 3, True, 2),
        (AUTHORITY_LIFE * 2 / 3 + NOTICE + timedelta(days=20), True, 1),
    ],
)
async def test_renewed_after_two_thirds(world: World, after: timedelta, leaf_is_new: bool, authorities: int) -> None:
    operator = world.operator()
    await operator.round()
    old = world.leaf()
    elapsed = timedelta()
    while elapsed < after:
        elapsed += timedelta(days=20) if elapsed + timedelta(days=20) < after else after - elapsed
        world.clock.forward(old.not_valid_before_utc + BACKDATED + elapsed - world.clock.now())
        await operator.round()
    assert (world.leaf() != old) is leaf_is_new
    assert len(x509.load_pem_x509_certificates(world.part("ca.crt", AUTHORITY) + world.api_part("next.crt"))) == authorities


async def test_a_new_authority_stands_in_the_bundle_for_a_month_before_it_signs(world: World) -> None:
    world.life = timedelta(days=400)
    operator = world.operator(on_hosts=True)
    await operator.round()
    first = world.part("ca.crt", AUTHORITY)
    announced = signing = None
    for _ in range(400):
        world.clock.forward(timedelta(days=1))
        await operator.round()
        if announced is None and world.api_part("next.crt"):
            announced = world.clock.now()
            assert "another authority signs: renew the kubeconfig on the API servers' hosts" in operator.condition().message
        if signing is None and world.part("ca.crt", AUTHORITY) != first:
            signing = world.clock.now()
            assert first in world.bundle(), "what may still be served is trusted"
    assert announced is not None
    assert signing is not None
    assert signing - announced >= NOTICE
    assert first not in world.bundle(), "the last certificate that it signed has ended"


async def test_new_names_get_a_new_certificate_of_the_same_authority(world: World) -> None:
    operator = world.operator()
    replica = await settled(world, operator)
    authority = world.part("ca.crt", AUTHORITY)
    source = world.own()
    source._names = (*NAMES, "127.0.0.1")
    assert await pass_time(world, world.operator(source), [replica], 5) == []
    names = world.leaf().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert world.part("ca.crt", AUTHORITY) == authority


# --- healed, and no request fails meanwhile: replicas that run have the old pair in memory


def lose_served(world: World) -> None:
    world.api.objects.pop(SERVED, None)


def lose_authority(world: World) -> None:
    world.api.objects.pop(AUTHORITY, None)


def lose_both(world: World) -> None:
    lose_served(world)
    lose_authority(world)


def garble(path: str, name: str, value: str) -> Any:
    def spoil(world: World) -> None:
        world.api.objects[path]["data"][name] = value

    return pytest.param(spoil, id=f"{path.rpartition('/')[2]}-{name}-{value or 'empty'}")


def another_key(world: World) -> None:
    key = new_authority(world.clock.now()).key_pem
    if SERVED not in world.api.objects:
        return
    world.api.objects[SERVED]["data"]["tls.key"] = base64.b64encode(key).decode()


def half_a_certificate_more(world: World) -> None:
    """Which a replica would not load, though what comes before it is good."""
    if SERVED in world.api.objects:
        half = world.part("tls.crt") + world.part("tls.crt")[:200]
        world.api.objects[SERVED]["data"]["tls.crt"] = base64.b64encode(half).decode()


def a_strangers_pair(world: World) -> None:
    """A good pair, but of an authority that nobody trusts. A replica that takes it fails until the operator has put it right."""
    stranger = new_authority(world.clock.now())
    issued = new_certificate(stranger, NAMES, world.clock.now())
    parts = {"tls.crt": issued.certificate_pem, "tls.key": issued.key_pem, "ca.crt": stranger.certificate_pem}
    world.api.objects[SERVED]["data"] = {name: base64.b64encode(part).decode() for name, part in parts.items()}


GARBAGE = ("", "bm90IFBFTQ==", "***")
SPOILT = [
    lose_served,
    lose_authority,
    lose_both,
    another_key,
    half_a_certificate_more,
    a_strangers_pair,
    *(garble(SERVED, name, value) for name in ("tls.crt", "tls.key", "ca.crt") for value in GARBAGE),
    *(garble(AUTHORITY, name, value) for name in ("ca.crt", "ca.key") for value in GARBAGE),
]


@pytest.mark.parametrize("is_restarted", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("spoil", SPOILT)
async def test_what_is_lost_or_garbled_heals_without_a_failed_request(world: World, spoil: Any, is_restarted: bool) -> None:
    operator = world.operator()
    replica = await settled(world, operator)
    spoil(world)
    if is_restarted:
        operator = world.operator()
    await replica.look()
    assert await pass_time(world, operator, [replica], 20) == []
    fresh = world.replica()
    await fresh.look()
    assert world.fault(fresh.leaf()) == ""
    assert operator.condition().holds
    written = world.api.writes()
    await operator.round()
    assert world.api.writes() == written, "healed for good"


async def test_a_lost_certificate_does_not_come_back(world: World) -> None:
    """Its key may have been stolen: whoever deletes the Secret gets another."""
    operator = world.operator()
    replica = await settled(world, operator)
    before = world.part("tls.key")
    lose_served(world)
    assert await pass_time(world, operator, [replica], 10) == []
    assert world.part("tls.key") != before


async def test_a_stolen_authority_is_out_of_the_bundle_by_two_commands(world: World) -> None:
    """docs/certificates.md: delete its Secret; once the new certificate is served, take the old authorities out."""
    operator = world.operator()
    replica = await settled(world, operator)
    stolen = world.part("ca.crt", AUTHORITY)
    lose_authority(world)
    assert await pass_time(world, operator, [replica], 20) == []
    assert stolen in world.bundle()
    await world.api.patch(SERVED, {"data": {"ca-old.crt": None}})
    assert await pass_time(world, operator, [replica], 3) == []
    assert stolen not in world.bundle()


async def test_what_ended_while_the_operator_was_down_is_good_after_one_round(world: World) -> None:
    replica = await settled(world, world.operator())
    world.clock.forward(LEAF_LIFE)
    assert "has expired" in replica.certificate.ready()
    await world.operator().round()
    await replica.look()
    assert world.fault(replica.leaf()) == ""


async def test_an_authority_that_ended_is_replaced_after_one_round(world: World) -> None:
    replica = await settled(world, world.operator())
    world.clock.forward(AUTHORITY_LIFE)
    await world.operator().round()
    await replica.look()
    assert world.fault(replica.leaf()) == ""
    assert len(x509.load_pem_x509_certificates(world.bundle())) == 1


async def test_an_authority_that_ends_within_the_notice_is_followed_in_time(world: World) -> None:
    """The operator was down until ten days before the end: the next authority signs before it was announced for a month."""
    world.life = timedelta(days=200)
    replica = await settled(world, world.operator())
    world.clock.forward(timedelta(days=189))
    operator = world.operator()
    await operator.round()
    await replica.look()
    for _ in range(14):
        assert await pass_time(world, operator, [replica], 10) == []
        world.clock.forward(timedelta(days=1))
        await replica.look()


@pytest.mark.parametrize(
    "step", [timedelta(hours=-20), timedelta(days=-400), timedelta(days=20), timedelta(days=300), timedelta(days=4000)]
)
async def test_the_api_servers_clock_is_set_and_set_right_again(world: World, step: timedelta) -> None:
    operator = world.operator()
    replica = await settled(world, operator)
    for move in (step, -step):
        world.clock.set(move)
        replica.due = timedelta()
        await operator.round()
        await replica.look()
        world.clock.forward(timedelta(seconds=1))
        assert world.fault(replica.leaf()) == "", "after one round, and one look of the replica"
        written = world.api.writes()
        await operator.round()
        assert world.api.writes() == written, "no endless renewing"


async def test_a_step_of_less_than_a_day_costs_no_request(world: World) -> None:
    operator = world.operator()
    replica = await settled(world, operator)
    lose_both(world)
    assert await pass_time(world, operator, [replica], 20) == []
    world.clock.set(timedelta(hours=-20))
    replica.due = timedelta()
    assert await pass_time(world, operator, [replica], 5) == []


# --- two operators, and an API that fails


async def test_two_operators_at_once(world: World) -> None:
    """The Lease keeps them apart; where it does not, whoever read before the other wrote gives way."""
    one, other = world.operator(), world.operator()
    replica = await settled(world, one)
    lose_both(world)
    for _ in range(20):
        for operator in random.Random(7).sample([one, other], 2):
            await operator.round()
        await replica.look()
        assert world.fault(replica.leaf()) == ""
        assert world.fault(replica.leaf(), LAG) == ""
        world.clock.forward(ROUND)
    assert one.condition() == other.condition()


async def test_who_writes_second_gives_way(world: World) -> None:
    first, second = world.operator(), world.operator()
    read = world.api.get
    has_raced = False

    async def get(path: str, **parts: Any) -> Any:
        nonlocal has_raced
        answer_or_error: Any
        try:
            answer_or_error = await read(path, **parts)
        except ApiError as error:
            answer_or_error = error
        if path == AUTHORITY and not has_raced:
            has_raced = True
            await first.round()  # between the second's read and its write
        if isinstance(answer_or_error, ApiError):
            raise answer_or_error
        return answer_or_error

    world.api.get = get  # type: ignore[method-assign]  # the one read that the race is about
    with pytest.raises(ConflictError):
        await second.round()
    authority = world.part("ca.crt", AUTHORITY)
    await second.round()
    assert world.part("ca.crt", AUTHORITY) == authority
    replica = world.replica()
    await replica.look()
    assert world.fault(replica.leaf()) == ""


async def test_a_secret_that_cannot_be_written_is_told_and_keeps_the_bundle(world: World) -> None:
    operator = world.operator()
    replica = await settled(world, operator)
    world.api.failing["PUT", SERVED] = ApiError(403, "somebody's policy denied it")
    world.clock.forward(timedelta(days=60))
    await operator.round()
    assert await pass_time(world, operator, [replica], 5) == []
    assert operator.condition().holds is False
    assert "somebody's policy denied it" in operator.condition().message
    assert [notice.reason for notice in operator.notices.told] == ["CertificateNotUsable"]
    world.api.failing.clear()
    assert await pass_time(world, operator, [replica], 5) == []
    assert operator.condition().holds


async def test_a_secret_of_another_type_is_told(world: World) -> None:
    world.api.objects[SERVED] = {"type": "Opaque", "metadata": {"name": "x", "uid": "u", "resourceVersion": "1"}, "data": {}}
    operator = world.operator()
    await operator.round()
    assert "has the type Opaque: delete it, and it is made anew" in operator.condition().message
    assert operator.condition().holds is False
    assert operator.meter.is_good is False


# --- from the layout before: one Secret with the authority's key in it


def former_layout(world: World) -> Issued:
    authority = new_authority(world.clock.now() - timedelta(days=100), timedelta(days=3650))
    leaf = new_certificate(authority, NAMES, world.clock.now())
    parts = {"ca.crt": authority.certificate_pem, "ca.key": authority.key_pem, "tls.crt": leaf.certificate_pem, "tls.key": leaf.key_pem}
    world.put("countersign-webhook-tls", parts)
    world.configure(bundle([authority.certificate]))
    return authority


async def test_the_former_layout_is_taken_over_without_a_failed_request(world: World) -> None:
    former = former_layout(world)
    replica, late = world.replica(), world.replica(every=timedelta(days=20))
    await replica.look()
    await late.look()
    world.clock.forward(timedelta(days=1))
    operator = world.operator()
    assert await pass_time(world, operator, [replica, late], 10) == []
    assert "ca.key" not in world.api.objects[SERVED]["data"], "from the first round on the webhook cannot read it"
    assert world.part("ca.key", AUTHORITY) == former.key_pem
    for _ in range(35):
        world.clock.forward(timedelta(days=4))
        assert await pass_time(world, operator, [replica, late], 8) == []
    assert world.part("ca.key", AUTHORITY) != former.key_pem, "a key that the webhook could read signs no more"
    assert former.certificate_pem not in world.bundle()


async def test_back_to_the_former_layout_and_forth_again(world: World) -> None:
    operator = world.operator()
    replica = await settled(world, operator)
    authority = former_layout(world)  # as the former operator makes it, where it finds no key of an authority
    assert world.bundle() == authority.certificate_pem
    replica.due = timedelta()
    await replica.look()
    assert world.fault(replica.leaf()) == ""
    world.clock.forward(timedelta(days=1))
    assert await pass_time(world, world.operator(), [replica], 20) == []
    assert "ca.key" not in world.api.objects[SERVED]["data"]


# --- whatever happens, in whatever order


CALAMITIES = (lose_served, lose_authority, another_key)
STEPS = st.one_of(
    st.tuples(st.just("days"), st.integers(1, 25)),
    st.tuples(st.just("rounds"), st.integers(1, 8)),
    st.tuples(st.just("calamity"), st.sampled_from(CALAMITIES)),
    st.tuples(st.just("restart"), st.just(0)),
)


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(STEPS, max_size=12),
    every=st.lists(st.sampled_from([10, 60, 3600, 86_400]), min_size=1, max_size=3),
    lags=st.lists(st.integers(0, int(LAG.total_seconds())), min_size=1, max_size=2),
)
async def test_no_order_of_events_fails_a_request(steps: list[tuple[str, Any]], every: list[int], lags: list[int]) -> None:
    """Replicas that see the Secret at different times, API servers that lag, a Secret lost or spoilt now and then, operators that restart."""
    world = World(life=timedelta(days=200))
    operator = world.operator()
    await operator.round()
    replicas = [world.replica(every=timedelta(seconds=seconds)) for seconds in every]
    for replica in replicas:
        await replica.look()
    world.clock.forward(timedelta(minutes=1))

    async def rounds(number: int) -> None:
        for _ in range(number):
            await operator.round()
            for replica in replicas:
                await replica.look()
                for lag in lags:
                    assert world.fault(replica.leaf(), timedelta(seconds=lag)) == ""
            world.clock.forward(ROUND)

    for what, detail in steps:
        if what == "days":
            for _ in range(detail):
                world.clock.forward(timedelta(days=1))
                await rounds(2)
        elif what == "rounds":
            await rounds(detail)
        elif what == "calamity":
            detail(world)
        else:
            operator = world.operator()


async def test_the_order_is_what_keeps_requests_from_failing(world: World) -> None:
    """The same with an operator that waits for nobody: requests fail, and so the tests above can."""
    world.propagation = timedelta()
    operator = world.operator()
    replica = await settled(world, operator)
    lose_authority(world)
    assert await pass_time(world, operator, [replica], 20)


async def test_an_entry_without_the_authority_counts(world: World) -> None:
    """Somebody, or an old operator, left one entry of the configuration behind: what fails there fails."""
    operator = world.operator()
    replica = await settled(world, operator)
    lose_authority(world)
    await operator.round()
    world.api.objects[CONFIGURATION]["webhooks"][1]["clientConfig"]["caBundle"] = base64.b64encode(world.trusted[0][1]).decode()
    before = world.leaf()
    for _ in range(20):
        world.clock.forward(ROUND)
        await operator.rollover.ensure()
    await replica.look()
    assert world.leaf() == before
