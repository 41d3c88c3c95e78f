"""Rights in few words, and the posture that they make."""

from hypothesis import strategies as st

from countersign.domain.posture import Posture, Terms, assess
from countersign.domain.rbac import Binding, Rbac, RoleRef, Rule
from countersign.domain.resources import AgentIdentity, Becoming
from countersign.domain.waysround import Way
from tests.support.objects import KIRO, identity

ADMISSION, RBAC, CERTIFICATES, AUTHENTICATION = (
    "admissionregistration.k8s.io",
    "rbac.authorization.k8s.io",
    "certificates.k8s.io",
    "authentication.k8s.io",
)


TERMS = Terms("countersign")
NOBODY = Becoming()


def rule(verbs: str, resources: str, group: str = "", names: str = "") -> Rule:
    return Rule(frozenset(verbs.split()), frozenset({group}), frozenset(resources.split()), frozenset(names.split()))


def rights(*rules: Rule, to: str = KIRO, within: str = "", groups: tuple[str, ...] = (), more: dict[str, Rule] | None = None) -> Rbac:
    """One binding to `to` (and to `groups`); `more` are rules of others, by their usernames."""
    others = more or {}
    roles = {RoleRef("", "r"): rules, **{RoleRef("", f"of {name}"): (one,) for name, one in others.items()}}
    bindings = [Binding(within, "b", RoleRef("", "r"), users=(to,) if to else (), groups=groups)]
    bindings += [Binding("", f"b of {name}", RoleRef("", f"of {name}"), users=(name,)) for name in others]
    return Rbac(roles, bindings)


def of(*rules: Rule, within: str = "", who: AgentIdentity | None = None, terms: Terms = TERMS) -> Posture:
    return assess(who or identity(), rights(*rules, within=within), terms)


def ways(posture: Posture) -> set[Way]:
    return {opening.way for opening in posture.open}


def people(*users: str) -> Becoming:
    return Becoming(users=frozenset(users))


# --- whom it could become -------------------------------------------------------------------------

IMPERSONATE = rule("impersonate", "users groups serviceaccounts")


# --- never less by more ---------------------------------------------------------------------------

_VERBS = st.sampled_from(
    ["create", "get", "update", "delete", "impersonate", "impersonate:user-info", "impersonate-on:user-info:get", "bind", "*"]
)


_RESOURCES = st.sampled_from(
    [
        "users",
        "groups",
        "serviceaccounts",
        "serviceaccounts/token",
        "namespaces",
        "clusterroles",
        "rolebindings",
        "nodes/proxy",
        "secrets",
        "*",
    ]
)


_GROUPS = st.sampled_from(["", AUTHENTICATION, RBAC, ADMISSION, "*"])
_NAMES = st.sampled_from(["kiro", "alice", "ci", "system:masters"])


_RULES = st.builds(
    Rule,
    st.frozensets(_VERBS, min_size=1, max_size=3),
    st.frozensets(_GROUPS, min_size=1, max_size=2),
    st.frozensets(_RESOURCES, min_size=1, max_size=3),
    st.frozensets(_NAMES, max_size=1),
)


_USERS = st.sampled_from([KIRO, "system:serviceaccount:shop:ci", "alice", "bob", "system:anonymous"])
_HOLDERS = st.sampled_from(["system:authenticated", "system:serviceaccounts:shop", "ai", "system:unauthenticated"])


@st.composite
def bindings(draw: st.DrawFn) -> tuple[Binding, tuple[Rule, ...]]:
    name = draw(st.uuids()).hex
    users, groups = draw(st.lists(_USERS, max_size=2)), draw(st.lists(_HOLDERS, max_size=1))
    where = draw(st.sampled_from(["", "shop", "agents"]))
    return Binding(where, name, RoleRef("", name), tuple(users), tuple(groups)), tuple(draw(st.lists(_RULES, min_size=1, max_size=2)))
