"""POST /authorize: the API server posts SubjectAccessReviews, and gets denials or no opinion (docs/authorizer.md).

Raw ASGI, as /validate is. Whatever is not an opinion of the service is an HTTP error: the API server then denies (`failurePolicy: Deny`).
Never a 500, which it would send five times over four seconds (apiserver pkg/util/webhook, DefaultShouldRetry).
"""

import logging
from http import HTTPStatus
from typing import Final, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from countersign.domain.authorize import Access, Opinion
from countersign.domain.errors import UnableError
from countersign.domain.request import UserInfo
from countersign.entrypoints.bodies import Bodies, ClientGoneError, Room, refuse, respond
from countersign.wire.access import KIND, MAX_ACCESS_BYTES, decode, encode
from countersign.wire.admission import ReviewRefused

PATH: Final = "/authorize"

_log: Final = logging.getLogger(__name__)


class AccessService(Protocol):
    def authorize(self, user: UserInfo, access: Access) -> Opinion:
        """Decide and record, without waiting. Raises UnableError."""


class AccessMetrics(Protocol):
    """What the entrypoint counts; opinions are counted by the service."""

    def received(self) -> None:
        """Something was asked of /authorize."""

    def unreadable(self, status: int) -> None:
        """It was answered with a 4xx."""

    def failed(self, cause: str) -> None:
        """There was no opinion: `unable` while the state is not known, `error` for an exception."""


class AccessPath:
    """Whatever is not asked of /authorize goes on to the application."""

    def __init__(
        self, app: ASGIApp, *, service: AccessService, metrics: AccessMetrics, room: Room, callers: frozenset[str] = frozenset()
    ) -> None:
        self._app = app
        self._service = service
        self._metrics = metrics
        self._bodies = Bodies(KIND, MAX_ACCESS_BYTES, room, callers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        self._metrics.received()
        try:
            self._bodies.check_head(scope)
            user, access = decode(await self._bodies.read(receive))
        except ReviewRefused as refusal:
            await refuse(send, refusal, self._metrics.unreadable)
        except ClientGoneError:  # nobody is left to answer, and nothing was judged
            return
        else:
            status, content_type, body = self._answer(user, access)
            await respond(send, status, content_type, body, last=status != HTTPStatus.OK)

    def _answer(self, user: UserInfo, access: Access) -> tuple[HTTPStatus, bytes, bytes]:
        try:
            return HTTPStatus.OK, b"application/json", encode(self._service.authorize(user, access))
        except UnableError as error:
            self._metrics.failed("unable")
            why = str(error)
        except Exception:  # noqa: BLE001  # whatever went wrong, it is not "no opinion"
            self._metrics.failed("error")
            _log.exception("an access of %s could not be judged", ascii(user.username))
            why = "an error of its own, which the webhook's log tells of."
        return HTTPStatus.SERVICE_UNAVAILABLE, b"text/plain; charset=utf-8", f"Countersign has no opinion: {why}".encode()
