"""What the API server would let others do, asked of itself: RBAC, and whatever other authorizers there are."""

from typing import Protocol

from countersign.domain.document import JsonObject
from countersign.domain.rbac import Request
from countersign.domain.request import UserInfo
from countersign.wire.accessreview import PATH, parse_answer, render_review


class Creator(Protocol):
    async def create(self, path: str, body: JsonObject) -> JsonObject:
        """Raises ApiError."""


class ApiAccess:
    """The `Access` port."""

    def __init__(self, api: Creator) -> None:
        self._api = api

    async def allowed(self, user: UserInfo, request: Request) -> bool:
        """Raises ApiError."""
        return parse_answer(await self._api.create(PATH, render_review(user, request)))
