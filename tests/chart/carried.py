"""What values.yaml has that an older chart had not, for `helm upgrade --reuse-values`, which knows the older chart's defaults only.

`files/new-values.yaml` is laid under the given values before anything is rendered (templates/first/values.yaml).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

OLDER = Path(__file__).parent / "older-values.yaml"
"""values.yaml of the first chart that somebody may have installed (commit 83d74de)."""


def added(older: Any, newer: Any, way: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Each key that the older mapping lacks, at any depth that both have, with its default: whole, since what is in it may have been taken out."""
    for key, value in newer.items():
        if key not in older:
            yield {"path": [*way, key], "value": value}
        elif isinstance(value, dict) and isinstance(older[key], dict):
            yield from added(older[key], value, (*way, key))


def new_values(values: dict[str, Any]) -> str:
    """files/new-values.yaml."""
    head = "# Generated from values.yaml by `make generate`: what the first chart had not. Do not edit.\n"
    return head + yaml.safe_dump(list(added(yaml.safe_load(OLDER.read_text()), values)), sort_keys=False)
