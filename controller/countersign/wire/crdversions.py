"""Which of two definitions of the same kind is the newer, and whether it still is all that the older one was.

Releases of two kinds of age run beside each other during an upgrade, and after a rollback. The greater revision wins, so that two operators
never undo each other's definitions; what is not an extension of ours is no release of ours (docs/decisions/0008-crd-versions.md).
"""

from collections.abc import Iterable
from typing import Final

from countersign.domain.document import JsonObject, items, mapping, text
from countersign.domain.names import ANNOTATION_REVISION

_SAME: Final = ("type", "format", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-preserve-unknown-fields", "default")


def revision_of(definition: JsonObject) -> int:
    """0 where it bears none: it is older than all that do."""
    written = mapping(definition, "metadata", "annotations").get(ANNOTATION_REVISION, "")
    return int(written) if isinstance(written, str) and written.isascii() and written.isdecimal() else 0


def converts(definition: JsonObject) -> bool:
    """Whether somebody is asked to convert its objects: what they say would be what he says (never ours: docs/decisions/0008-crd-versions.md)."""
    return bool(mapping(definition, "spec", "conversion").get("strategy", "None") != "None")


def shortcomings(newer: JsonObject, older: JsonObject) -> tuple[str, ...]:
    """What a definition lacks to be an extension of an older one: whoever speaks or reads the older can go on. Empty where it lacks nothing."""
    found = [f"spec.{field} is another" for field in ("group", "scope") if newer["spec"].get(field) != older["spec"][field]]
    names = mapping(newer, "spec", "names")
    found += [f"spec.names.{field} is another" for field in ("kind", "plural") if names.get(field) != older["spec"]["names"][field]]
    if converts(newer):
        found.append("spec.conversion is not None")
    versions = {text(version, "name"): version for version in items(newer, "spec", "versions")}
    for wanted in older["spec"]["versions"]:
        name = wanted["name"]
        served = versions.get(name)
        if served is None or not served.get("served"):
            found.append(f"{name} is not served")
            continue
        found += [f"{name} has no subresource {each}" for each in wanted["subresources"] if each not in mapping(served, "subresources")]
        selectable = [text(each, "jsonPath") for each in items(served, "selectableFields")]
        wanting = [each["jsonPath"] for each in wanted.get("selectableFields", ()) if each["jsonPath"] not in selectable]
        found += [f"{name} cannot be filtered by {each}" for each in wanting]
        found += [f"{name}: {each}" for each in _lacking(_root(served), _root(wanted), "")]
    return tuple(found)


def differing_versions(definition: JsonObject) -> tuple[str, ...]:
    """Versions whose schema is another than the first one's: what one has and the other has not would be lost on the way."""
    first, *others = items(definition, "spec", "versions")
    return tuple(text(other, "name") for other in others if _root(other) != _root(first))


def _root(version: JsonObject) -> JsonObject:
    return mapping(version, "schema", "openAPIV3Schema")


def _lacking(newer: JsonObject, older: JsonObject, path: str) -> Iterable[str]:
    where = path or "the object"
    for key in _SAME:
        if newer.get(key) != older.get(key):
            yield f"{where}: {key} is another"
    rules = [text(rule, "rule") for rule in items(newer, "x-kubernetes-validations")]
    if any(text(rule, "rule") not in rules for rule in items(older, "x-kubernetes-validations")):
        yield f"{where}: a rule is missing"
    if not set(older.get("enum", ())) <= set(newer.get("enum", older.get("enum", ()))):
        yield f"{where}: a value is missing"
    if set(newer.get("required", ())) - set(older.get("required", ())):
        yield f"{where}: more is required"
    for name, field in mapping(older, "properties").items():
        if name not in mapping(newer, "properties"):
            yield f"{path}.{name} is missing"
        else:
            yield from _lacking(newer["properties"][name], field, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in older:
            yield from _lacking(mapping(newer, inner), older[inner], f"{path}[]")
