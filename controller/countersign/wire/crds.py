"""The CRDs, generated from the models of wire/resources: `python -m countersign.wire.crds DIR... [--check]`.

Structural and closed (no x-kubernetes-preserve-unknown-fields: what the schema does not name is pruned, or refused under strict field validation).
"""

import argparse
import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from countersign.domain.names import ANNOTATION_REVISION, GROUP, VERSION
from countersign.wire.resources import KINDS, Kind

_CATEGORY: Final = "countersign"
_HEADER: Final = "# Generated from controller/countersign/wire/resources by `make generate`. Do not edit.\n"
_DROPPED: Final = frozenset({"title", "$defs", "$ref", "anyOf", "const"})

Schema = dict[str, Any]

REVISION: Final = 1
"""Greater than that of every release before whose CRDs were others; a test holds it against what was released. The greatest wins in a cluster."""

# GitOps tools make a definition where it is missing, and never remove one: with it would go every signature (docs/gitops.md).
_LEFT_TO_THE_OPERATOR: Final = {
    "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
    "kustomize.toolkit.fluxcd.io/prune": "disabled",
    "kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent",
}


@dataclass(frozen=True, slots=True)
class Served:
    """A version under which the API server serves our kinds, each with the one schema; `storage`: whether it is written as this."""

    name: str
    storage: bool = False


VERSIONS: tuple[Served, ...] = (Served(VERSION, storage=True),)


def manifests() -> list[Schema]:
    """The CRDs as the API server takes them: what the chart installs first, and the operator keeps up to date."""
    return [_manifest(kind) for kind in KINDS]


def files() -> dict[str, str]:
    """The same as YAML, by file name."""
    import yaml  # noqa: PLC0415 - a tool of developers: the image needs no YAML

    def text(manifest: Schema) -> str:
        return _HEADER + yaml.safe_dump(manifest, sort_keys=False, width=140, allow_unicode=False)

    return {f"{manifest['spec']['names']['plural']}.yaml": text(manifest) for manifest in manifests()}


def _manifest(kind: Kind) -> Schema:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": kind.resource,
            "annotations": {ANNOTATION_REVISION: str(REVISION), **_LEFT_TO_THE_OPERATOR},
            "labels": {"app.kubernetes.io/name": "countersign", "app.kubernetes.io/part-of": "countersign"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": [_CATEGORY],
            },
            "scope": "Cluster",
            "versions": [_version(kind, version) for version in VERSIONS],
        },
    }


def _version(kind: Kind, served: Served) -> Schema:
    version: Schema = {
        "name": served.name,
        "served": True,
        "storage": served.storage,
        "schema": {"openAPIV3Schema": _root(kind)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {
                "name": column.name,
                "type": column.type,
                "jsonPath": column.path,
                "description": column.description,
                **({"priority": 1} if column.wide else {}),
            }
            for column in kind.columns
        ],
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return version


def _root(kind: Kind) -> Schema:
    """The same to the letter for every version: else the API server takes no selectable fields (apiextensions v1 conversion.go hoists what is equal)."""
    spec = kind.spec.model_json_schema(by_alias=True)
    status = kind.status.model_json_schema(by_alias=True)
    root: Schema = {
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "maxLength": 128, "description": f"{GROUP}, in the version that was asked for."},
            "kind": {"type": "string", "maxLength": 64, "description": kind.kind},
            "metadata": {"type": "object"},
            "spec": _structural(spec, spec.get("$defs", {})) | kind.spec_extra,
            "status": _structural(status, status.get("$defs", {})),
        },
    }
    if kind.rules:
        root["x-kubernetes-validations"] = list(kind.rules)
    return root


def _structural(schema: Mapping[str, Any], defs: Mapping[str, Schema]) -> Schema:
    """One level of JSON schema as the API server wants it: nothing referenced, null never named, closed by saying nothing."""
    schema = _resolved(schema, defs)
    result: Schema = {}
    for key, value in schema.items():
        match key:
            case "properties":
                result[key] = {name: _structural(each, defs) for name, each in value.items()}
            case "items":
                result[key] = _structural(value, defs)
            case "additionalProperties":
                if value is not False:
                    result[key] = _structural(value, defs)
            case "default":
                result |= _default(value)
            case "description":
                result[key] = " ".join(str(value).split())
            case _ if key in _DROPPED:
                pass
            case _:
                result[key] = value
    if "const" in schema:
        result["enum"] = [schema["const"]]
    return result


def _resolved(schema: Mapping[str, Any], defs: Mapping[str, Schema]) -> Schema:
    """References and `X | None` replaced by what they stand for; what stands beside them wins."""
    if "$ref" in schema:
        target = defs[schema["$ref"].removeprefix("#/$defs/")]
        return _resolved(target, defs) | {key: value for key, value in schema.items() if key != "$ref"}
    if "anyOf" in schema:
        (only,) = (option for option in schema["anyOf"] if option.get("type") != "null")
        return _resolved(only, defs) | {key: value for key, value in schema.items() if key != "anyOf"}
    return dict(schema)


def _default(value: object) -> Schema:
    """An object defaults to {}: the defaults of its own fields fill it. What is empty or absent needs none."""
    if isinstance(value, Mapping):
        return {"default": {}}
    return {} if value is None or value in ("", [], ()) else {"default": value}


def _write(directory: Path, wanted: Mapping[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for stray in sorted(directory.glob("*.yaml")):
        if stray.name not in wanted:
            stray.unlink()
    for name, text in wanted.items():
        (directory / name).write_text(text, encoding="ascii")


def _differences(directory: Path, wanted: Mapping[str, str]) -> list[str]:
    found = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.yaml")}
    return [
        line
        for name in sorted(wanted.keys() | found.keys())
        for line in difflib.unified_diff(
            found.get(name, "").splitlines(), wanted.get(name, "").splitlines(), f"{directory}/{name}", "generated", lineterm=""
        )
    ]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m countersign.wire.crds", description="Write the CRDs, or with --check compare them.")
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    options = parser.parse_args(arguments)
    wanted = files()
    if not options.check:
        for directory in options.directories:
            _write(directory, wanted)
        return 0
    differences = [line for directory in options.directories for line in _differences(directory, wanted)]
    if differences:
        sys.stderr.write(
            "\n".join([*differences, "", "The CRDs are not what the models say: run `make generate` and commit the result.", ""])
        )
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
