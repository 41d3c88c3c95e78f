"""The act, its name, its round and the text that a reviewer signs (docs/rules.md).

Signatures cannot be migrated: what this module computes for a given input must never change.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from countersign.domain.document import JsonObject, canonical, mapping, sha256, text
from countersign.domain.names import GROUP, SIGNED_AS
from countersign.domain.resources import ChangeRequest

MAX_LINES: Final = 20
MAX_LINE: Final = 200
_DIGITS: Final = (8, 16, 32, 64)
_WORDS: Final = 150
_SERVER_SET: Final = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "managedFields",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
_SINGULAR: Final[Mapping[str, str]] = {
    "agentidentities": "agentidentity",
    "customresourcedefinitions": "customresourcedefinition",
    "namespaces": "namespace",
    "persistentvolumeclaims": "persistentvolumeclaim",
    "persistentvolumes": "persistentvolume",
    "protectedenvironments": "protectedenvironment",
    "reviewers": "reviewer",
}


def act(
    *,
    cluster_uid: str,
    operation: str,
    group: str,
    resource: str,
    namespace: str,
    name: str,
    uid: str,
    old: str,
    new: str,
    requester_key: str,
) -> str:
    """The digest of one act, the same for everybody who computes it: 64 hex digits."""
    return sha256([cluster_uid, operation, group, resource, namespace, name, uid, old, new, requester_key])


def act_of(request: ChangeRequest) -> str:
    """The act that a change request is about, from its fields."""
    target, change = request.target, request.change
    return act(
        cluster_uid=request.cluster.uid,
        operation=request.operation,
        group=target.group,
        resource=target.resource,
        namespace=target.namespace,
        name=target.name,
        uid=target.uid,
        old=change.old,
        new=change.new,
        requester_key=request.requester.key,
    )


def names(*, operation: str, resource: str, namespace: str, name: str, act: str, round_: int) -> Iterator[str]:
    """The names a change request may have, in the order in which they are tried when one is taken by another act."""
    words = "-".join(part for part in (operation, _SINGULAR.get(resource, resource), namespace, name) if part)
    readable = re.sub(r"[^a-z0-9]+", "-", words.lower())[:_WORDS].strip("-")
    digest = sha256([act, round_])
    for digits in _DIGITS:
        yield f"{readable}-{digest[:digits]}"


def names_of(request: ChangeRequest) -> Iterator[str]:
    """The names that this change request may bear."""
    target = request.target
    return names(
        operation=request.operation,
        resource=target.resource,
        namespace=target.namespace,
        name=target.name,
        act=act_of(request),
        round_=request.round,
    )


def digest_deleted(old: JsonObject, *, generation: bool = False) -> str:
    """What a deletion binds: spec, finalizers and ownerReferences, so that a cascade added later does not pass."""
    metadata = mapping(old, "metadata")
    bound: dict[str, Any] = {
        "spec": old.get("spec"),
        "finalizers": metadata.get("finalizers"),
        "ownerReferences": metadata.get("ownerReferences"),
    }
    if generation:
        bound["generation"] = metadata.get("generation")
    return f"sha256:{sha256(bound)}"


def digest_written(new: JsonObject, *, generation: bool = False) -> str:
    """What a write binds: everything but status, server-set metadata, and our own labels and annotations."""
    metadata = {key: value for key, value in mapping(new, "metadata").items() if key not in _SERVER_SET}
    for marks in ("labels", "annotations"):
        kept = {key: value for key, value in mapping(metadata, marks).items() if not _is_ours(key)}
        metadata.pop(marks, None)
        if kept:
            metadata[marks] = kept
    bound = {key: value for key, value in new.items() if key not in ("status", "metadata")} | {"metadata": metadata}
    if _is_ours(text(new, "apiVersion")):
        bound["apiVersion"] = SIGNED_AS
    if generation:
        bound["generation"] = mapping(new, "metadata").get("generation")
    return f"sha256:{sha256(bound)}"


def change_lines(old: JsonObject, new: JsonObject) -> tuple[str, ...]:
    """What differs, for people: one `path: old -> new` a line, cut to 20 lines of 200 characters and the number left out."""
    before, after = dict(_leaves(_shown(old))), dict(_leaves(_shown(new)))
    lines = [
        f"{path}: {_side(before, path)} -> {_side(after, path)}"
        for path in sorted(before.keys() | after.keys())
        if _side(before, path) != _side(after, path)
    ]
    cut = [_cut(line) for line in lines[:MAX_LINES]]
    if len(lines) > MAX_LINES:
        cut.append(f"and {len(lines) - MAX_LINES} more lines")
    return tuple(cut)


def render(request: ChangeRequest) -> str:
    """The statement: every leaf of the spec but itself, in schema order, one `path: JSON` a line, absent as `null`, printable ASCII.

    No two specs have the same text: paths are fixed, each value is JSON, and a list is one line for each of its items.
    """
    lines = [SIGNED_AS]
    for path, value in _fields(request):
        if isinstance(value, tuple):
            lines.extend(f"{path}[{index}]: {_printable(item)}" for index, item in enumerate(value))
            if not value:
                lines.append(f"{path}: null")
        else:
            lines.append(f"{path}: {_printable(value)}")
    return "\n".join(lines) + "\n"


def timestamp(moment: datetime) -> str:
    """RFC 3339, whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fields(request: ChangeRequest) -> Iterator[tuple[str, object]]:
    target, change, losses, requester = request.target, request.change, request.losses, request.requester
    yield "cluster.name", request.cluster.name
    yield "cluster.uid", request.cluster.uid
    yield "operation", request.operation
    yield "target.group", target.group
    yield "target.version", target.version
    yield "target.resource", target.resource
    yield "target.namespace", target.namespace or None
    yield "target.name", target.name
    yield "target.uid", target.uid or None
    yield "change.old", change.old or None
    yield "change.new", change.new or None
    yield "change.lines", change.lines
    yield "losses.volumes", losses.volumes
    yield "losses.loadBalancers", losses.load_balancers
    yield "requester.username", requester.username
    yield "requester.key", requester.key
    yield "requester.agents", requester.agents
    yield "requester.sponsors", requester.sponsors
    yield "environments", request.environments
    yield "required", request.required
    yield "round", request.round
    yield "expiresAt", timestamp(request.expires_at)


def _printable(value: object) -> str:
    return json.dumps(value).replace("\x7f", "\\u007f")


def _is_ours(key: str) -> bool:
    """Of a label, an annotation, or an apiVersion."""
    return key.partition("/")[0] == GROUP


def _shown(obj: JsonObject) -> dict[str, Any]:
    """What people see of a change: without our own labels and annotations, which come and go and are not bound by the digest."""
    metadata = {key: value for key, value in mapping(obj, "metadata").items() if key in ("finalizers", "ownerReferences")}
    for marks in ("labels", "annotations"):
        kept = {key: value for key, value in mapping(obj, "metadata", marks).items() if not _is_ours(key)}
        if kept:
            metadata[marks] = kept
    return {key: value for key, value in obj.items() if key not in ("status", "metadata", "apiVersion", "kind")} | {"metadata": metadata}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key in value:
            name = key if re.fullmatch(r"[A-Za-z0-9_]+", key) else json.dumps(key)
            yield from _leaves(value[key], f"{path}.{name}" if path else name)
    else:
        yield path, canonical(value)


def _side(leaves: Mapping[str, str], path: str) -> str:
    return leaves.get(path, "absent")


def _cut(line: str) -> str:
    if len(line) <= MAX_LINE:
        return line
    digest = hashlib.sha256(line.encode()).hexdigest()[:8]
    return f"{line[: MAX_LINE - 20]} (cut, {digest})"
