"""Namespaces, and the metadata of anything (PartialObjectMetadata): foreign shapes, of which we take what we need."""

from countersign.domain.document import JsonObject, mapping, strings
from countersign.domain.resources import Meta, Namespace
from countersign.wire.resources.base import read_meta


def parse_namespace(obj: JsonObject) -> Namespace:
    """Raises WireError."""
    meta = read_meta(obj, "namespaces")
    metadata = {key: value for key, value in mapping(obj, "metadata").items() if key != "managedFields"}
    return Namespace(meta, strings(obj, "metadata", "labels"), strings(obj, "metadata", "annotations"), {**obj, "metadata": metadata})


def parse_meta(obj: JsonObject) -> Meta:
    """The metadata of an object of any kind.

    Raises WireError.
    """
    return read_meta(obj, "object")
