"""The contract of the ports, kept by the real adapters on the real API server, with the webhook's own credentials."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from countersign.adapters.api import KubernetesApi
from tests.controlplane import kubeconfig
from tests.controlplane.api import Answer, path
from tests.controlplane.people import token
from tests.e2e.people import People
from tests.e2e.story import Story, manifest
from tests.support.contracts import AdaptersSite, Changing, Ports
from tests.support.world import NAMES, OURS, World


class ClusterSite(AdaptersSite):
    """What there is changes by the admin's hand; approvals are signed by people of the story."""

    def __init__(self, api: KubernetesApi, story: Story) -> None:
        super().__init__(api, world=World(), name=story.cluster.name)
        self._story = story
        self._admin = story.cluster.api

    async def make(self, plural: str, name: str, *, namespace: str = "", **parts: Any) -> None:
        metadata: dict[str, Any] = {"name": name, **{mark: parts.pop(mark) for mark in ("labels", "annotations") if mark in parts}}
        body: dict[str, Any] = manifest(NAMES[plural], name, parts["spec"]) if plural in OURS else {"metadata": metadata, **parts}
        await asyncio.to_thread(self._admin.create, path(plural, namespace=namespace or None), body)

    async def change(self, plural: str, name: str, change: Changing, *, namespace: str = "") -> None:
        url = path(plural, name, namespace=namespace or None)
        answer = await asyncio.to_thread(self._change, url, change)
        while answer.status == httpx.codes.CONFLICT:  # the operator writes status and labels meanwhile
            answer = await asyncio.to_thread(self._change, url, change)
        assert answer.ok, answer.body

    def _change(self, url: str, change: Changing) -> Answer:
        document = self._admin.get(url)
        change(document)
        return self._admin.request("PUT", url, document)

    async def remove(self, plural: str, name: str, *, namespace: str = "") -> None:
        await asyncio.to_thread(self._admin.delete, path(plural, name, namespace=namespace or None))

    async def sign(self, request: str) -> None:
        bob, _ = self._story.harness_reviewers()
        await asyncio.to_thread(self._story.signed, request, bob)


@pytest.fixture
async def site(story: Story, people: People, tmp_path: Path) -> AsyncIterator[ClusterSite]:
    server = kubeconfig.load(story.cluster.paths.user("admin")).server
    (tmp_path / "ca.crt").write_bytes(server.authority)
    (tmp_path / "token").write_text(token(story.cluster.api, "countersign", "countersign-webhook"))
    api = KubernetesApi(server=server.url, ca_file=tmp_path / "ca.crt", token_file=tmp_path / "token", user_agent="contract")
    try:
        async with ClusterSite(api, story).running() as running:
            yield running
    finally:
        await api.close()
        await asyncio.sleep(0.25)  # TLS connections end in their own time (aiohttp, Graceful shutdown)


class TestPorts(Ports):
    """Against the cluster of the session."""
