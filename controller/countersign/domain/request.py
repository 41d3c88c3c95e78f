"""One request to the API server, as admission sees it (admission.k8s.io/v1 AdmissionRequest)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from countersign.domain.document import JsonObject, text


class Operation(StrEnum):
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


@dataclass(frozen=True, slots=True)
class UserInfo:
    """Who asks, in the API server's words: the only source of identity (invariant 5)."""

    username: str
    uid: str = ""
    groups: frozenset[str] = frozenset()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupResource:
    group: str
    resource: str

    def __str__(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource


@dataclass(frozen=True, slots=True)
class Request:
    """`object` and `old_object` are parsed by `document.parse`; `name` may be empty (deletecollection, generateName)."""

    uid: str
    operation: Operation
    group: str
    version: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user: UserInfo
    object: JsonObject | None
    old_object: JsonObject | None
    dry_run: bool

    @property
    def kind(self) -> GroupResource:
        return GroupResource(self.group, self.resource)

    @property
    def target_name(self) -> str:
        """The object's own name: in a deletecollection `request.name` is empty (apiserver generic registry, DeleteCollection)."""
        subject = self.old_object if self.old_object is not None else self.object
        return self.name or text(subject, "metadata", "name")

    @property
    def target_uid(self) -> str:
        return text(self.old_object, "metadata", "uid")
