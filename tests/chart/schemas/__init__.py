"""What each Kubernetes that we support takes: closed JSON schemas, made by tests/chart/make_schemas.py."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft7Validator

Json = dict[str, Any]

FOLDER: Final = Path(__file__).parent
VERSIONS: Final = ("1.33", "1.34", "1.35", "1.36")
EXTENSIONS: Final = FOLDER / "extensions.json"


@cache
def _read(file: Path) -> Json:
    content: Json = json.loads(file.read_text())
    return content


def sources() -> dict[str, str]:
    """The Go module, its version and its checksum, of each version."""
    return {version: _read(FOLDER / f"{version}.json")["source"] for version in VERSIONS}


@cache
def _definitions(version: str) -> Json:
    """All of a version: the oldest one's, and what each one since has changed (null: taken away)."""
    found = dict(_read(EXTENSIONS)["definitions"])
    for each in VERSIONS[: VERSIONS.index(version) + 1]:
        found |= _read(FOLDER / f"{each}.json")["definitions"]
    return {name: body for name, body in found.items() if body is not None}


@cache
def _validator(version: str, kind: str) -> Draft7Validator | None:
    kinds = {**_read(FOLDER / f"{version}.json")["kinds"], **_read(EXTENSIONS)["kinds"]}
    if kind not in kinds:
        return None
    return Draft7Validator({"$ref": f"#/definitions/{kinds[kind]}", "definitions": _definitions(version)})


def faults(version: str, document: Json, custom: Json | None = None) -> list[str]:
    """What that version's API server would not take of it, as PATH: REASON. `custom` are schemas of kinds by GROUP/VERSION/KIND."""
    kind = f"{document['apiVersion']}/{document['kind']}"
    validator = Draft7Validator(custom[kind]) if custom and kind in custom else _validator(version, kind)
    name = f"{document['kind']} {document['metadata']['name']}"
    if validator is None:
        return [f"{name}: Kubernetes {version} serves no {kind}, or it is not in make_schemas.py"]
    return [f"{name} {error.json_path}: {error.message}" for error in validator.iter_errors(document)]
