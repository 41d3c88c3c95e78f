"""A cluster in which nothing happens but the webhook's certificate: operators, replicas that look when they look, API servers that lag.

Real are the operator's logic and the replica's reader of the Secret. Simulated are the time, the API (in memory), and the API servers' trust:
each verifies by the CA bundle that stood in the webhook configuration `lag` ago, with cryptography's verifier in its own policy for the Web,
which is stricter than Go's.
"""

import base64
import copy
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.x509 import verification

from countersign.adapters.authority import OwnAuthority, server_names
from countersign.adapters.certificates import ServingCertificate
from countersign.service.keeping import CertificateSource, Condition
from countersign.service.ports import Api
from countersign.service.rollover import SECRET, Rollover
from countersign.service.trust import CONFIGURATION, PROPAGATION, Trust
from tests.support.api import MemoryApi
from tests.support.objects import environment
from tests.support.operator import HandClock, MemoryNotices, MemoryOwner

NAMESPACE = "countersign"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
SERVED = f"{SECRETS}/{SECRET}"
AUTHORITY = f"{SECRETS}/countersign-webhook-ca"
NAMES = server_names(NAMESPACE, "")


@dataclass
class MemoryMeter:
    expiries: Mapping[str, float] = field(default_factory=dict)
    is_good: bool | None = None

    def certificate(self, expiries: Mapping[str, float], *, is_good: bool) -> None:
        self.expiries, self.is_good = expiries, is_good


class Operator:
    """One process of it. `round` is one round of upkeep, as far as the certificate goes: `ensure`, then the configuration."""

    def __init__(self, world: "World", source: CertificateSource | None = None, *, on_hosts: bool = False) -> None:
        self._world = world
        self.notices = MemoryNotices()
        self.meter = MemoryMeter()
        api, clock = world.api, world.clock
        self.rollover = Rollover(
            api,
            clock,
            MemoryOwner(),
            source or world.own(),
            Trust(api, clock, propagation=world.propagation),
            namespace=NAMESPACE,
            name=NAMES[0],
            on_hosts=on_hosts,
            notices=self.notices,
            meter=self.meter,
        )

    async def round(self) -> None:
        bundle = await self.rollover.ensure()
        assert bundle is not None
        self._world.configure(bundle)

    def condition(self) -> Condition:
        return self.rollover.condition(environment("default"))


class Replica:
    """A webhook, which reads the Secret `every` so long, the first time after `first`."""

    def __init__(self, world: "World", *, every: timedelta = timedelta(seconds=10), first: timedelta = timedelta()) -> None:
        self._world = world
        self._every = every
        self.due = world.clock.passed + first
        self.certificate = ServingCertificate(world.api, world.clock, namespace=NAMESPACE)

    async def look(self) -> None:
        now = self._world.clock.passed
        if now >= self.due:
            await self.certificate.refresh()
            self.due = now + self._every

    def leaf(self) -> x509.Certificate | None:
        """What a client gets that connects now, by a real handshake in memory."""
        return shaken(self.certificate.context) if not self.certificate.ready() else None


@dataclass
class SettableClock(HandClock):
    """Somebody may set it, which its monotonic side does not notice."""

    passed: timedelta = timedelta()

    def monotonic(self) -> float:
        return self.passed.total_seconds()

    def forward(self, step: timedelta) -> None:
        super().forward(step)
        self.passed += step

    def set(self, step: timedelta) -> None:
        self.moment += step


@dataclass
class World:
    clock: SettableClock = field(default_factory=SettableClock)
    api: MemoryApi = field(default_factory=MemoryApi)
    propagation: timedelta = PROPAGATION
    life: timedelta = timedelta(days=5 * 365)
    notice: timedelta = timedelta(days=30)
    trusted: list[tuple[timedelta, bytes]] = field(default_factory=list)

    def own(self, api: Api | None = None) -> OwnAuthority:
        return OwnAuthority(api or self.api, namespace=NAMESPACE, names=NAMES, life=self.life, notice=self.notice)

    def operator(self, source: CertificateSource | None = None, *, on_hosts: bool = False) -> Operator:
        return Operator(self, source, on_hosts=on_hosts)

    def replica(self, **about: timedelta) -> Replica:
        return Replica(self, **about)

    def configure(self, bundle: bytes) -> None:
        """The webhook configuration, as the guard keeper writes it: only where it is news."""
        if self.trusted and self.trusted[-1][1] == bundle:
            return
        self.trusted.append((self.clock.passed, bundle))
        entry = {"clientConfig": {"caBundle": base64.b64encode(bundle).decode()}}
        metadata = {"name": "countersign", "uid": "c", "resourceVersion": "1", "managedFields": [{"time": self.clock.now().isoformat()}]}
        self.api.objects[CONFIGURATION] = {"metadata": metadata, "webhooks": [entry, copy.deepcopy(entry)]}

    def bundle(self, lag: timedelta = timedelta()) -> bytes:
        """What an API server goes by that hears of everything `lag` later."""
        moment = self.clock.passed - lag
        return next((bundle for since, bundle in reversed(self.trusted) if since <= moment), b"")

    def fault(self, leaf: x509.Certificate | None, lag: timedelta = timedelta()) -> str:
        """Why a request to who serves `leaf` fails; "" where it does not."""
        authorities = x509.load_pem_x509_certificates(self.bundle(lag)) if self.bundle(lag) else []
        if leaf is None or not authorities:
            return "nobody serves" if leaf is None else "nobody is trusted"
        builder = verification.PolicyBuilder().store(verification.Store(authorities)).time(self.clock.now())
        try:
            builder.build_server_verifier(x509.DNSName(NAMES[0])).verify(leaf, [])
        except verification.VerificationError as error:
            return f"{self.clock.now()} {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}: {error}"
        return ""

    def part(self, name: str, path: str = SERVED) -> bytes:
        return base64.b64decode(self.api.objects[path]["data"][name])

    def api_part(self, name: str, path: str = AUTHORITY) -> bytes:
        """A part of a Secret that it need not have."""
        return base64.b64decode(self.api.objects[path]["data"].get(name, ""))

    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.part("tls.crt"))

    def put(self, name: str, parts: Mapping[str, bytes], **more: Any) -> None:
        """Write a Secret, as cert-manager or a person does."""
        data = {key: base64.b64encode(part).decode() for key, part in parts.items()}
        version = str(1 + int(self.api.objects.get(f"{SECRETS}/{name}", {}).get("metadata", {}).get("resourceVersion", "1000")))
        metadata = {"name": name, "uid": name, "resourceVersion": version}
        self.api.objects[f"{SECRETS}/{name}"] = {"type": "kubernetes.io/tls", "metadata": metadata, "data": data, **more}


def shaken(server: ssl.SSLContext) -> x509.Certificate:
    """The certificate that a real TLS handshake with a server's context brings, whoever trusts it."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=NAMES[0])
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    der = ours.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)
