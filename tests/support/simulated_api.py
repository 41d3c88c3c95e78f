"""An API server over the world, on a real TLS connection, for the adapters that speak HTTP.

It knows what they use: get, list (whole or as metadata, by field), create, watch with bookmarks and 410, bearer tokens. It can be told to
answer anything to the next requests, to stop its watches' mouths, and to break them.
"""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.pems import Authority, Issued, ec_key
from tests.support.world import OURS, Json, Taken, World

_PATH = re.compile(
    r"/(?:api/v1|apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/[a-z]+(?:/|$)))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?"
)


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Canned:
    """What the next requests to paths that match are answered with."""

    pattern: str
    status: int
    body: bytes | Json
    times: int = 1
    content_type: str = "application/json"


@dataclass
class SimulatedApi:
    world: World
    url: str = ""
    token: str = "the-token"
    ca_file: Path = Path()
    token_file: Path = Path()
    asked: list[Asked] = field(default_factory=list)
    canned: list[Canned] = field(default_factory=list)
    delay: float = 0.0
    silent: bool = False
    forgets: int = 0
    """A version that is older than this is too old to be watched from."""
    _cut: asyncio.Event = field(default_factory=asyncio.Event)

    def cut_watches(self) -> None:
        """Drop every connection of a watch, in the middle of what it says."""
        self._cut.set()
        self._cut = asyncio.Event()

    def answer(self, pattern: str, status: int, body: bytes | Json, *, times: int = 1, content_type: str = "application/json") -> None:
        self.canned.append(Canned(pattern, status, body, times, content_type))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.asked.append(
            Asked(
                request.method,
                request.raw_path.partition("?")[0],
                dict(request.query),
                dict(request.headers),
                json.loads(raw) if raw else None,
            )
        )
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _failure(401, "Unauthorized", "Unauthorized")
        for each in self.canned:
            if each.times and re.search(each.pattern, request.path_qs):
                each.times -= 1
                body = each.body if isinstance(each.body, bytes) else json.dumps(each.body).encode()
                return web.Response(status=each.status, body=body, content_type=each.content_type)
        if self.delay:
            await asyncio.sleep(self.delay)
        match = _PATH.fullmatch(request.path)
        if match is None:
            return web.Response(status=404, text="404 page not found\n")
        namespace, plural, name = match["namespace"] or "", match["plural"], match["name"] or ""
        if request.query.get("watch") == "true":
            return await self._watch(request, plural)
        if request.method == "POST":
            return self._create(plural, json.loads(raw))
        if name:
            found = self.world.get(plural, name, namespace=namespace)
            return web.json_response(found) if found else _failure(404, "NotFound", f'{plural} "{name}" not found')
        return web.json_response(self._list(plural, namespace if request.path.count("/namespaces/") else None, request))

    def _list(self, plural: str, namespace: str | None, request: web.Request) -> Json:
        items = self.world.listed(plural, namespace=namespace)
        if selector := request.query.get("fieldSelector"):
            path, _, value = selector.partition("=")
            assert path == "spec.changeRequest"
            items = [item for item in items if item["spec"]["changeRequest"] == value]
        limit = int(request.query.get("limit", "0")) or len(items)
        begin = int(request.query.get("continue", "0"))
        more = {"continue": str(begin + limit)} if len(items) > begin + limit else {}
        items = items[begin : begin + limit]
        kind = f"{plural.capitalize()}List"
        if "as=PartialObjectMetadataList" in request.headers["Accept"]:
            kind = "PartialObjectMetadataList"
            items = [{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": item["metadata"]} for item in items]
        elif plural not in OURS:
            for item in items:  # the built-in kinds' items bear neither, as in a real list
                del item["kind"], item["apiVersion"]
        return {"kind": kind, "apiVersion": "any", "metadata": {"resourceVersion": str(self.world.latest), **more}, "items": items}

    def _create(self, plural: str, body: Json) -> web.Response:
        try:
            created = self.world.create(plural, body["metadata"]["name"], spec=body["spec"])
        except Taken:
            return _failure(409, "AlreadyExists", f'{plural} "{body["metadata"]["name"]}" already exists')
        return web.json_response(created, status=201)

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        since, at, cut = int(request.query["resourceVersion"]), 0, self._cut
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        ends = loop.time() + float(request.query["timeoutSeconds"])
        if since < self.forgets:
            await _say(response, "ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"})
            return response
        while loop.time() < ends:
            if cut.is_set():
                await response.write(b'{"type": "MODI')
                assert request.transport is not None
                request.transport.abort()
                return response
            while at < len(self.world.events) and not self.silent:
                kind, what, document = self.world.events[at]
                at += 1
                if what == plural and int(document["metadata"]["resourceVersion"]) > since:
                    await _say(response, kind, document)
            await asyncio.sleep(0.005)
        if not self.silent:
            await _say(response, "BOOKMARK", {"metadata": {"resourceVersion": str(self.world.latest)}})
        return response


async def _say(response: web.StreamResponse, kind: str, document: Json) -> None:
    await response.write(json.dumps({"type": kind, "object": document}).encode() + b"\n")


def _failure(code: int, reason: str, message: str) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code}
    return web.json_response(status, status=code)


@asynccontextmanager
async def simulated_api(world: World, folder: Path) -> AsyncIterator[SimulatedApi]:
    """On a free port of 127.0.0.1, until the end of the block."""
    api = SimulatedApi(world, ca_file=folder / "ca.crt", token_file=folder / "token")
    authority, issued = _certificates()
    api.ca_file.write_bytes(authority)
    api.token_file.write_text(api.token + "\n")
    (folder / "tls.crt").write_bytes(issued.chain)
    (folder / "tls.key").write_bytes(issued.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    application = web.Application(client_max_size=2**24)
    application.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port: int = runner.addresses[0][1]
    api.url = f"https://127.0.0.1:{port}"
    try:
        yield api
    finally:
        await runner.cleanup()


@cache
def _certificates() -> tuple[bytes, Issued]:
    """Made once a process."""
    authority = Authority()
    return authority.pem, authority.issue(ec_key())


async def until(holds: Callable[[], bool], *, seconds: float = 10) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # what is waited for is far from any event of ours
            await asyncio.sleep(0.01)
