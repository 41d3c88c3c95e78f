"""TLS handshakes, bounded in number and in time.

A loop's own TLS server begins a handshake, with some 50 KB of its own, for whoever connects: nine thousand silent connections took 480 MB.
Here, past the bound, the one that has been at it for longest goes: an API server is through in milliseconds, and whoever stalls is the oldest
before long.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import uvloop

HANDSHAKES: Final = 250
"""At once."""

BATCH: Final = 32
"""Accepted in one go, so that a flood of them leaves time for those that are in."""

_SECONDS: Final = 10.0
_PAUSE: Final = 0.2  # seconds, where the system has no more file descriptors

_log: Final = logging.getLogger(__name__)


class Loop(uvloop.Loop):
    """uvloop, whose TLS servers are a `Listener`."""

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, *args: Any, **kwargs: Any) -> Any:
        context: ssl.SSLContext | None = kwargs.pop("ssl", None)
        if context is None:
            return await super().create_server(protocol_factory, host, port, *args, **kwargs)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=kwargs.get("backlog", 1024))
        return Listener(self, listening, context, protocol_factory)


class Listener:
    """What uvicorn asks of a server of the loop: `sockets`, `close`, `wait_closed`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listening: socket.socket, context: ssl.SSLContext, factory: Callable[[], asyncio.Protocol]
    ) -> None:
        self._loop = loop
        self._listening = listening
        self._context = context
        self._factory = factory
        self._shaking: dict[socket.socket, asyncio.Task[None]] = {}  # in the order of their coming
        self._open = True
        listening.setblocking(False)
        self._listen()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return (self._listening,) if self._open else ()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._listening)
            self._listening.close()

    async def wait_closed(self) -> None:
        """Those that are in are uvicorn's to wait for."""

    def _listen(self) -> None:
        if self._open:
            self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                connection, _address = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.warning("no connection can be accepted for a moment: %s", error)
                self._loop.remove_reader(self._listening)
                self._loop.call_later(_PAUSE, self._listen)
                return
            connection.setblocking(False)
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        if len(self._shaking) >= HANDSHAKES:
            oldest = next(iter(self._shaking))
            del self._shaking[oldest]
            _shut(oldest)
        self._shaking[connection] = self._loop.create_task(self._shake_hands(connection))

    async def _shake_hands(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._factory, connection, ssl=self._context, ssl_handshake_timeout=_SECONDS, ssl_shutdown_timeout=1.0
            )
        except (OSError, EOFError):  # ssl.SSLError is one: whoever cannot greet is nobody we know
            _shut(connection)
        finally:
            self._shaking.pop(connection, None)


def _shut(connection: socket.socket) -> None:
    """At once; what else holds the connection hears of it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has gone by itself
