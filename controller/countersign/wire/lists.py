"""A list as the API server answers it. Nothing listed and no list at all must not look the same: an empty answer lets things through."""

from collections.abc import Mapping, Sequence

from countersign.domain.document import JsonObject, mapping, text
from countersign.wire.errors import WireError


def listed(page: JsonObject) -> Sequence[JsonObject]:
    """The items of a whole list. Raises WireError for an answer that is none, or only a part of one."""
    items, rest = part_of_list(page)
    if rest:
        raise WireError("the API server answered with a part of a list")
    return items


def part_of_list(page: JsonObject) -> tuple[Sequence[JsonObject], str]:
    """The items of a list that was asked for in parts, and what to ask for the next part with: "" after the last. Raises WireError."""
    if not text(page, "kind").endswith("List") or not text(page, "metadata", "resourceVersion"):
        raise WireError(f"the API server answered with no list ({text(page, 'kind') or 'no kind'}); is there a proxy in between?")
    rest = mapping(page, "metadata").get("continue") or ""
    if not isinstance(rest, str):
        raise WireError("the API server answered with a part of a list that nothing can follow")
    items = page.get("items")
    if items is None:  # an empty list of Go's
        return (), rest
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise WireError("the API server answered with a list without items")
    return items, rest
