"""Two sites for each suite: the ports in memory, and the real adapters against a simulated API server (tests/e2e has the real one)."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from countersign.adapters.api import KubernetesApi
from tests.support.contracts import AdaptersSite, MemorySite, PortsSite
from tests.support.simulated_api import SimulatedApi, simulated_api
from tests.support.world import World


@pytest.fixture(autouse=True)
def nothing_blocks() -> Iterator[None]:
    """A call of ours that blocks the event loop is an error: nothing else could be answered meanwhile."""
    with blockbuster_ctx("countersign"):
        yield


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def server(world: World, tmp_path: Path) -> AsyncIterator[SimulatedApi]:
    async with simulated_api(world, tmp_path) as api:
        yield api


@pytest.fixture
async def api(server: SimulatedApi) -> AsyncIterator[KubernetesApi]:
    async with client_of(server) as client:
        yield client


@pytest.fixture(params=["memory", "simulated"])
async def site(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> AsyncIterator[PortsSite]:
    if request.param == "memory":
        yield MemorySite(world)
        return
    async with (
        simulated_api(world, tmp_path) as server,
        client_of(server) as client,
        AdaptersSite(client, world=world).running() as running,
    ):
        yield running


@asynccontextmanager
async def client_of(server: SimulatedApi) -> AsyncIterator[KubernetesApi]:
    client = KubernetesApi(server=server.url, ca_file=server.ca_file, token_file=server.token_file, user_agent="tests")
    try:
        yield client
    finally:
        await client.close()
