"""What both paths of the webhook's server have in common: a POST of JSON, taken in within bounds, and an answer."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.types import Receive, Scope, Send

from countersign.entrypoints.protocol import CLIENT_NAME
from countersign.wire.admission import ReviewRefused

MAX_BODIES_BYTES: Final = 64 * 1024 * 1024
"""Bodies in the making, all together: whoever reaches the port could else fill our memory with large ones."""


class ClientGoneError(Exception):
    """Nobody waits for an answer any more."""


@dataclass(slots=True)
class Room:
    """Bytes of bodies that are still arriving."""

    taken: int = 0


class Bodies:
    """Takes in bodies of one kind (`AdmissionReview`), each `most` bytes at the most, within a room that several kinds may share.

    `callers`: the common names of the certificates that a client must show one of; empty: anybody may ask.
    """

    __slots__ = ("_callers", "_kind", "_most", "_room")

    def __init__(self, kind: str, most: int, room: Room, callers: frozenset[str] = frozenset()) -> None:
        self._callers = callers
        self._kind = kind
        self._most = most
        self._room = room

    def check_head(self, scope: Scope) -> None:
        """Raises ReviewRefused for what cannot carry a review, before any of its body is read."""
        if self._callers and scope["state"][CLIENT_NAME] not in self._callers:
            raise ReviewRefused(
                self._stranger(scope["state"][CLIENT_NAME]), HTTPStatus.FORBIDDEN
            )  # not 401, of which the API server passes no text on
        if scope["method"] != "POST":
            raise ReviewRefused(f"Only POST is answered here, not {scope['method'][:16]!a}.", HTTPStatus.METHOD_NOT_ALLOWED)
        content_type = b""
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value
            elif name == b"content-encoding" and value.lower() != b"identity":
                raise ReviewRefused(f"{self._kind}s come as they are, without a content encoding.", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
            elif name == b"content-length" and int(value) > self._most:
                raise self._too_large()
        if content_type != b"application/json" and content_type.partition(b";")[0].strip().lower() != b"application/json":
            got = content_type[:64].decode("latin-1")
            message = f"{self._kind}s come with the content type application/json, not {got!a}."
            raise ReviewRefused(message, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)

    def _stranger(self, name: str) -> str:
        shown = f"the certificate of {name[:64]!a}" if name else "no client certificate"
        return (
            f"{self._kind}s are taken from the API server alone, and this connection shows {shown}: "
            "its AdmissionConfiguration names a kubeconfig with the certificate to show (docs/webhook-hardening.md)."
        )

    async def read(self, receive: Receive) -> bytes:
        """Raises ReviewRefused for what is too large, ClientGoneError."""
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            return self._bounded(body)
        return await self._long(message.get("body", b""), message["type"], receive)

    async def _long(self, first: bytes, kind: str, receive: Receive) -> bytes:
        chunks, size, room, more = [first], len(first), self._room, True
        room.taken += size
        try:
            while more:
                if kind == "http.disconnect":
                    raise ClientGoneError
                if size > self._most:
                    raise self._too_large()
                if room.taken > MAX_BODIES_BYTES:
                    raise ReviewRefused("Too many large reviews at once: send this one again.", HTTPStatus.TOO_MANY_REQUESTS)
                message = await receive()
                kind, more = message["type"], message.get("more_body", False) or message["type"] == "http.disconnect"
                chunk: bytes = message.get("body", b"")
                chunks.append(chunk)
                size += len(chunk)
                room.taken += len(chunk)
        finally:
            room.taken -= size
        return self._bounded(b"".join(chunks))

    def _bounded(self, body: bytes) -> bytes:
        if len(body) > self._most:
            raise self._too_large()
        return body

    def _too_large(self) -> ReviewRefused:
        message = f"This {self._kind} is larger than {self._most} bytes, which is more than a Kubernetes API server sends."
        return ReviewRefused(message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


async def respond(send: Send, status: int, content_type: bytes, body: bytes, *, last: bool = False) -> None:
    """One whole answer. After the `last` one the connection is closed, and the client's next request may reach another replica."""
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    if last:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, refusal: ReviewRefused, counted: Callable[[int], None]) -> None:
    """Answer what could not be read with its sentence."""
    counted(refusal.status)
    await respond(send, refusal.status, b"text/plain; charset=utf-8", str(refusal).encode("utf-8", "backslashreplace"))
