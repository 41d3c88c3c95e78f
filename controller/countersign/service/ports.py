"""What the services ask of the outside world. Every port has a real adapter and a fake that pass one contract suite."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from countersign.domain.answer import Answer
from countersign.domain.document import JsonObject
from countersign.domain.errors import CountersignError
from countersign.domain.request import Request
from countersign.domain.resources import AgentIdentity, Approval, ChangeRequest, Losses, Namespace, ProtectedEnvironment, Reviewer, Target
from countersign.domain.snapshot import Snapshot


class ApiError(CountersignError):
    """The API server answered with an error, or not at all (`status` 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(ApiError):
    """404"""


class ConflictError(ApiError):
    """409: it exists already, or it has changed since it was read."""


class GoneError(ApiError):
    """410: the watch must start over with a list."""


class Clock(Protocol):
    def now(self) -> datetime:
        """UTC, aware."""

    def monotonic(self) -> float:
        """Seconds."""


class Api(Protocol):
    """The Kubernetes API in its own JSON. `path` begins with /api or /apis; `timeout` is seconds. Raises ApiError and its kin."""

    async def get(
        self, path: str, *, query: Mapping[str, str] | None = None, accept: str = "application/json", timeout: float = 10
    ) -> JsonObject: ...

    async def create(self, path: str, body: JsonObject, *, timeout: float = 10) -> JsonObject: ...

    async def replace(self, path: str, body: JsonObject, *, timeout: float = 10) -> JsonObject: ...

    async def patch(
        self, path: str, body: Any, *, content_type: str = "application/merge-patch+json", timeout: float = 10
    ) -> JsonObject: ...

    async def delete(self, path: str, *, uid: str = "", timeout: float = 10) -> None: ...

    def watch(self, path: str, *, resource_version: str, seconds: int) -> AsyncGenerator[JsonObject, None]:
        """Events ({"type", "object"}) with bookmarks, ended by the server after `seconds`. Raises GoneError when it must start over."""


class State(Protocol):
    def snapshot(self) -> Snapshot:
        """The watch-fed view. Raises UnableError while it is not synced, or stale past its bound."""


@dataclass(frozen=True, slots=True)
class Question:
    """What one live look must read, besides Reviewers, AgentIdentities and ProtectedEnvironments.

    `requests`: these change requests with their approvals; `all_requests`: every one (they say whether registration is closed).
    """

    requests: tuple[str, ...] = ()
    namespace: str = ""
    losses: Target | None = None
    all_requests: bool = False

    def answers(self, other: "Question") -> bool:
        """Whether a look that read this has read what the other asks for."""
        return (
            set(other.requests) <= set(self.requests)
            and (other.namespace, other.losses) == (self.namespace, self.losses)
            and (self.all_requests or not other.all_requests)
        )


@dataclass(frozen=True, slots=True)
class Look:
    """A view read consistently after the review arrived. `namespace` is None where it is gone."""

    snapshot: Snapshot
    namespace: Namespace | None
    losses: Losses


class LiveLook(Protocol):
    async def look(self, question: Question, *, timeout: float) -> Look:
        """Read it all from the API server, resourceVersion unset. Raises UnableError where any read fails."""

    async def losses(self, target: Target, *, timeout: float) -> Losses:
        """Count what cannot be rebuilt. Raises UnableError."""

    async def target(self, target: Target, *, timeout: float) -> JsonObject | None:
        """The live object, None where it is gone. Raises UnableError."""

    async def count_approvals(self, request: str, *, timeout: float) -> int:
        """How many Approvals there are for a change request. Raises UnableError."""


class Requests(Protocol):
    async def create(self, request: ChangeRequest, *, timeout: float) -> bool:
        """False where the name is taken. Raises UnableError, and another CountersignError where it can never be written."""

    async def get(self, name: str, *, timeout: float) -> ChangeRequest | None:
        """Raises UnableError."""


class DecisionLog(Protocol):
    def append(self, record: Mapping[str, object]) -> None:
        """Write one record, chained to the one before, and hand it to the system before returning. Raises OSError."""


class Metrics(Protocol):
    def decided(self, *, allowed: bool, reason: str, seconds: float) -> None: ...

    def unrecorded(self) -> None:
        """A decision could not be recorded, and was refused for it."""


class Witness(Protocol):
    def decided(self, request: Request, answer: Answer) -> None:
        """Hear of a decision that is recorded already. Quick, from memory, and it never raises."""


class Parsers(Protocol):
    """Our own kinds from the JSON of a review. Raises CountersignError that names the field and the remedy."""

    def setting(self, resource: str, document: JsonObject) -> AgentIdentity | Reviewer | ProtectedEnvironment: ...

    def approval(self, document: JsonObject) -> Approval: ...

    def without_room(self, identities: Iterable[AgentIdentity]) -> tuple[str, ...]:
        """The identities that the guards could not hold any more: the API server bounds an expression's length."""
