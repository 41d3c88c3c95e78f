"""Definitions only go forward: what was released can still be spoken and read, under every version with the same schema.

`released/REVISION/` holds the CRDs of each release as its chart had them. A release adds a folder; none is ever changed.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from countersign.domain.names import ANNOTATION_REVISION, VERSION
from countersign.wire import crds
from countersign.wire.crdversions import differing_versions, revision_of, shortcomings

RELEASED = Path(__file__).parent / "released"
REVISIONS = sorted(int(folder.name) for folder in RELEASED.iterdir())
KINDS = sorted(file.stem for file in (RELEASED / str(REVISIONS[-1])).iterdir())


def released(revision: int) -> dict[str, Any]:
    return {file.stem: yaml.safe_load(file.read_text()) for file in (RELEASED / str(revision)).iterdir()}


def current() -> dict[str, Any]:
    return {manifest["spec"]["names"]["plural"]: manifest for manifest in crds.manifests()}


def test_what_differs_from_a_release_has_a_greater_number() -> None:
    assert REVISIONS[-1] <= crds.REVISION
    if {kind: manifest["spec"] for kind, manifest in current().items()} != {
        kind: manifest["spec"] for kind, manifest in released(REVISIONS[-1]).items()
    }:
        assert REVISIONS[-1] < crds.REVISION, "raise REVISION in controller/countersign/wire/crds.py"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("revision", REVISIONS)
def test_what_was_released_can_still_be_spoken_and_read(revision: int, kind: str) -> None:
    """Else an operator of that release would take the new definitions for tampered ones, and replicas of it could not read objects."""
    assert shortcomings(current()[kind], released(revision)[kind]) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_every_version_has_the_one_schema(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert differing_versions(current()[kind]) == ()
    monkeypatch.setattr(crds, "VERSIONS", (crds.Served(VERSION), crds.Served("v1beta1", storage=True)))
    two = current()[kind]
    assert [(each["name"], each["served"], each["storage"]) for each in two["spec"]["versions"]] == [
        (VERSION, True, False),
        ("v1beta1", True, True),
    ]
    assert differing_versions(two) == ()
    assert shortcomings(two, released(REVISIONS[-1])[kind]) == ()
    del two["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert differing_versions(two) == ("v1beta1",)


def spoilt() -> dict[str, Any]:
    return deepcopy(current()["protectedenvironments"])


def root(definition: dict[str, Any]) -> Any:
    return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("v1alpha1 is not served", lambda each: each["spec"]["versions"][0].update(served=False)),
        ("v1alpha1 is not served", lambda each: each["spec"]["versions"][0].update(name="v2")),
        ("v1alpha1 has no subresource status", lambda each: each["spec"]["versions"][0].pop("subresources")),
        ("spec.scope is another", lambda each: each["spec"].update(scope="Namespaced")),
        ("spec.names.kind is another", lambda each: each["spec"]["names"].update(kind="Other")),
        ("spec.conversion is not None", lambda each: each["spec"].update(conversion={"strategy": "Webhook"})),
        (".spec.mode is missing", lambda each: root(each)["properties"]["spec"]["properties"].pop("mode")),
        (".spec.mode: type is another", lambda each: root(each)["properties"]["spec"]["properties"]["mode"].update(type="integer")),
        (".spec.mode: a value is missing", lambda each: root(each)["properties"]["spec"]["properties"]["mode"].update(enum=["Enforce"])),
        (".spec: more is required", lambda each: root(each)["properties"]["spec"]["required"].append("ownWork")),
        ("the object: a rule is missing", lambda each: root(each).update({"x-kubernetes-validations": []})),
        ("preserve-unknown-fields is another", lambda each: root(each).update({"x-kubernetes-preserve-unknown-fields": True})),
        (
            ".spec.except[].kind: a value is missing",
            lambda each: root(each)["properties"]["spec"]["properties"]["except"]["items"]["properties"]["kind"].update(enum=["User"]),
        ),
    ],
)
def test_what_is_no_extension_is_told(what: str, spoil: Any) -> None:
    definition = spoilt()
    spoil(definition)
    assert what in "; ".join(shortcomings(definition, current()["protectedenvironments"]))


def test_lists_that_could_be_filtered_still_can() -> None:
    definition = deepcopy(current()["approvals"])
    definition["spec"]["versions"][0]["selectableFields"].pop(0)
    assert shortcomings(definition, current()["approvals"]) == ("v1alpha1 cannot be filtered by .spec.changeRequest",)


def test_what_an_extension_may_be() -> None:
    """A field, a value, a rule, a longer text, another sentence, a column, a version more."""
    definition = spoilt()
    fields = root(definition)["properties"]["spec"]["properties"]
    fields["later"] = {"type": "string", "maxLength": 9}
    fields["mode"]["enum"].append("Later")
    fields["ownWork"]["maxLength"] += 1
    fields["mode"]["description"] = "Another."
    root(definition)["properties"]["spec"].setdefault("x-kubernetes-validations", []).append({"rule": "true", "message": "x"})
    definition["spec"]["versions"][0]["additionalPrinterColumns"].pop()
    assert shortcomings(definition, current()["protectedenvironments"]) == ()


@pytest.mark.parametrize(("written", "revision"), [("7", 7), ("", 0), ("-1", 0), ("x", 0), ("²", 0), (7, 0), (None, 0)])
def test_the_number(written: Any, revision: int) -> None:
    assert revision_of({"metadata": {"annotations": {ANNOTATION_REVISION: written}}}) == revision
    assert revision_of({"metadata": {}}) == 0
