"""What RBAC allows, row by row. That the API server says the same is tests/e2e/test_posture_oracle.py."""

import pytest

from countersign.domain.rbac import Binding, Rbac, Request, RoleRef, Rule, allows, reaches

ADMIN = RoleRef("", "admin")
LOCAL = RoleRef("shop", "local")


def rule(verbs: str, resources: str, groups: str = "", names: str = "") -> Rule:
    return Rule(
        frozenset(verbs.split(",")),
        frozenset(groups.split(",")),
        frozenset(resources.split(",")),
        frozenset(filter(None, names.split(","))),
    )


def held(one: Rule, namespace: str = "") -> Rbac:
    return Rbac({ADMIN: (one,)}, [Binding(namespace, "b", ADMIN, users=("kiro",))])


ROWS = [
    ("the verb and the resource", rule("get,delete", "pods"), Request("delete", "", "pods"), True),
    ("another verb", rule("get", "pods"), Request("delete", "", "pods"), False),
    ("another group", rule("get", "deployments", "apps"), Request("get", "", "deployments"), False),
    ("every verb", rule("*", "pods"), Request("impersonate", "", "pods"), True),
    ("every group", rule("get", "pods", "*"), Request("get", "x.io", "pods"), True),
    ("every resource holds subresources, too", rule("create", "*"), Request("create", "", "serviceaccounts", "token"), True),
    ("a resource does not hold its subresources", rule("create", "serviceaccounts"), Request("create", "", "serviceaccounts", "token"), False),
    ("a subresource does not hold its resource", rule("create", "serviceaccounts/token"), Request("create", "", "serviceaccounts"), False),
    ("a subresource of everything", rule("update", "*/scale", "*"), Request("update", "apps", "statefulsets", "scale"), True),
    ("no other subresource", rule("update", "*/scale", "*"), Request("update", "apps", "statefulsets", "status"), False),
    ("resource/* is no wildcard", rule("create", "pods/*"), Request("create", "", "pods", "exec"), False),
    ("*/* is none either", rule("create", "*/*"), Request("create", "", "pods", "exec"), False),
    ("verbs have no wildcards but *", rule("impersonate*", "users"), Request("impersonate", "", "users"), False),
    ("a name", rule("get", "secrets", names="a,b"), Request("get", "", "secrets", name="b"), True),
    ("another name", rule("get", "secrets", names="a,b"), Request("get", "", "secrets", name="c"), False),
    ("no name", rule("get", "secrets", names="a,b"), Request("get", "", "secrets"), False),
    ("a name is no wildcard", rule("get", "secrets", names="*"), Request("get", "", "secrets", name="c"), False),
]  # fmt: skip


@pytest.mark.parametrize(("one", "request_", "expected"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_a_rule(one: Rule, request_: Request, expected: bool) -> None:
    assert allows(held(one).grants(("kiro",), ()), request_) is expected


def test_a_role_binding_holds_in_its_namespace_alone() -> None:
    grants = held(rule("delete", "pods"), "shop").grants(("kiro",), ())
    assert allows(grants, Request("delete", "", "pods", namespace="shop"))
    assert not allows(grants, Request("delete", "", "pods", namespace="other"))
    assert not allows(grants, Request("delete", "", "pods"))


def test_who_is_bound() -> None:
    some = rule("get", "pods")
    rbac = Rbac({ADMIN: (some,)}, [Binding("", "users", ADMIN, users=("kiro",)), Binding("", "groups", ADMIN, groups=("ai",))])
    assert {grant.binding.name for grant in rbac.grants(("kiro",), ("ai",))} == {"users", "groups"}
    assert {grant.binding.name for grant in rbac.grants(("kiro",), ())} == {"users"}
    assert not rbac.grants(("ai",), ("kiro",)), "a user is no group"


def test_a_binding_that_reaches_somebody_twice_counts_once() -> None:
    rbac = Rbac({ADMIN: (rule("get", "pods"),)}, [Binding("", "b", ADMIN, users=("kiro", "lint"), groups=("ai",))])
    assert len(rbac.grants(("kiro", "lint"), ("ai",))) == 1


def test_a_role_that_is_not_there_gives_nothing() -> None:
    rbac = Rbac({}, [Binding("", "b", ADMIN, users=("kiro",)), Binding("other", "c", LOCAL, users=("kiro",))])
    assert rbac.grants(("kiro",), ()) == ()


def test_a_role_is_its_namespaces() -> None:
    rbac = Rbac({LOCAL: (rule("get", "pods"),)}, [Binding("other", "b", RoleRef("other", "local"), users=("kiro",))])
    assert rbac.grants(("kiro",), ()) == ()


def test_where_a_permission_reaches() -> None:
    rbac = Rbac(
        {ADMIN: (rule("get,list", "secrets", names="a"), rule("*", "*", "*")), LOCAL: (rule("get", "secrets"),)},
        [Binding("shop", "local", LOCAL, users=("kiro",)), Binding("", "all", ADMIN, users=("kiro",))],
    )
    found = {(reach.namespace, reach.names, reach.binding.name) for reach in reaches(rbac.grants(("kiro",), ()), "get", "", "secrets")}
    assert found == {("shop", frozenset(), "local"), ("", frozenset({"a"}), "all"), ("", frozenset(), "all")}


def test_how_a_binding_is_shown() -> None:
    assert str(Binding("", "root", ADMIN)) == "ClusterRoleBinding/root (ClusterRole/admin)"
    assert str(Binding("shop", "dev", LOCAL)) == "RoleBinding/dev in shop (Role/local)"
