"""What all five kinds share: the types of their fields, metadata, conditions, and how an object is read.

The models are the source of the CRDs (wire/crds.py), so each constraint stands here once: the API server and we check the same.
Every string and list is bounded, which the API server needs to bound the cost of CEL rules, and reviewers need to read on one screen.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel

from countersign.domain import durations
from countersign.domain.document import JsonObject
from countersign.domain.names import API_VERSION, GROUP
from countersign.domain.resources import Meta
from countersign.wire import times
from countersign.wire.errors import WireError

DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
API_GROUP: Final = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$"

SET: Final = {"x-kubernetes-list-type": "set"}
ATOMIC: Final = {"x-kubernetes-list-type": "atomic"}


def list_map(*keys: str) -> dict[str, Any]:
    """A list whose entries are told apart by these keys, so that several writers can each apply their own."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def rule(expression: str, message: str, path: str = "") -> dict[str, str]:
    """One CEL rule that the API server checks; `path` is the field that the message is shown with."""
    return {"rule": expression, "message": message} | ({"fieldPath": path} if path else {})


IMMUTABLE: Final = {
    "x-kubernetes-validations": [rule("self == oldSelf", "a signature stands on this: it cannot be changed, create another one")]
}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 - pydantic reports ValueError
    return value


def _duration(value: object) -> timedelta:
    duration = durations.parse_duration(_text(value))
    if not duration:
        raise ValueError("must be longer than zero")
    return duration


def _time(value: object) -> datetime:
    return times.parse_time(_text(value))


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 24,
            "pattern": durations.PATTERN,
            "x-kubernetes-validations": [rule("self.matches('[1-9]')", "must be longer than zero")],
        }
    ),
]
Time = Annotated[
    datetime,
    BeforeValidator(_time),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": times.LENGTH, "pattern": times.PATTERN}),
]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
NamespaceName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
Username = Annotated[str, Field(min_length=1, max_length=1024)]
Team = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$")]
Count = Annotated[StrictInt, Field(ge=0, le=2_147_483_647)]


class Closed(BaseModel):
    """A part of a resource of ours: nothing in it that we do not know, nothing of it can be changed after parsing."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class Condition(Closed):
    """One aspect of the object's state (metav1.Condition)."""

    type: Annotated[str, Field(min_length=1, max_length=316, description="CamelCase name of the condition.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it holds.")]
    observed_generation: Annotated[StrictInt | None, Field(ge=0, description="The generation of the object that this was seen on.")] = None
    last_transition_time: Annotated[Time, Field(description="When the status last changed.")]
    reason: Annotated[str, Field(min_length=1, max_length=1024, description="One CamelCase word for machines.")]
    message: Annotated[str, Field(max_length=4096, description="One sentence for people.")]


class Status(Closed):
    """What the operator has seen. Nobody decides by it."""

    conditions: Annotated[
        tuple[Condition, ...], Field(max_length=32, description="Conditions by type.", json_schema_extra=list_map("type"))
    ] = ()
    observed_generation: Annotated[StrictInt | None, Field(ge=0, description="The generation that this status is about.")] = None


class _Metadata(BaseModel):
    """Of a foreign shape: what we do not need is left aside."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    name: Annotated[str, Field(min_length=1)]
    uid: str = ""
    resource_version: str = ""
    generation: StrictInt = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column; `wide` ones show with `-o wide` only."""

    name: str
    path: str
    description: str
    type: Literal["string", "integer", "boolean", "date"] = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A custom resource: what its CRD needs besides the schema of spec and status."""

    kind: str
    plural: str
    short: str
    description: str
    spec: type[Closed]
    status: type[Status]
    columns: tuple[Column, ...]
    rules: tuple[dict[str, str], ...] = ()
    selectable: tuple[str, ...] = ()
    spec_extra: dict[str, Any] = field(default_factory=dict)

    @property
    def resource(self) -> str:
        return f"{self.plural}.{GROUP}"


SpecT = TypeVar("SpecT", bound=Closed)
ModelT = TypeVar("ModelT", bound=BaseModel)


def read(kind: Kind, model: type[SpecT], obj: JsonObject) -> tuple[Meta, SpecT]:
    """Metadata and spec of an object of ours; status is never read.

    Raises WireError.
    """
    _check_type(obj, kind.kind, API_VERSION, kind.resource)
    meta = read_meta(obj, kind.resource)
    return meta, _validate(model, obj.get("spec"), where=f"{kind.resource}/{meta.name}", field="spec", explain=kind.plural)


def read_meta(obj: JsonObject, resource: str) -> Meta:
    """The metadata of any object; `resource` is for the message.

    Raises WireError.
    """
    metadata = _validate(_Metadata, obj.get("metadata"), where=resource, field="metadata", explain="")
    return Meta(
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        generation=metadata.generation,
        created=metadata.creation_timestamp,
        deleting=metadata.deletion_timestamp is not None,
    )


def _check_type(obj: JsonObject, kind: str, api_version: str, resource: str) -> None:
    found = (obj.get("apiVersion", api_version), obj.get("kind", kind))
    if found != (api_version, kind):
        raise WireError(f"{resource}: this is {found[1]} of {found[0]}; write kind {kind} of {api_version}")


def _validate(model: type[ModelT], value: object, *, where: str, field: str, explain: str) -> ModelT:
    if value is None:
        raise WireError(f"{where}: {field} is missing; add it")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        path = field + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
        remedy = f"correct it (kubectl explain {explain}.{field})" if explain else "correct it"
        raise WireError(f"{where}: {path}: {_sentence(first['type'], first['msg'])}; {remedy}") from error


def _sentence(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such field"
    if kind == "missing":
        return "is missing"
    sentence = message.removeprefix("Value error, ")
    return sentence[:1].lower() + sentence[1:] if sentence.startswith("Input ") else sentence


__all__ = [
    "API_GROUP",
    "ATOMIC",
    "DNS_LABEL",
    "DNS_SUBDOMAIN",
    "IMMUTABLE",
    "SET",
    "Closed",
    "Column",
    "Condition",
    "Count",
    "Duration",
    "Kind",
    "NamespaceName",
    "ObjectName",
    "Status",
    "StrictBool",
    "StrictInt",
    "Team",
    "Time",
    "Username",
    "list_map",
    "read",
    "read_meta",
    "rule",
]
