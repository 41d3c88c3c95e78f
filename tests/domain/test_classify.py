"""What kind of guarded change a request is. Whatever is not known is misunderstood, and refused."""

from dataclasses import replace
from typing import Any

import pytest

from countersign.domain.classify import (
    Countersigning,
    Deletion,
    Misunderstood,
    NotGuarded,
    Relabelling,
    Setting,
    classify,
    fixed_losses,
)
from countersign.domain.request import GroupResource, Operation, Request
from countersign.domain.resources import Losses, Target
from countersign.domain.statement import digest_deleted, digest_written
from tests.support.objects import KIRO, user

OURS = "kube-countersign.dev"
APPS = GroupResource("argoproj.io", "applications")
LISTED = frozenset({APPS})


def obj(name: str = "x", **parts: Any) -> dict[str, Any]:
    labels = parts.pop("labels", {})
    return {
        "apiVersion": "v1",
        "kind": "Any",
        "metadata": {"name": name, "uid": "u-1", "labels": labels, **parts.pop("metadata", {})},
        **parts,
    }


def request(operation: str, kind: str, **fields: Any) -> Request:
    resource, _, group = kind.partition(".")
    old, new = fields.pop("old", None), fields.pop("new", None)
    plain = Request(
        uid="r",
        operation=Operation(operation),
        group=group,
        version="v1",
        resource=resource,
        subresource="",
        namespace="",
        name="x",
        user=user(KIRO),
        object=new,
        old_object=old,
        dry_run=False,
    )
    return replace(plain, **fields)


GUARDED = [
    ("a namespace is deleted", request("DELETE", "namespaces", old=obj(), namespace="x"), Deletion),
    ("a volume is deleted", request("DELETE", "persistentvolumes", old=obj()), Deletion),
    ("a claim is deleted", request("DELETE", "persistentvolumeclaims", old=obj(), namespace="n"), Deletion),
    ("a definition is deleted", request("DELETE", "customresourcedefinitions.apiextensions.k8s.io", old=obj()), Deletion),
    ("a listed kind is deleted", request("DELETE", "applications.argoproj.io", old=obj(), namespace="n"), Deletion),
    ("a collection is deleted, object by object", request("DELETE", "persistentvolumeclaims", old=obj(), namespace="n", name=""), Deletion),
    ("a namespace's labels change", request("UPDATE", "namespaces", old=obj(labels={"a": "b"}), new=obj()), Relabelling),
    ("a namespace's labels stay", request("UPDATE", "namespaces", old=obj(labels={"a": "b"}), new=obj(labels={"a": "b"})), NotGuarded),
    ("a reviewer is created", request("CREATE", f"reviewers.{OURS}", new=obj()), Setting),
    ("an identity is changed", request("UPDATE", f"agentidentities.{OURS}", old=obj(), new=obj()), Setting),
    ("an environment is deleted", request("DELETE", f"protectedenvironments.{OURS}", old=obj()), Setting),
    ("an approval is created", request("CREATE", f"approvals.{OURS}", new=obj()), Countersigning),
]
STRANGE = [
    ("a kind nobody lists", request("DELETE", "pods", old=obj(), namespace="n")),
    ("a listed kind of another group", request("DELETE", "applications.example.com", old=obj(), namespace="n")),
    ("a deletion without the old object", request("DELETE", "namespaces")),
    ("a deletion of something without a UID", request("DELETE", "namespaces", old={"metadata": {"name": "x"}})),
    ("a deletion of something without a name", request("DELETE", "namespaces", old={"metadata": {"uid": "u"}}, name="")),
    ("a namespace's creation", request("CREATE", "namespaces", new=obj())),
    ("a namespace's status", request("UPDATE", "namespaces", old=obj(labels={"a": "b"}), new=obj(), subresource="status")),
    ("a namespace's finalizing", request("UPDATE", "namespaces", old=obj(labels={"a": "b"}), new=obj(), subresource="finalize")),
    ("an update that hides the old object", request("UPDATE", "namespaces", new=obj())),
    ("an update that hides the new object", request("UPDATE", "namespaces", old=obj())),
    ("an update of something without a UID", request("UPDATE", "namespaces", old={"metadata": {"labels": {"a": "b"}}}, new=obj())),
    ("an update of a claim", request("UPDATE", "persistentvolumeclaims", old=obj(), new=obj(), namespace="n")),
    ("a connection", request("CONNECT", "pods", new=obj(), namespace="n")),
    ("a connection to a listed kind", request("CONNECT", "applications.argoproj.io", new=obj(), namespace="n")),
    ("an approval is changed", request("UPDATE", f"approvals.{OURS}", old=obj(), new=obj())),
    ("an approval is deleted", request("DELETE", f"approvals.{OURS}", old=obj())),
    ("a change request is created", request("CREATE", f"changerequests.{OURS}", new=obj())),
    ("a reviewer's status", request("UPDATE", f"reviewers.{OURS}", old=obj(), new=obj(), subresource="status")),
    ("a reviewer without a name", request("CREATE", f"reviewers.{OURS}", new={"metadata": {"generateName": "r-"}}, name="")),
    ("a reviewer without an object", request("CREATE", f"reviewers.{OURS}")),
    ("a reviewer's update without the old", request("UPDATE", f"reviewers.{OURS}", new=obj())),
    ("a reviewer's deletion without the old", request("DELETE", f"reviewers.{OURS}")),
    ("settings of another group", request("CREATE", "reviewers.example.com", new=obj())),
]


@pytest.mark.parametrize(("asked", "expected"), [pytest.param(*row[1:], id=row[0]) for row in GUARDED])
def test_what_is_guarded(asked: Request, expected: type) -> None:
    assert isinstance(classify(asked, LISTED), expected)


@pytest.mark.parametrize("asked", [pytest.param(row[1], id=row[0]) for row in STRANGE])
def test_what_is_not_known_is_misunderstood(asked: Request) -> None:
    found = classify(asked, LISTED)
    assert isinstance(found, Misunderstood)
    assert found.why.endswith(".")


def test_a_deletion_binds_the_old_object() -> None:
    old = obj("payments", labels={"team": "payments"}, metadata={"annotations": {"n": "v"}}, spec={"finalizers": ["kubernetes"]})
    found = classify(request("DELETE", "namespaces", old=old, namespace="payments", name="payments"), LISTED)
    assert isinstance(found, Deletion)
    assert found.target == Target("", "v1", "namespaces", "payments", "", "u-1"), "a namespace lies in none"
    assert (found.change.old, found.change.new) == (digest_deleted(old), "")
    assert (found.labels, found.annotations, found.home) == ({"team": "payments"}, {"n": "v"}, "")


def test_the_home_of_a_claim_and_of_a_volume() -> None:
    claim = classify(request("DELETE", "persistentvolumeclaims", old=obj(), namespace="shop"), LISTED)
    volume = classify(request("DELETE", "persistentvolumes", old=obj(spec={"claimRef": {"namespace": "shop"}})), LISTED)
    free = classify(request("DELETE", "persistentvolumes", old=obj(spec={})), LISTED)
    assert isinstance(claim, Deletion)
    assert isinstance(volume, Deletion)
    assert isinstance(free, Deletion)
    assert (claim.home, claim.target.namespace) == ("shop", "shop")
    assert (volume.home, volume.target.namespace) == ("shop", "")
    assert free.home == ""


def test_an_update_binds_both_and_for_our_kinds_the_generation() -> None:
    old, new = obj(labels={"a": "b"}, metadata={"generation": 3}), obj(metadata={"generation": 4})
    namespace = classify(request("UPDATE", "namespaces", old=old, new=new), LISTED)
    setting = classify(request("UPDATE", f"reviewers.{OURS}", old=old, new=new), LISTED)
    assert isinstance(namespace, Relabelling)
    assert isinstance(setting, Setting)
    assert (namespace.change.old, namespace.change.new) == (digest_written(old), digest_written(new))
    assert setting.change.old == digest_written(old, generation=True) != digest_written(old)
    assert setting.change.new == digest_written(new)
    assert (namespace.before, namespace.after) == ({"a": "b"}, {})


def test_a_deleted_setting_binds_its_generation_and_a_created_one_what_it_is() -> None:
    old = obj(metadata={"generation": 3}, spec={"a": 1})
    gone, made = (
        classify(request("DELETE", f"reviewers.{OURS}", old=old), LISTED),
        classify(request("CREATE", f"reviewers.{OURS}", new=old), LISTED),
    )
    assert isinstance(gone, Setting)
    assert isinstance(made, Setting)
    assert gone.change.old == digest_deleted(old, generation=True) != digest_deleted(old)
    assert (made.change.old, made.change.new, made.target.uid) == ("", digest_written(old), "")
    assert gone.change.lines
    assert made.change.lines


@pytest.mark.parametrize(
    ("name", "metadata", "generated"),
    [("", {"generateName": "r-"}, True), ("x", {"generateName": "r-"}, False), ("", {}, False), ("x", {}, False)],
)
def test_a_generated_name_is_marked(name: str, metadata: dict[str, str], generated: bool) -> None:
    found = classify(request("CREATE", f"reviewers.{OURS}", new=obj("x", metadata=metadata), name=name), LISTED)
    assert isinstance(found, Setting)
    assert found.generated is generated


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("namespaces", None),
        ("persistentvolumes", Losses(volumes=1)),
        ("persistentvolumeclaims", Losses(volumes=1)),
        ("customresourcedefinitions.apiextensions.k8s.io", Losses()),
        ("applications.argoproj.io", Losses()),
        ("namespaces.example.com", Losses()),
    ],
)
def test_losses_that_need_no_count(kind: str, expected: Losses | None) -> None:
    resource, _, group = kind.partition(".")
    assert fixed_losses(Target(group, "v1", resource, "x")) == expected
