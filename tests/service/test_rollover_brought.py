"""Certificates that cert-manager or the team bring: taken over without a failed request, and told when they cannot be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from countersign.adapters.authority import Issued, new_authority, new_certificate
from countersign.adapters.brought import BroughtPair
from countersign.domain.certificates import bundle
from countersign.service.rollover import LEAF_LIFE
from tests.service.test_rollover import LAG, ROUND, pass_time, settled
from tests.support.rotation import AUTHORITY, NAMES, NAMESPACE, SECRETS, Operator, Replica, World

SECRET = "brought"  # the name of an object


def brought(world: World, authorities: str = "") -> BroughtPair:
    return BroughtPair(
        world.api,
        namespace=NAMESPACE,
        secret=SECRET,
        authorities=authorities,
        name=NAMES[0],
        keeper="Put the next one into the Secret before.",
        missing="make it (kubectl create secret generic brought)",
    )


@dataclass
class CertManager:
    """Writes the Secret as cert-manager does: tls.crt, tls.key and ca.crt at one blow, with the issuer's certificate of that moment.

    Its `ca` issuer signs with whatever its own Secret holds; a leaf that was issued before stays as it is, ca.crt too, until it is renewed
    itself (https://cert-manager.io/docs/configuration/ca/). Renewed is at two thirds, with a new key (rotationPolicy: Always).
    """

    world: World
    authority: Issued | None = None
    leaf: Issued | None = None

    def look(self) -> None:
        now = self.world.clock.now()
        if self.authority is None or now > self.authority.certificate.not_valid_after_utc - timedelta(days=100):
            self.authority = new_authority(now, timedelta(days=260))
        if self.leaf is None or now >= self.leaf.certificate.not_valid_after_utc - LEAF_LIFE / 3:
            self.issue()

    def issue(self, *names: str) -> None:
        if self.authority is None:
            self.authority = new_authority(self.world.clock.now(), timedelta(days=260))
        self.leaf = new_certificate(self.authority, names or NAMES, self.world.clock.now())
        self.world.put(SECRET, parts(self.authority, self.leaf))


def parts(authority: Issued, leaf: Issued) -> dict[str, bytes]:
    return {"tls.crt": leaf.certificate_pem, "tls.key": leaf.key_pem, "ca.crt": authority.certificate_pem}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def manager(world: World) -> CertManager:
    return CertManager(world)


async def installed(world: World, manager: CertManager) -> tuple[Operator, Replica]:
    manager.issue()
    operator = world.operator(brought(world))
    replica = await settled(world, operator)
    return operator, replica


async def test_a_year_of_cert_manager_s_renewals(world: World, manager: CertManager) -> None:
    operator, quick = await installed(world, manager)
    slow = world.replica(every=timedelta(days=20))
    await slow.look()
    leaves, authorities = set(), set()
    for _ in range(37):
        world.clock.forward(timedelta(days=10))
        manager.look()
        assert await pass_time(world, operator, [quick, slow], 9) == []
        leaves.add(world.part("tls.crt"))
        authorities.add(world.part("ca.crt"))
    assert len(leaves) >= 5
    assert len(authorities) >= 2


async def test_the_new_authority_is_in_the_bundle_before_what_it_signed_is_served(world: World, manager: CertManager) -> None:
    operator, replica = await installed(world, manager)
    old = world.part("tls.crt")
    manager = CertManager(world)
    manager.issue()
    await operator.round()
    assert manager.authority is not None
    assert manager.leaf is not None
    assert world.part("tls.crt") == old, "what cert-manager has written is not served yet"
    assert bundle([manager.authority.certificate]) in world.bundle()
    assert operator.condition().reason == "RollingOver"
    assert await pass_time(world, operator, [replica], 10) == []
    assert world.part("tls.crt") == manager.leaf.certificate_pem


async def test_from_the_operators_own_to_a_brought_one_and_back(world: World, manager: CertManager) -> None:
    replica = await settled(world, world.operator())
    own = world.part("ca.crt", AUTHORITY)
    manager.issue()
    assert await pass_time(world, world.operator(brought(world)), [replica], 12) == []
    assert manager.leaf is not None
    assert world.part("tls.crt") == manager.leaf.certificate_pem
    assert AUTHORITY not in world.api.objects, "a key that signs nothing any more is destroyed"
    assert own in world.bundle(), "some replica may still serve what it signed"
    assert await pass_time(world, world.operator(), [replica], 12) == []
    assert world.part("tls.crt") != manager.leaf.certificate_pem


async def test_the_own_authority_stays_until_the_brought_pair_is_served(world: World, manager: CertManager) -> None:
    replica = await settled(world, world.operator())
    manager.issue("shop.example.com")
    assert await pass_time(world, world.operator(brought(world)), [replica], 12) == []
    assert AUTHORITY in world.api.objects


async def test_where_hosts_trust_by_a_file_a_new_authority_waits_for_people(world: World, manager: CertManager) -> None:
    """As long as it can: docs/authorizer.md."""
    manager.issue()
    operator = world.operator(brought(world), on_hosts=True)
    replica = await settled(world, operator)
    first = world.part("tls.crt")
    world.clock.forward(timedelta(days=60))
    manager.authority = None
    manager.issue()
    assert await pass_time(world, operator, [replica], 12) == []
    assert world.part("tls.crt") == first
    world.clock.forward(timedelta(days=16))
    assert await pass_time(world, operator, [replica], 12) == []
    assert world.part("tls.crt") != first


Make = Callable[[World, Issued], dict[str, bytes]]
BAD: Mapping[str, tuple[Make, str]] = {
    "of another name": (
        lambda world, ours: parts(ours, new_certificate(ours, ("shop.example.com",), world.clock.now())),
        "is for shop.example.com, and the API server calls countersign-webhook.countersign.svc",
    ),
    "expired": (
        lambda world, ours: parts(ours, new_certificate(ours, NAMES, world.clock.now() - timedelta(days=91))),
        "The certificate expired on 2026-11-22: bring a new one",
    ),
    "not yet": (
        lambda world, ours: parts(ours, new_certificate(ours, NAMES, world.clock.now() + timedelta(days=2))),
        "The certificate holds only from 2026-11-24",
    ),
    "with another's key": (
        lambda world, ours: {**parts(ours, new_certificate(ours, NAMES, world.clock.now())), "tls.key": ours.key_pem},
        "tls.key is not the key of tls.crt",
    ),
    "of another authority": (
        lambda world, ours: {
            **parts(ours, new_certificate(ours, NAMES, world.clock.now())),
            "ca.crt": new_authority(world.clock.now()).certificate_pem,
        },
        "The chain of tls.crt does not lead to CN=countersign-webhook-ca",
    ),
    "without authority": (
        lambda world, ours: {**parts(ours, new_certificate(ours, NAMES, world.clock.now())), "ca.crt": b""},
        "put the authority's certificate into ca.crt",
    ),
    "no certificate": (
        lambda _, ours: {"tls.crt": b"hello", "tls.key": ours.key_pem, "ca.crt": ours.certificate_pem},
        "tls.crt holds no PEM",
    ),
    "nothing at all": (lambda *_: {"tls.crt": b"", "tls.key": b"", "ca.crt": b""}, "tls.crt is empty"),
}


@pytest.mark.parametrize(("make", "sentence"), BAD.values(), ids=BAD)
async def test_what_cannot_be_served_is_told_and_the_one_in_use_stays(
    world: World, manager: CertManager, make: Make, sentence: str
) -> None:
    operator, replica = await installed(world, manager)
    assert manager.authority is not None
    before = world.part("tls.crt")
    world.put(SECRET, make(world, manager.authority))
    assert await pass_time(world, operator, [replica], 12) == []
    assert world.part("tls.crt") == before
    said = operator.condition()
    assert (said.holds, said.reason) == (False, "NotUsable")
    assert sentence in said.message
    assert said.message.endswith("The certificate in use stays; it is good until 2027-02-20.")
    assert operator.meter.is_good is False
    assert [(notice.reason, notice.about.name, notice.warning) for notice in operator.notices.told] == [
        ("CertificateNotUsable", SECRET, True)
    ]
    assert operator.notices.told[0].message == said.message
    manager.issue()
    assert await pass_time(world, operator, [replica], 12) == []
    assert operator.condition().holds
    assert operator.meter.is_good


async def test_a_secret_that_is_not_there_is_told_and_guards_stand_without_a_bundle(world: World) -> None:
    operator = world.operator(brought(world))
    await operator.round()
    assert world.bundle() == b""
    assert operator.condition().message == (
        "The Secret countersign/brought does not exist: make it (kubectl create secret generic brought). Guarded requests are refused until then."
    )


async def test_a_secret_that_is_lost_leaves_the_one_in_use(world: World, manager: CertManager) -> None:
    operator, replica = await installed(world, manager)
    del world.api.objects[f"{SECRETS}/{SECRET}"]
    assert await pass_time(world, operator, [replica], 12) == []
    assert "does not exist" in operator.condition().message


async def test_what_openssl_would_not_load_is_written_in_our_own_hand(world: World, manager: CertManager) -> None:
    """As people paste it, with notes around, and a key of the older form."""
    operator, replica = await installed(world, manager)
    assert manager.authority is not None
    leaf = new_certificate(manager.authority, NAMES, world.clock.now())
    older = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    world.put(SECRET, {**parts(manager.authority, leaf), "tls.crt": b"our certificate:\n" + leaf.certificate_pem, "tls.key": older})
    assert await pass_time(world, operator, [replica], 12) == []
    assert (world.part("tls.crt"), world.part("tls.key")) == (leaf.certificate_pem, leaf.key_pem)
    written = world.api.writes()
    await operator.round()
    assert world.api.writes() == written


async def test_an_authority_from_the_values_is_trusted_where_the_secret_has_none(world: World) -> None:
    authority = new_authority(world.clock.now())
    leaf = new_certificate(authority, NAMES, world.clock.now())
    world.put(SECRET, {**parts(authority, leaf), "ca.crt": b""})
    operator = world.operator(brought(world, authority.certificate_pem.decode()))
    await settled(world, operator)
    assert operator.condition().holds


async def test_its_end_is_told_ahead(world: World, manager: CertManager) -> None:
    operator, _ = await installed(world, manager)
    world.clock.forward(timedelta(days=80))
    await operator.round()
    assert operator.condition().reason == "ExpiresSoon"
    assert operator.condition().message == "Good until 2027-02-20. Put the next one into the Secret before."
    assert [notice.reason for notice in operator.notices.told] == ["CertificateExpiresSoon"]
    await operator.round()
    assert len(operator.notices.told) == 1


async def test_no_replica_is_asked_to_serve_what_lags(world: World, manager: CertManager) -> None:
    """A new authority with each renewal, again and again within the API servers' half minute."""
    operator, replica = await installed(world, manager)
    for _ in range(6):
        manager.authority = None
        manager.issue()
        assert await pass_time(world, operator, [replica], 3) == []
    assert await pass_time(world, operator, [replica], int(LAG / ROUND) + 6) == []
    assert manager.leaf is not None
    assert world.part("tls.crt") == manager.leaf.certificate_pem
    assert len(x509.load_pem_x509_certificates(world.bundle())) <= 3
