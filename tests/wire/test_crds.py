"""The CRDs are those of the models, closed and bounded; what they accept is tried against a real API server in tests/e2e."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from countersign.wire import crds
from countersign.wire.resources import KINDS
from tests.controlplane.paths import ROOT

COMMITTED = ROOT / "charts" / "countersign" / "crds"
MANIFESTS = {manifest["spec"]["names"]["kind"]: manifest for manifest in crds.manifests()}
NAMES = {
    "AgentIdentity": ("agentidentities", "agid"),
    "Reviewer": ("reviewers", "rvw"),
    "ProtectedEnvironment": ("protectedenvironments", "penv"),
    "ChangeRequest": ("changerequests", "chreq"),
    "Approval": ("approvals", "appr"),
}
# The order in which a statement writes them (docs/rules.md): signatures stand on it.
CHANGE_REQUEST_FIELDS = [
    "cluster.name",
    "cluster.uid",
    "operation",
    "target.group",
    "target.version",
    "target.resource",
    "target.namespace",
    "target.name",
    "target.uid",
    "change.old",
    "change.new",
    "change.lines",
    "losses.volumes",
    "losses.loadBalancers",
    "requester.username",
    "requester.key",
    "requester.agents",
    "requester.sponsors",
    "environments",
    "required",
    "round",
    "expiresAt",
    "statement",
]


def version(kind: str) -> dict[str, Any]:
    (only,) = MANIFESTS[kind]["spec"]["versions"]
    assert isinstance(only, dict)
    return only


def schema(kind: str) -> dict[str, Any]:
    found = version(kind)["schema"]["openAPIV3Schema"]
    assert isinstance(found, dict)
    return found


def levels(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, but for what lies under metadata, which is the API server's."""
    yield path or ".", tree
    for name, inner in tree.get("properties", {}).items():
        yield from levels(inner, f"{path}.{name}")
    if "items" in tree:
        yield from levels(tree["items"], f"{path}[]")
    if "additionalProperties" in tree:
        yield from levels(tree["additionalProperties"], f"{path}{{}}")


ALL_LEVELS = [pytest.param(level, id=f"{kind}{path}") for kind in MANIFESTS for path, level in levels(schema(kind)) if path != ".metadata"]


def test_the_committed_files_are_the_generated_ones() -> None:
    assert crds.main([str(COMMITTED), "--check"]) == 0
    assert {path.name for path in COMMITTED.iterdir()} == {f"{plural}.yaml" for plural, _ in NAMES.values()}


def test_the_check_finds_a_change_a_missing_file_and_a_stray_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crds.main([str(tmp_path)]) == 0
    assert crds.main([str(tmp_path), "--check"]) == 0
    file = tmp_path / "approvals.yaml"
    file.write_text(file.read_text().replace("maxLength: 1000", "maxLength: 1001"))
    assert crds.main([str(tmp_path), "--check"]) == 1
    assert "make generate" in capsys.readouterr().err
    file.unlink()
    assert crds.main([str(tmp_path), "--check"]) == 1
    (tmp_path / "stray.yaml").write_text("kind: Stray\n")
    assert crds.main([str(tmp_path)]) == 0
    assert crds.main([str(tmp_path), "--check"]) == 0
    assert not (tmp_path / "stray.yaml").exists()


def test_the_files_hold_what_the_operator_applies() -> None:
    assert [yaml.safe_load(text) for text in crds.files().values()] == crds.manifests()


@pytest.mark.parametrize(("kind", "plural", "short"), [(kind, *names) for kind, names in NAMES.items()])
def test_names(kind: str, plural: str, short: str) -> None:
    manifest = MANIFESTS[kind]
    names = manifest["spec"]["names"]
    assert manifest["metadata"]["name"] == f"{plural}.kube-countersign.dev"
    assert (names["plural"], names["shortNames"], names["categories"], names["singular"]) == (
        plural,
        [short],
        ["countersign"],
        kind.lower(),
    )
    assert manifest["spec"]["scope"] == "Cluster"
    assert (version(kind)["name"], version(kind)["served"], version(kind)["storage"]) == ("v1alpha1", True, True)
    assert version(kind)["subresources"] == {"status": {}}


@pytest.mark.parametrize("level", ALL_LEVELS)
def test_every_level_is_structural_closed_and_bounded(level: dict[str, Any]) -> None:
    assert level.keys().isdisjoint({"$ref", "anyOf", "oneOf", "allOf", "not", "title", "const", "nullable", "$defs"})
    assert "x-kubernetes-preserve-unknown-fields" not in level
    assert "x-kubernetes-int-or-string" not in level
    match level["type"]:
        case "object":
            if "additionalProperties" in level:
                assert level["maxProperties"] <= 64
                assert "properties" not in level
            else:
                assert level["properties"], "an object without properties would lose all that is in it"
        case "array":
            assert level["maxItems"] <= 1024
            assert level["x-kubernetes-list-type"] in {"atomic", "set", "map"}
        case "string":
            assert "enum" in level or level["maxLength"] <= 131_072
        case "integer":
            assert level["minimum"] >= 0
        case kind:
            assert kind == "boolean"


@pytest.mark.parametrize("kind", MANIFESTS)
def test_every_field_is_explained(kind: str) -> None:
    spec = schema(kind)["properties"]["spec"]
    unexplained = [path for path, level in levels(spec) if not level.get("description") and not path.endswith(("[]", "{}"))]
    assert unexplained == []
    assert schema(kind)["description"]


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_spec_is_always_there(kind: str) -> None:
    assert schema(kind)["required"] == ["spec"]


@pytest.mark.parametrize("kind", ["ChangeRequest", "Approval"])
def test_what_is_signed_cannot_be_changed(kind: str) -> None:
    rules = schema(kind)["properties"]["spec"]["x-kubernetes-validations"]
    assert [rule["rule"] for rule in rules] == ["self == oldSelf"]


@pytest.mark.parametrize("kind", ["AgentIdentity", "Reviewer", "ProtectedEnvironment"])
def test_identity_has_no_defaults(kind: str) -> None:
    """A default would let a misspelt field pass for one that was left out."""
    identity = {
        "sponsors",
        "sponsorFrom",
        "subjects",
        "kind",
        "name",
        "namespace",
        "usernames",
        "keys",
        "publicKey",
        "protectFrom",
        "except",
    }
    defaulted = {path.rsplit(".", 1)[-1] for path, level in levels(schema(kind)["properties"]["spec"]) if "default" in level}
    assert defaulted.isdisjoint(identity)


def test_defaults_are_those_that_the_parser_takes() -> None:
    spec = schema("ProtectedEnvironment")["properties"]["spec"]["properties"]
    approvals = spec["approvals"]
    assert (spec["mode"]["default"], approvals["default"], spec["namespaces"]["default"]) == ("Enforce", {}, {})
    rules = {name: each["default"] for name, each in approvals["properties"].items() if "default" in each}
    assert rules == {"required": 1, "hardwareKeysOnly": False, "useWithin": "1h"}
    assert "default" not in spec["registration"]


def test_the_spec_of_a_change_request_is_in_the_statements_order() -> None:
    spec = schema("ChangeRequest")["properties"]["spec"]
    leaves = [path.lstrip(".") for path, level in levels(spec) if level["type"] != "object" and not path.endswith("[]")]
    assert leaves == CHANGE_REQUEST_FIELDS


def test_lists_that_are_filtered_can_be() -> None:
    selectable = {kind: [field["jsonPath"] for field in version(kind).get("selectableFields", [])] for kind in MANIFESTS}
    assert selectable == {
        "AgentIdentity": [],
        "Reviewer": [],
        "ProtectedEnvironment": [],
        "ChangeRequest": [".status.outcome", ".spec.target.name", ".spec.requester.username"],
        "Approval": [".spec.changeRequest", ".spec.reviewer"],
    }


@pytest.mark.parametrize("kind", MANIFESTS)
def test_every_column_shows_a_field_that_exists(kind: str) -> None:
    paths = {path for path, _ in levels(schema(kind))} | {".metadata.creationTimestamp"}
    columns = version(kind)["additionalPrinterColumns"]
    for column in columns:
        path = re.sub(r"\[[^]]*\]", "[]", column["jsonPath"])
        assert path in paths, column
        assert column["description"]
    assert sum(1 for column in columns if not column.get("priority")) <= 11, "a line should fit a screen"


def test_every_kind_is_there() -> None:
    assert {kind.kind: (kind.plural, kind.short) for kind in KINDS} == NAMES
