"""`countersign webhook`: the API server posts AdmissionReviews to /validate, and gets answers.

/validate is served by `ReviewPath`, raw ASGI within the FastAPI application: the routes of a framework cost four times the rest. Everything
that is not a proven answer of the service is a refusal: a 4xx with a sentence where the review could not be read, else a refusal with its uid.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final, Protocol

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from countersign.domain.answer import Answer, Reason
from countersign.domain.request import Request
from countersign.entrypoints.access import PATH as ACCESS_PATH
from countersign.entrypoints.access import AccessMetrics, AccessPath, AccessService
from countersign.entrypoints.bodies import Bodies, ClientGoneError, Room, refuse, respond
from countersign.entrypoints.protocol import Drain
from countersign.wire.admission import KIND, MAX_REVIEW_BYTES, ReviewRefused, decode, encode

PATH: Final = "/validate"
LONGEST: Final = 8.0
"""Seconds that a decision may take: below the 10 s after which the API server gives up, so that a refusal can still say why."""

GRACE: Final = 0.25
"""Seconds past its deadline that a service gets to say so itself, and to record it, before it is answered for."""

_log: Final = logging.getLogger(__name__)


class ReviewService(Protocol):
    async def review(self, request: Request, *, deadline: float) -> Answer:
        """Decide, record, answer; by `deadline`, on the clock of `time.monotonic`. What it raises becomes a refusal without a record."""

    def ready(self) -> str:
        """Empty when decisions can be made, otherwise the sentence that says why not."""


class Metrics(Protocol):
    """What the entrypoint counts and shows; decisions are counted by the service."""

    def received(self) -> None:
        """Something was asked of /validate."""

    def unreadable(self, status: int) -> None:
        """It was answered with a 4xx."""

    def failed(self) -> None:
        """Deciding ended in an exception; the answer was a refusal."""

    def exposition(self) -> tuple[bytes, str]:
        """The metrics as text, and its content type."""


def application(
    service: ReviewService,
    metrics: Metrics,
    *,
    drain: Drain,
    ready: Sequence[Callable[[], str]] = (),
    access: tuple[AccessService, AccessMetrics] | None = None,
    callers: frozenset[str] = frozenset(),
) -> FastAPI:
    """The webhook's application. `ready`: what must hold besides the service (the certificate), each as `ReviewService.ready`.

    `access`: what answers /authorize, where the API server may ask it. `callers`: who may ask either (see `Bodies`).
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, telemetry={"tracing": False, "metrics": False, "logs": False})
    room = Room()
    if access is not None:
        app.add_middleware(AccessPath, service=access[0], metrics=access[1], room=room, callers=callers)
    app.add_middleware(
        ReviewPath, service=service, metrics=metrics, room=room, callers=callers
    )  # the last one added is the first one asked
    paths = f"{PATH}, {ACCESS_PATH}" if access is not None else PATH

    @app.get("/livez")
    async def livez() -> Response:
        return PlainTextResponse("ok")

    @app.get("/readyz")
    async def readyz() -> Response:
        shutting_down = "shutting down" if drain.started else ""
        reasons = [reason for reason in (shutting_down, service.ready(), *(check() for check in ready)) if reason]
        if reasons:
            return PlainTextResponse("\n".join(reasons), status_code=HTTPStatus.SERVICE_UNAVAILABLE)
        return PlainTextResponse("ok")

    @app.get("/metrics")
    async def exposition() -> Response:
        body, content_type = metrics.exposition()
        return Response(body, headers={"content-type": content_type})

    @app.exception_handler(HTTPStatus.NOT_FOUND)
    async def nothing_here(_request: object, _error: Exception) -> Response:
        return PlainTextResponse(
            f"There are {paths}, /livez, /readyz and /metrics here, and nothing else.", status_code=HTTPStatus.NOT_FOUND
        )

    return app


class ReviewPath:
    """POST /validate; whatever else goes on to the application."""

    def __init__(
        self, app: ASGIApp, *, service: ReviewService, metrics: Metrics, room: Room, callers: frozenset[str] = frozenset()
    ) -> None:
        self._app = app
        self._service = service
        self._metrics = metrics
        self._bodies = Bodies(KIND, MAX_REVIEW_BYTES, room, callers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        arrived = time.monotonic()
        self._metrics.received()
        try:
            self._bodies.check_head(scope)
            request = decode(await self._bodies.read(receive))
        except ReviewRefused as refusal:
            await refuse(send, refusal, self._metrics.unreadable)
        except ClientGoneError:  # nobody is left to answer, and nothing was judged
            return
        else:
            await self._answer(request, arrived + allowance(scope["query_string"]), send)

    async def _answer(self, request: Request, deadline: float, send: Send) -> None:
        """Send the service's answer, or a refusal in its place, but always an answer to this uid."""
        cancelled = None
        try:
            async with asyncio.timeout(deadline - time.monotonic() + GRACE):
                answer = await self._service.review(request, deadline=deadline)
            body = encode(request.uid, answer)
        except TimeoutError:
            self._metrics.failed()
            _log.error("review %s: no decision before its deadline", request.uid)
            answer, body = _TOO_LATE, encode(request.uid, _TOO_LATE)
        except asyncio.CancelledError as error:
            cancelled = error
            answer, body = _STOPPED, encode(request.uid, _STOPPED)
        except Exception:  # noqa: BLE001  (whatever went wrong, it is not an allow)
            self._metrics.failed()
            _log.exception("review %s: refused, because deciding on it failed", request.uid)
            answer, body = _FAILED, encode(request.uid, _FAILED)
        # The API server keeps its connections and goes on asking whom it asked before: who cannot decide sends it elsewhere.
        await respond(send, HTTPStatus.OK, b"application/json", body, last=answer.reason is Reason.UNABLE)
        if cancelled is not None:
            raise cancelled


def allowance(query: bytes) -> float:
    """Seconds for a decision, by the API server's `?timeout=` (a Go duration): a second less than it waits, or half where that is little."""
    match = _TIMEOUT.search(query)
    if match is None:
        return LONGEST
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(match[1]))
    return min(LONGEST, max(seconds - 1, seconds / 2))


_TIMEOUT: Final = re.compile(rb"(?:^|&)timeout=((?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:h|ms|m|s))+)(?:&|$)")
_PART: Final = re.compile(rb"([0-9.]+)(h|ms|m|s)")
_UNITS: Final = {b"h": 3600.0, b"m": 60.0, b"s": 1.0, b"ms": 0.001}


def _unable(code: HTTPStatus, why: str) -> Answer:
    message = f"COUNTERSIGN COULD NOT DECIDE, nothing was changed: {why} This is a fault of Countersign, not a verdict on the request."
    causes, audit = (("outcome", Reason.UNABLE.value),), {"decision": "refuse", "reason": Reason.UNABLE.value}
    return Answer(allowed=False, reason=Reason.UNABLE, message=message, code=code, causes=causes, audit=audit)


_FAILED: Final = _unable(HTTPStatus.INTERNAL_SERVER_ERROR, "deciding ended in an error, which the webhook's log tells of.")
_TOO_LATE: Final = _unable(HTTPStatus.GATEWAY_TIMEOUT, "there was no decision in time. Send the same request again later.")
_STOPPED: Final = _unable(HTTPStatus.SERVICE_UNAVAILABLE, "this replica is shutting down. Send the same request again.")
