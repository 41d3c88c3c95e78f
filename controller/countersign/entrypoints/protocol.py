"""The HTTP server under the webhook: uvicorn, less its ways of waiting for ever.

uvicorn (0.54, pinned: `Connection` subclasses an internal class of it) never closes a connection that sends nothing, a slow header or a
slow body, holds any number of connections and headers of any size, and closes its listener at the first SIGTERM. Whoever reaches the port
could keep the API server from us; so each of these has a bound here, and tests/entrypoints/test_protocol.py shows it.
"""

import asyncio
import signal
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import FrameType
from typing import Any, ClassVar, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes.

    `keep_alive` is above the 90 s for which the API server keeps an idle connection: it never sends a POST again that found it closed.
    """

    receive: float = 10.0
    write: float = 10.0
    keep_alive: int = 120
    connections: int = 1000
    head: int = 64 * 1024
    message: int = 32 * 1024 * 1024
    finish: int = 5


@dataclass(slots=True)
class Drain:
    """Whether this process is on its way out: it still answers, and asks each client to come back on another connection."""

    started: bool = False


CLIENT_NAME: Final = "client_name"
"""In the state of a request's scope: the common name of the client's certificate, "" where it showed none."""


def common_name(certificate: Mapping[str, Any] | None) -> str:
    """Of a verified certificate, as `getpeercert` has it; "" where there is no certificate, or more than one such name in it."""
    subject = (certificate or {}).get("subject", ())
    names = [value for part in subject for kind, value in part if kind == "commonName"]
    return names[0] if len(names) == 1 else ""


class Connection(HttpToolsProtocol):
    """One connection. `receive` bounds the time from its start, or from the first byte of a request, to the last byte of that request."""

    limits: ClassVar[Limits]
    drain: ClassVar[Drain]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begun = False  # the first byte of a request is here, its last one is not
        self._head_open = False
        self._received = self._arriving = 0
        self._idle_since = 0.0
        self._client_name = ""
        self._deadline: asyncio.TimerHandle | None = None
        self._blocked: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        cycle = self._current()
        return not self._begun and (cycle is None or cycle.response_complete)

    def _current(self) -> RequestResponseCycle | None:
        return self.cycle  # uvicorn's annotation leaves out the None that it starts with

    # --- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it as well
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._client_name = common_name(transport.get_extra_info("peercert"))
        if len(self.connections) > self.limits.connections and not self._make_room():
            transport.abort()
            return
        self._deadline = self.loop.call_later(self.limits.receive, self._too_slow)

    def _make_room(self) -> bool:
        """Close the connection that has been idle for longest: whoever hoards connections loses them first."""
        idle = [c for c in self.connections if isinstance(c, Connection) and c is not self and c.idle and not c.transport.is_closing()]
        if not idle:
            return False
        min(idle, key=lambda c: c._idle_since).transport.abort()  # noqa: SLF001  (another of our own)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._blocked, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    # --- what comes in

    def data_received(self, data: bytes) -> None:
        self._arriving = len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._received += len(data)
        if self._head_open and self._received > self.limits.head:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The request's head is larger than {self.limits.head} bytes.")
        elif self._begun and self._received > self.limits.message:
            self.transport.abort()
        elif self.idle or self._begun:
            # Not extended by what trickles in later; `idle` with data means bytes that begin no request.
            if self._deadline is None:
                self._deadline = self.loop.call_later(self.limits.receive, self._too_slow)
        elif self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def on_message_begin(self) -> None:
        self._begun = self._head_open = True
        self._received = -self._arriving  # where in these bytes it begins is not known: what follows them counts
        super().on_message_begin()
        self.scope["state"][CLIENT_NAME] = self._client_name

    def on_headers_complete(self) -> None:
        self._head_open = False
        super().on_headers_complete()
        if self.drain.started:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._begun = False
        super().on_message_complete()

    def _too_slow(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        cycle = self._current()
        answered = cycle is not None and cycle.response_started and not self._head_open
        if self._begun and not answered:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"The request did not arrive whole within {self.limits.receive:g} seconds.")
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answer in place of the application, which sees the client gone."""
        body = sentence.encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    # --- what goes out

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._blocked is None:
            self._blocked = self.loop.call_later(self.limits.write, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._blocked is not None:
            self._blocked.cancel()
            self._blocked = None


class Server(uvicorn.Server):
    """At the first SIGTERM or SIGINT it drains for `drain_seconds`, then stops; at the second it stops at once."""

    def __init__(self, config: uvicorn.Config, *, drain: Drain, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._stop_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (the signature of a signal handler)
        # The signal is not kept to be raised again at the end, as uvicorn does: a drained process has ended well.
        if self._drain.started or not self.started or sig == signal.SIGINT:
            self._drain.started = self.should_exit = True
            return
        self._drain.started = True
        self._stop_at = time.monotonic() + self._drain_seconds

    async def on_tick(self, counter: int) -> bool:
        if time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)


_LIMITS: Final = Limits()


def server(
    app: ASGIApp, *, host: str, port: int, context: ssl.SSLContext | None, drain: Drain, drain_seconds: float, limits: Limits = _LIMITS
) -> Server:
    """A server of one application, to be run on a `handshakes.Loop`. `context` None is plain HTTP (a benchmark's floor, nothing else)."""
    connection = type("Connection", (Connection,), {"limits": limits, "drain": drain})
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=1024,
        timeout_keep_alive=limits.keep_alive,
        timeout_graceful_shutdown=limits.finish,
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )
    return Server(config, drain=drain, drain_seconds=drain_seconds)
