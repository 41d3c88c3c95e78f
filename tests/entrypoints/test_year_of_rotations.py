"""A year, simulated: the real operator's logic and the real webhook over TLS; only the time and the API are simulated.

Three replicas see the Secret when they see it: one every ten seconds, one every hour, one every twenty days (so long a replica that is cut
off from the API server still serves what it has). At each step each is asked for a review over a connection of its own, as an API server
that heard of everything would, and one that lags. The authority lives 150 days instead of five years, so that it changes twice as well.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography import x509

from countersign.adapters.metrics import PrometheusMetrics
from countersign.entrypoints.protocol import Drain, Server, server
from countersign.entrypoints.webhook import application
from countersign.service.trust import PROPAGATION
from tests.support.rotation import NAMES, Replica, World
from tests.support.webhook import request, review
from tests.support.webhook_process import ScriptedService

ROUND = timedelta(seconds=5)
QUIET = timedelta(days=1)
LAG = PROPAGATION - ROUND
EVERY = (timedelta(seconds=10), timedelta(hours=1), timedelta(days=20))


@dataclass
class Counts:
    requests: int = 0
    leaves: int = 0
    authorities: int = 0


@asynccontextmanager
async def serving(replica: Replica) -> AsyncIterator[int]:
    """The webhook's own server around its own application; yields the port."""
    drain = Drain()
    app = application(ScriptedService(), PrometheusMetrics(version="test"), drain=drain, ready=[replica.certificate.ready])
    web: Server = server(app, host="127.0.0.1", port=0, context=replica.certificate.context, drain=drain, drain_seconds=0)
    task = asyncio.create_task(web.serve())
    while not web.started:  # noqa: ASYNC110  (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    try:
        yield web.servers[0].sockets[0].getsockname()[1]
    finally:
        web.should_exit = True
        await task


async def asked(port: int, session: ssl.SSLContext) -> tuple[x509.Certificate, str]:
    """The certificate that the connection showed, and what the webhook said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=session, server_hostname=NAMES[0])
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True)
        assert der is not None
        writer.write(request(review(), b"connection: close\r\n"))
        answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    return x509.load_der_x509_certificate(der), body["response"]["status"]["message"]


async def simulated(world: World, days: int) -> tuple[list[str], Counts]:
    """What failed, and how much there was to fail."""
    operator, failures, counts = world.operator(), list[str](), Counts()
    leaves, authorities = set[bytes](), set[bytes]()
    await operator.round()
    replicas = [world.replica(every=every) for every in EVERY]
    for replica in replicas:
        await replica.look()
    world.clock.forward(timedelta(minutes=1))  # installed, and everybody has heard of it
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE  # verified by World.fault, at the simulated time
    async with serving(replicas[0]) as one, serving(replicas[1]) as two, serving(replicas[2]) as three:
        busy = 0
        while world.clock.passed < timedelta(days=days):
            before = (world.bundle(), world.part("tls.crt"))
            await operator.round()
            for replica in replicas:
                await replica.look()
            for port in (one, two, three):
                leaf, said = await asked(port, client)
                assert said == "held: payments"
                failures += [fault for lag in (timedelta(), LAG) if (fault := world.fault(leaf, lag))]
                counts.requests += 1
            leaves.add(world.part("tls.crt"))
            authorities.add(world.leaf().issuer.public_bytes())
            # After whatever changed, step by step until all have heard of it; else by days.
            is_waiting = operator.condition().reason != "Served"
            busy = 8 if is_waiting or (world.bundle(), world.part("tls.crt")) != before else busy - 1
            world.clock.forward(ROUND if busy > 0 else QUIET)
    counts.leaves, counts.authorities = len(leaves), len(authorities)
    return failures, counts


@pytest.mark.timeout(240)
async def test_a_year_of_rotations_fails_no_request() -> None:
    failures, counts = await simulated(World(life=timedelta(days=150)), 365)
    assert failures == [], counts
    assert counts.leaves >= 6
    assert counts.authorities >= 3
    assert counts.requests > 1200


async def test_it_would_be_seen_if_a_request_failed() -> None:
    """The same with an authority that signs before it was announced, and an operator that waits for nobody: 35 days are enough."""
    world = World(life=timedelta(days=45), notice=timedelta(), propagation=timedelta())
    failures, _ = await simulated(world, 35)
    assert failures
