"""Reviewer: one person, however many usernames and keys."""

from typing import Annotated

from pydantic import Field

from countersign.domain.document import JsonObject
from countersign.domain.resources import Reviewer, ReviewerKey
from countersign.wire.resources.base import SET, Closed, Column, Kind, Status, Team, Time, Username, list_map, read


class KeyModel(Closed):
    """A public key that this person signs with."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            pattern=r"^[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$",
            description="What people call the key; shown beside each signature.",
        ),
    ]
    public_key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=4096,
            pattern=r"^[^\r\n]+$",
            description="One line of OpenSSH's public key format, as in id_ed25519.pub: ed25519, ecdsa, rsa (3072 bits or more), or sk-.",
        ),
    ]
    not_after: Annotated[Time | None, Field(description="The key does not count from this moment on.")] = None


class ReviewerSpec(Closed):
    """Who this person is to the API server, and the keys that only this person holds."""

    usernames: Annotated[
        tuple[Username, ...],
        Field(
            min_length=1,
            max_length=64,
            description="All usernames under which the API server may see this person; each belongs to one Reviewer only.",
            json_schema_extra=SET,
        ),
    ]
    teams: Annotated[
        tuple[Team, ...],
        Field(max_length=64, description="The teams this person signs for, as named in environments.", json_schema_extra=SET),
    ] = ()
    keys: Annotated[
        tuple[KeyModel, ...],
        Field(
            max_length=64,
            description="Keys whose signatures count. A sponsor who never signs needs none. Taking a key out revokes it at once.",
            json_schema_extra=list_map("name"),
        ),
    ] = ()


class ReviewerStatus(Status):
    """What the operator has seen of this person's keys."""


REVIEWER = Kind(
    kind="Reviewer",
    plural="reviewers",
    short="rvw",
    description="One person who may sign change requests: the second human. However many usernames and keys, a quorum counts the person once.",
    spec=ReviewerSpec,
    status=ReviewerStatus,
    columns=(
        Column("Usernames", ".spec.usernames", "Who this person is to the API server."),
        Column("Teams", ".spec.teams", "The teams this person signs for."),
        Column("Key", ".spec.keys[0].name", "Name of the first key."),
        Column("Key-Expires", ".spec.keys[0].notAfter", "Until when the first key counts.", wide=True),
        Column("Age", ".metadata.creationTimestamp", "Since when.", type="date"),
    ),
)


def parse_reviewer(obj: JsonObject) -> Reviewer:
    """Raises WireError."""
    meta, spec = read(REVIEWER, ReviewerSpec, obj)
    keys = tuple(ReviewerKey(key.name, key.public_key, key.not_after) for key in spec.keys)
    return Reviewer(meta, spec.usernames, spec.teams, keys)
