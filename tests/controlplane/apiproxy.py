"""An HTTPS proxy before the API server whose answers can be withheld: a broken watch, a frozen cache, a dead connection.

It ends TLS itself (its certificate is of the cluster's CA), since only so can it tell a watch from a read. It asks the API
server to close each connection after its answer, so that no later request shares a frozen one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from tests.controlplane.pki import Pair

HEAD_LIMIT = 1 << 16
CHUNK = 1 << 16
PATIENCE = 10.0


@dataclass(eq=False, slots=True)
class _Exchange:
    """One request on its way; what comes back passes only while `gate` is open."""

    is_watch: bool
    gate: asyncio.Event
    writers: list[asyncio.StreamWriter] = field(default_factory=list)


def is_watch(head: bytes) -> bool:
    """Whether a request's head asks to watch."""
    target = head.split(b"\r\n", 1)[0].split(b" ")[1] if head.count(b" ") > 1 else b""
    query = target.partition(b"?")[2].split(b"&")
    return any(part in (b"watch=true", b"watch=1", b"watch=True") for part in query)


def closing(head: bytes, host: str) -> bytes:
    """The head with this host, asking to close the connection after the answer."""
    first, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    kept = [line for line in fields if line.partition(b":")[0].strip().lower() not in (b"connection", b"host", b"keep-alive")]
    return b"\r\n".join([first, b"Host: " + host.encode(), b"Connection: close", *kept, b"", b""])


class ApiProxy:
    """Runs in a thread of its own; use it as a context manager. Its methods may be called from any thread."""

    def __init__(self, upstream: str, authority: bytes, pair: Pair) -> None:
        parts = urlsplit(upstream)
        self._host, self._port = str(parts.hostname), int(parts.port or 443)
        self._to_upstream = ssl.create_default_context(cadata=authority.decode())
        self._server_tls = _server_context(pair)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._exchanges: set[_Exchange] = set()
        self._watches_frozen = False
        self._all_frozen = False
        self._server: asyncio.Server | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def freeze_watches(self) -> None:
        """From now on no watch, open or new, says anything; every other request goes on."""
        self._set(watches=True, everything=self._all_frozen)

    def freeze(self) -> None:
        """From now on nothing is answered, and nothing is closed."""
        self._set(watches=self._watches_frozen, everything=True)

    def thaw(self) -> None:
        """Everything flows again, what was withheld first."""
        self._set(watches=False, everything=False)

    def cut(self) -> None:
        """Drops every connection that is open now; new ones are served."""
        self._call(self._cut())

    # --- in the thread ------------------------------------------------------------------------

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def _set(self, *, watches: bool, everything: bool) -> None:
        async def apply() -> None:
            self._watches_frozen, self._all_frozen = watches, everything
            for exchange in self._exchanges:
                self._regulate(exchange)

        self._call(apply())

    def _regulate(self, exchange: _Exchange) -> None:
        if self._all_frozen or (self._watches_frozen and exchange.is_watch):
            exchange.gate.clear()
        else:
            exchange.gate.set()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._server_tls, limit=HEAD_LIMIT)
        self.url = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _cut(self) -> None:
        for exchange in list(self._exchanges):
            exchange.gate.set()
            for writer in exchange.writers:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange: _Exchange | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            exchange = _Exchange(is_watch(head), asyncio.Event(), [writer])
            self._exchanges.add(exchange)
            self._regulate(exchange)
            await self._forward(head, reader, exchange)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # The client or the API server has gone; the other side sees it by the closing below.
            return
        finally:
            if exchange is not None:
                self._exchanges.discard(exchange)
                for each in exchange.writers[1:]:
                    each.close()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _forward(self, head: bytes, client: asyncio.StreamReader, exchange: _Exchange) -> None:
        answers, upstream = await asyncio.open_connection(self._host, self._port, ssl=self._to_upstream)
        exchange.writers.append(upstream)
        upstream.write(closing(head, f"{self._host}:{self._port}"))
        sending = asyncio.create_task(_pump(client, upstream))
        try:
            while data := await answers.read(CHUNK):
                await exchange.gate.wait()
                exchange.writers[0].write(data)
                await exchange.writers[0].drain()
            await exchange.gate.wait()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """The request's body, and the client's hanging up."""
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()
    sink.transport.abort()


def _server_context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pair.certificate + pair.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context
