"""Notes of the webhooks, and the list of heads, as ConfigMaps of our namespace (service/noting.py, service/ledger.py).

Only the operator reads them, and people the list. Agents write nothing in our namespace; what others made of one is no note.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError

from countersign.domain.checkpoint import MOST, Head
from countersign.domain.document import JsonObject, mapping, text
from countersign.domain.names import GROUP
from countersign.domain.notes import Heads, Note, Waiting
from countersign.domain.resources import Target
from countersign.domain.trial import IN_ALL, Sighting
from countersign.wire.errors import WireError

HEADS: Final = "countersign-log-heads"
NOTES: Final = "countersign-note-"
LABEL: Final = f"{GROUP}/note"

_Text = Annotated[str, Field(max_length=1024)]
_Process = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]{1,64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _HeadModel(_Model):
    replica: _Text
    process: _Process
    seq: Annotated[StrictInt, Field(ge=0)]
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    at: datetime
    ended: StrictBool = False
    note: Annotated[StrictInt, Field(ge=0)] = 0
    """In the list: the number of the last note that was taken."""

    def head(self) -> Head:
        return Head(self.replica, self.process, self.seq, self.hash, self.at, self.ended)


class _SightingModel(_Model):
    environments: Annotated[tuple[_Text, ...], Field(max_length=1000)]
    username: _Text
    kind: Annotated[str, Field(pattern=r"^(Agent|Human|Machine)$")]
    operation: Annotated[str, Field(max_length=16)]
    group: _Text
    version: _Text
    resource: _Text
    namespace: _Text
    name: _Text
    uid: _Text
    at: datetime
    times: Annotated[StrictInt, Field(ge=1)]

    def sighting(self) -> Sighting:
        target = Target(self.group, self.version, self.resource, self.name, self.namespace, self.uid)
        return Sighting(self.environments, self.username, self.kind, self.operation, target, self.at, self.times)


class _NoteModel(_Model):
    number: Annotated[StrictInt, Field(ge=1)]
    head: _HeadModel
    sightings: Annotated[tuple[_SightingModel, ...], Field(max_length=2 * IN_ALL)]


def render_note(note: Note, references: Sequence[JsonObject]) -> JsonObject:
    """Its name is that of the process: two of one process never lie there, but for the last."""
    model = _NoteModel(
        number=note.number,
        head=_head_model(note.head),
        sightings=tuple(_sighting_model(each) for each in note.sightings),
    )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{NOTES}{note.head.process}{'-last' if note.head.ended else ''}",
            "labels": {LABEL: "webhook"},
            "ownerReferences": list(references),
        },
        "immutable": True,
        "data": {"note": model.model_dump_json()},
    }


def parse_note(document: JsonObject) -> Waiting:
    """What cannot be read is no note, and says so."""
    name, uid = text(document, "metadata", "name"), text(document, "metadata", "uid")
    try:
        model = _NoteModel.model_validate_json(text(document, "data", "note"))
        note = Note(model.number, model.head.head(), tuple(each.sighting() for each in model.sightings))
    except ValidationError:
        return Waiting(name, uid, None)
    return Waiting(name, uid, note if all(_has_zone(at) for at in (note.head.at, *(each.at for each in note.sightings))) else None)


def _has_zone(moment: datetime) -> bool:
    return moment.tzinfo is not None


def render_heads(heads: Heads, references: Sequence[JsonObject]) -> JsonObject:
    """One member of `data` for each process."""
    taken = dict(heads.taken)
    metadata: dict[str, Any] = {"name": HEADS, "labels": {LABEL: "heads"}, "ownerReferences": list(references)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata | ({"resourceVersion": heads.version} if heads.version else {}),
        "data": {head.process: _head_model(head, taken.get(head.process, 0)).model_dump_json() for head in heads.heads},
    }


def parse_heads(document: JsonObject) -> Heads:
    """Raises WireError: heads that cannot be read are not to be overwritten by fewer."""
    data = mapping(document, "data")
    if len(data) > 2 * MOST:
        raise WireError(f"the ConfigMap {HEADS} has {len(data)} entries, which Countersign did not write; remove it to begin anew")
    try:
        models = [_HeadModel.model_validate_json(value) for value in data.values()]
    except (ValidationError, TypeError) as error:
        raise WireError(f"the ConfigMap {HEADS} cannot be read, somebody has changed it; remove it to begin anew") from error
    if not all(_has_zone(model.at) for model in models):
        raise WireError(f"the ConfigMap {HEADS} holds a time without a zone; remove it to begin anew")
    return Heads(
        tuple(model.head() for model in models),
        tuple((model.process, model.note) for model in models),
        text(document, "metadata", "resourceVersion"),
    )


def _head_model(head: Head, note: int = 0) -> _HeadModel:
    return _HeadModel(replica=head.replica, process=head.process, seq=head.seq, hash=head.hash, at=head.at, ended=head.ended, note=note)


def _sighting_model(each: Sighting) -> _SightingModel:
    target = each.target
    return _SightingModel(
        environments=each.environments,
        username=each.username,
        kind=each.kind,
        operation=each.operation,
        group=target.group,
        version=target.version,
        resource=target.resource,
        namespace=target.namespace,
        name=target.name,
        uid=target.uid,
        at=each.at,
        times=each.times,
    )
