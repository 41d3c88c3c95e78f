"""What agents could do by their rights: whom they could become, which ways round are open, what closes them."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from countersign.domain.becoming import closure
from countersign.domain.posture import PROBES, Posture, Terms, assess, questions, representatives
from countersign.domain.posturereport import Findings, as_json, as_markdown
from countersign.domain.profile import Profile
from countersign.domain.rbac import Binding, Rbac, Request, RoleRef, Rule
from countersign.domain.request import GroupResource
from countersign.domain.resources import ANYBODY, AgentIdentity, Becoming, Subject, SubjectKind
from countersign.domain.waysround import REMEDY, WHAT, Way
from tests.support.objects import KIRO, account, identity

ADMISSION, RBAC, CERTIFICATES, AUTHENTICATION = (
    "admissionregistration.k8s.io",
    "rbac.authorization.k8s.io",
    "certificates.k8s.io",
    "authentication.k8s.io",
)
TERMS = Terms("countersign")
HARDENED = replace(TERMS, profile=Profile.HARDENED)
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


def accounts(*names: str) -> Becoming:
    return Becoming(accounts=frozenset(names))


# --- whom it could become -------------------------------------------------------------------------

IMPERSONATE = rule("impersonate", "users groups serviceaccounts")
BECOMING: list[tuple[str, tuple[Rule, ...], str, set[Way], Becoming]] = [
    ("nothing", (rule("get list watch", "pods"),), "", set(), NOBODY),
    ("every user, group and account", (IMPERSONATE,), "", {Way.IMPERSONATE}, ANYBODY),
    ("every user, and so nobody's account", (rule("impersonate", "users"),), "", {Way.IMPERSONATE}, people("*")),
    ("one user", (rule("impersonate", "users", names="alice"),), "", {Way.IMPERSONATE}, people("alice")),
    ("users in a namespace, which there are none of", (rule("impersonate", "users"),), "shop", set(), NOBODY),
    ("accounts of a namespace", (rule("impersonate", "serviceaccounts"),), "shop", {Way.IMPERSONATE}, accounts("shop/*")),
    ("one account of a namespace", (rule("impersonate", "serviceaccounts", names="ci"),), "shop", {Way.IMPERSONATE}, accounts("shop/ci")),
    ("an account's name in every namespace", (rule("impersonate", "serviceaccounts", names="ci"),), "", {Way.IMPERSONATE}, accounts("*/*")),
    ("groups alone are nobody", (rule("impersonate", "groups"),), "", set(), NOBODY),
    ("extras and uids alone are nobody", (rule("impersonate", "userextras/scopes uids", AUTHENTICATION),), "", set(), NOBODY),
    ("any group besides, and so system:masters", (rule("impersonate", "users", names="x"), rule("impersonate", "groups")), "", {Way.IMPERSONATE}, ANYBODY),
    ("system:masters besides", (rule("impersonate", "users", names="x"), rule("impersonate", "groups", names="system:masters")), "", {Way.IMPERSONATE}, ANYBODY),
    ("a weak group besides", (rule("impersonate", "users", names="x"), rule("impersonate", "groups", names="dev")), "", {Way.IMPERSONATE}, people("x")),
    ("impersonate in another API group", (rule("impersonate", "users", AUTHENTICATION),), "", set(), NOBODY),
    ("constrained: whom and what as", (rule("impersonate:user-info", "users", AUTHENTICATION), rule("impersonate-on:user-info:delete", "namespaces")), "", {Way.IMPERSONATE}, people("*")),
    ("constrained: whom, and nothing as", (rule("impersonate:user-info", "users", AUTHENTICATION),), "", set(), NOBODY),
    ("constrained: nobody, but what as", (rule("impersonate-on:user-info:delete", "namespaces"),), "", set(), NOBODY),
    ("constrained: the other mode's what as", (rule("impersonate:user-info", "users", AUTHENTICATION), rule("impersonate-on:serviceaccount:delete", "namespaces")), "", set(), NOBODY),
    ("constrained: accounts", (rule("impersonate:serviceaccount", "serviceaccounts", AUTHENTICATION), rule("impersonate-on:serviceaccount:list", "pods")), "shop", {Way.IMPERSONATE}, accounts("shop/*")),
    ("constrained: a node, and its pods' accounts", (rule("impersonate:arbitrary-node", "nodes", AUTHENTICATION, "n1"), rule("impersonate-on:arbitrary-node:get", "pods")), "", {Way.IMPERSONATE}, Becoming(frozenset({"system:node:n1"}), frozenset({"*/*"}))),
    ("a verb of impersonation that nobody knows yet", (rule("impersonate:everything", "users", AUTHENTICATION),), "", {Way.IMPERSONATE}, ANYBODY),
    ("tokens of a namespace", (rule("create", "serviceaccounts/token"),), "shop", {Way.TOKENS}, accounts("shop/*")),
    ("the token of one account", (rule("create", "serviceaccounts/token", names="ci"),), "shop", {Way.TOKENS}, accounts("shop/ci")),
    ("*/token is tokens", (rule("create", "*/token"),), "shop", {Way.TOKENS}, accounts("shop/*")),
    ("serviceaccounts are no tokens", (rule("create", "serviceaccounts"),), "shop", set(), NOBODY),
    ("tokens in our own namespace, which a policy refuses", (rule("create", "serviceaccounts/token"),), "countersign", set(), NOBODY),
    ("its own token", (rule("create", "serviceaccounts/token", names="kiro"),), "agents", set(), NOBODY),
    ("to ask for certificates", (rule("create", "certificatesigningrequests", CERTIFICATES),), "", set(), NOBODY),
    ("to ask for and approve them", (rule("create", "certificatesigningrequests", CERTIFICATES), rule("update", "certificatesigningrequests/approval", CERTIFICATES), rule("approve", "signers", CERTIFICATES)), "", {Way.CERTIFICATES}, ANYBODY),
    ("to approve those of a serving signer", (rule("create", "certificatesigningrequests", CERTIFICATES), rule("update", "certificatesigningrequests/approval", CERTIFICATES), rule("approve", "signers", CERTIFICATES, "kubernetes.io/kubelet-serving")), "", set(), NOBODY),
    ("to approve nodes' certificates", (rule("create", "certificatesigningrequests", CERTIFICATES), rule("patch", "certificatesigningrequests/approval", CERTIFICATES), rule("approve", "signers", CERTIFICATES, "kubernetes.io/kube-apiserver-client-kubelet")), "", {Way.CERTIFICATES}, Becoming(frozenset({"*"}), frozenset({"*/*"}))),
    ("a node's certificate that approves itself", (rule("create", "certificatesigningrequests certificatesigningrequests/nodeclient", CERTIFICATES),), "", {Way.NODES}, ANYBODY),
    ("the kubelets", (rule("get", "nodes/proxy"),), "", {Way.KUBELETS}, accounts("*/*")),
    ("nodes without their proxy", (rule("* get", "nodes nodes/status"),), "", set(), NOBODY),
    ("escalate", (rule("escalate update", "clusterroles", RBAC),), "", {Way.RIGHTS, Way.GRANTS}, ANYBODY),
    ("escalate, and no role to write", (rule("escalate", "clusterroles", RBAC),), "", set(), NOBODY),
    ("bind", (rule("bind", "clusterroles", RBAC), rule("create", "rolebindings", RBAC)), "", {Way.RIGHTS, Way.GRANTS}, ANYBODY),
    ("bind in a namespace", (rule("bind", "clusterroles", RBAC), rule("create", "rolebindings", RBAC)), "shop", {Way.RIGHTS, Way.GRANTS}, accounts("shop/*")),
    ("escalate ClusterRoles in a namespace, where there are none", (rule("escalate update", "clusterroles", RBAC),), "shop", set(), NOBODY),
    ("escalate in a namespace", (rule("escalate update", "roles", RBAC),), "shop", {Way.RIGHTS, Way.GRANTS}, accounts("shop/*")),
    ("bind, and no binding to write", (rule("bind", "clusterroles", RBAC),), "", set(), NOBODY),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "within", "found", "becoming"), [pytest.param(*row[1:], id=row[0]) for row in BECOMING])
def test_whom_it_could_become(rules: tuple[Rule, ...], within: str, found: set[Way], becoming: Becoming) -> None:
    posture = of(*rules, within=within)
    assert ways(posture) == found
    assert posture.becoming == becoming
    assert posture.held is (not any(way.direct for way in found))


def test_a_role_that_may_be_bound_by_name_is_worth_what_it_holds() -> None:
    def posture(held: Rule) -> Posture:
        rbac = Rbac(
            {
                RoleRef("", "r"): (rule("bind", "clusterroles", RBAC, "named"), rule("create", "clusterrolebindings", RBAC)),
                RoleRef("", "named"): (held,),
            },
            [Binding("", "b", RoleRef("", "r"), users=(KIRO,))],
        )
        return assess(identity(), rbac, TERMS)

    assert posture(rule("get list", "pods")).held
    for strong in (IMPERSONATE, rule("create", "serviceaccounts/token"), rule("*", "pods"), rule("get", "*"), rule("bind", "roles", RBAC)):
        assert Way.RIGHTS in ways(posture(strong)), strong


def test_one_who_is_become_may_become_others() -> None:
    """kiro → a token of shop/ci → impersonates alice; who nobody could become stays out of it."""
    more = {"system:serviceaccount:shop:ci": rule("impersonate", "users", names="alice"), "bob": IMPERSONATE}
    rbac = rights(rule("create", "serviceaccounts/token", names="ci"), within="shop", more=more)
    posture = assess(identity(), rbac, TERMS)
    assert posture.becoming == Becoming(frozenset({"alice"}), frozenset({"shop/ci"}))


def test_the_groups_of_who_is_become_count() -> None:
    roles = {RoleRef("", "mint"): (rule("create", "serviceaccounts/token"),), RoleRef("", "all"): (IMPERSONATE,)}
    bindings = [
        Binding("shop", "b", RoleRef("", "mint"), users=(KIRO,)),
        Binding("", "c", RoleRef("", "all"), groups=("system:serviceaccounts:shop",)),
    ]
    assert assess(identity(), Rbac(roles, bindings), TERMS).becoming == ANYBODY


def test_nobody_is_become_from_nobody() -> None:
    assert closure(NOBODY, frozenset(), rights(IMPERSONATE, to="bob")) == NOBODY


# --- other ways -----------------------------------------------------------------------------------

OTHERS: list[tuple[str, Rule, str, set[Way]]] = [
    ("policies of ours", rule("patch", "validatingadmissionpolicies", ADMISSION, "countersign-guards"), "", {Way.POLICIES}),
    ("policies of others", rule("patch", "validatingadmissionpolicies", ADMISSION, "pods"), "", set()),
    ("every policy", rule("delete", "validatingadmissionpolicybindings", ADMISSION), "", {Way.POLICIES}),
    ("deletecollection of policies", rule("deletecollection", "validatingadmissionpolicies", ADMISSION), "", {Way.POLICIES}),
    ("a mutating policy, whoever's", rule("update", "mutatingadmissionpolicies", ADMISSION, "labels"), "", {Way.POLICIES}),
    ("to read policies", rule("get list watch", "validatingadmissionpolicies mutatingadmissionpolicies", ADMISSION), "", set()),
    ("policies by a RoleBinding, which holds for nothing of the cluster", rule("*", "validatingadmissionpolicies", ADMISSION), "shop", set()),
    ("webhooks", rule("create", "mutatingwebhookconfigurations", ADMISSION), "", {Way.WEBHOOKS}),
    ("unread objects", rule("unsafe-delete-ignore-read-errors", "namespaces"), "", {Way.UNREAD}),
    ("unread objects that are not guarded", rule("unsafe-delete-ignore-read-errors", "configmaps"), "", set()),
    ("Secrets of a namespace", rule("get", "secrets"), "shop", {Way.SECRETS}),
    ("Secrets of ours", rule("list", "secrets"), "countersign", {Way.OUR_SECRETS}),
    ("Secrets everywhere", rule("watch", "secrets"), "", {Way.SECRETS, Way.OUR_SECRETS}),
    ("to write Secrets", rule("create", "secrets"), "shop", set()),
    ("pods", rule("create", "pods"), "shop", {Way.WORKLOADS}),
    ("pods in our namespace, which a policy refuses", rule("create", "pods"), "countersign", set()),
    ("deployments", rule("patch", "deployments", "apps"), "shop", {Way.WORKLOADS}),
    ("cron jobs", rule("update", "cronjobs", "batch"), "shop", {Way.WORKLOADS}),
    ("a shell", rule("create", "pods/exec"), "shop", {Way.PODS}),
    ("a debugging container", rule("patch", "pods/ephemeralcontainers"), "shop", {Way.PODS}),
    ("bindings", rule("create", "rolebindings", RBAC), "shop", {Way.GRANTS}),
    ("StatefulSets", rule("delete", "statefulsets", "apps"), "shop", {Way.EMPTYING}),
    ("a Deployment", rule("delete", "deployments", "apps"), "shop", set()),
    ("all Deployments", rule("deletecollection", "deployments", "apps"), "shop", {Way.EMPTYING}),
    ("scale", rule("patch", "deployments/scale", "apps"), "shop", {Way.EMPTYING}),
    ("volumes", rule("patch", "persistentvolumes"), "", {Way.RECLAIM}),
    ("definitions", rule("update", "customresourcedefinitions", "apiextensions.k8s.io"), "", {Way.DEFINITIONS}),
    ("queues, which a policy refuses", rule("create", "flowschemas", "flowcontrol.apiserver.k8s.io"), "", set()),
]  # fmt: skip


@pytest.mark.parametrize(("one", "within", "found"), [pytest.param(*row[1:], id=row[0]) for row in OTHERS])
def test_other_ways(one: Rule, within: str, found: set[Way]) -> None:
    posture = of(one, within=within)
    assert ways(posture) == found
    assert posture.becoming == NOBODY


def test_a_cluster_admin_has_every_way() -> None:
    everything = Rule(frozenset({"*"}), frozenset({"*"}), frozenset({"*"}))
    posture = of(everything)
    assert ways(posture) == set(Way) - {Way.ANONYMOUS, Way.FLOWS}
    assert (posture.worst and posture.worst.way, posture.becoming) == (Way.IMPERSONATE, ANYBODY)
    assert [opening.way for opening in posture.openings] == [way for way in Way if way is not Way.ANONYMOUS], "the worst first"


def test_what_anybody_may_is_every_agents() -> None:
    for one in (rule("delete", "namespaces"), IMPERSONATE, rule("update", "validatingadmissionpolicies", ADMISSION)):
        posture = assess(identity(), rights(one, to="system:anonymous"), TERMS)
        assert ways(posture) == {Way.ANONYMOUS}
        assert not posture.held
    assert assess(identity(), rights(rule("get", "pods"), to="", groups=("system:unauthenticated",)), TERMS).held


def test_a_namespace_that_is_all_its_own() -> None:
    who = identity("kiro", account("agents", "*"))
    rules = (rule("create", "serviceaccounts/token pods pods/exec"), rule("get", "secrets"), rule("impersonate", "serviceaccounts"))
    assert ways(of(*rules, within="agents", who=who)) == set()
    assert ways(of(*rules, within="agents")) == {Way.TOKENS, Way.WORKLOADS, Way.PODS, Way.SECRETS, Way.IMPERSONATE}
    assert ways(of(*rules, within="shop", who=who)) == {Way.TOKENS, Way.WORKLOADS, Way.PODS, Way.SECRETS, Way.IMPERSONATE}


# --- who the agent is -----------------------------------------------------------------------------

MINT = rule("create", "serviceaccounts/token")
WHO: list[tuple[str, Subject, Rbac, bool]] = [
    ("its account", account("agents", "kiro"), rights(MINT), True),
    ("its account named as a user is the same", account("agents", "kiro"), rights(MINT, to="system:serviceaccount:agents:kiro"), True),
    ("another account", account("agents", "lint"), rights(MINT), False),
    ("all accounts of its namespace", account("agents", "lint"), rights(MINT, to="", groups=("system:serviceaccounts:agents",)), True),
    ("all accounts", account("agents", "lint"), rights(MINT, to="", groups=("system:serviceaccounts",)), True),
    ("everybody with a login", account("agents", "lint"), rights(MINT, to="", groups=("system:authenticated",)), True),
    ("all accounts of another namespace", account("agents", "lint"), rights(MINT, to="", groups=("system:serviceaccounts:shop",)), False),
    ("one of a whole namespace", account("agents", "*"), rights(MINT), True),
    ("a user", Subject(SubjectKind.USER, "kiro"), rights(MINT, to="kiro"), True),
    ("a glob that fits a bound user", Subject(SubjectKind.USER, "arn:*/kiro/*"), rights(MINT, to="arn:x/kiro/1"), True),
    ("a glob that does not", Subject(SubjectKind.USER, "arn:*/kiro/*"), rights(MINT, to="arn:x/lint/1"), False),
    ("a group", Subject(SubjectKind.GROUP, "ai"), rights(MINT, to="", groups=("ai",)), True),
    ("a user's named group", Subject(SubjectKind.USER, "kiro", groups=("ai",)), rights(MINT, to="", groups=("ai",)), True),
    ("the accounts of a namespace, as a group", Subject(SubjectKind.GROUP, "system:serviceaccounts:agents"), rights(MINT), True),
]  # fmt: skip


@pytest.mark.parametrize(("subject", "rbac", "found"), [pytest.param(*row[1:], id=row[0]) for row in WHO])
def test_which_bindings_are_an_agents(subject: Subject, rbac: Rbac, found: bool) -> None:
    posture = assess(identity("x", subject), rbac, TERMS)
    assert (Way.TOKENS in ways(posture)) is found
    assert posture.groups_unknown is (subject.kind is not SubjectKind.SERVICE_ACCOUNT)


def test_of_whom_an_authorizer_is_asked() -> None:
    rbac = rights(MINT, to="arn:x/kiro/1")
    who = identity("x", account("agents", "kiro"), Subject(SubjectKind.USER, "arn:*/kiro/*"), Subject(SubjectKind.GROUP, "ai"))
    found = {user.username: user.groups for user in representatives(who, rbac)}
    assert found == {
        KIRO: {"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:agents"},
        "arn:x/kiro/1": {"system:authenticated"},
        "countersign-posture": {"ai", "system:authenticated"},
    }
    unknown = representatives(identity("x", Subject(SubjectKind.USER, "a*b", extra={"role": ("kiro-*",)}), account("ai", "*")), rbac)
    assert [(user.username, dict(user.extra)) for user in unknown] == [
        ("axb", {"role": ("kiro-x",)}),
        ("system:serviceaccount:ai:default", {}),
    ]


# --- what it could delete -------------------------------------------------------------------------


def test_what_it_could_delete() -> None:
    claims, namespaces = "persistentvolumeclaims", "namespaces"
    assert of(rule("delete", claims), within="shop").deletes == ((claims, "in shop"),)
    assert of(rule("deletecollection", claims)).deletes == ((claims, "everywhere"),)
    assert of(rule("delete", namespaces, names="a b c d")).deletes == ((namespaces, "for a, b, c and 1 more"),)
    assert of(rule("delete", namespaces), within="shop").deletes == ((namespaces, "for shop"),), "a right in it is one to it"
    assert of(rule("delete", "persistentvolumes"), within="shop").deletes == (), "it lies in no namespace"
    assert of(rule("deletecollection", namespaces)).deletes == (), "there is no such thing"
    apps = replace(TERMS, listed=frozenset({GroupResource("argoproj.io", "applications")}))
    assert of(rule("delete", "applications", "argoproj.io"), terms=apps).deletes == (("applications.argoproj.io", "everywhere"),)
    assert of(rule("delete", "applications", "argoproj.io")).deletes == ()


# --- what closes ways -----------------------------------------------------------------------------


def test_the_profile_hardened_closes_what_its_policies_refuse() -> None:
    everything = Rule(frozenset({"*"}), frozenset({"*"}), frozenset({"*"}))
    posture = of(everything, terms=HARDENED)
    assert ways(posture) == {
        Way.IMPERSONATE,
        Way.POLICIES,
        Way.RIGHTS,
        Way.KUBELETS,
        Way.WEBHOOKS,
        Way.UNREAD,
        Way.OUR_SECRETS,
        Way.SECRETS,
    }
    minting = of(MINT, terms=HARDENED)
    assert (minting.held, minting.becoming) == (True, NOBODY)
    assert [(opening.way, opening.closed_by) for opening in minting.openings] == [(Way.TOKENS, "the profile hardened")]


def test_the_jail_closes_writes_to_policies_for_whom_it_names() -> None:
    jailed = replace(TERMS, jailed=frozenset({"kiro"}))
    write = rule("update create", "validatingadmissionpolicies mutatingwebhookconfigurations", ADMISSION)
    assert of(write, terms=jailed).held
    assert not of(write, terms=replace(TERMS, jailed=frozenset({"lint"}))).held


def test_an_authorizer_closes_what_it_refuses() -> None:
    rbac = rights(IMPERSONATE)
    first = assess(identity(), rbac, TERMS)
    asked = questions(first)
    assert Request("impersonate", "", "groups") in asked
    refused = dict.fromkeys(asked, False)
    second = assess(identity(), rbac, TERMS, refused)
    assert (second.held, second.becoming) == (True, NOBODY)
    assert [opening.closed_by for opening in second.openings] == ["an authorizer"]
    one_left = refused | {Request("impersonate", "", "users"): True}
    assert not assess(identity(), rbac, TERMS, one_left).held
    unanswered = {request: answer for request, answer in refused.items() if request.resource != "users"}
    assert not assess(identity(), rbac, TERMS, unanswered).held, "what nobody has said is not refused"


def test_an_authorizer_that_allows_more_than_rbac() -> None:
    posture = assess(identity(), Rbac({}, []), TERMS, {request: way is Way.IMPERSONATE for way, request in PROBES})
    assert ways(posture) == {Way.IMPERSONATE}
    assert posture.becoming == ANYBODY
    assert "another authorizer than RBAC" in posture.openings[0].sentence


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


def _covers(wide: Becoming, narrow: Becoming) -> bool:
    probes = ["alice", "bob", "somebody", "system:node:n", "system:serviceaccount:shop:ci", "system:serviceaccount:agents:kiro"]
    return all(wide.covers(probe) for probe in [*probes, *(narrow.users - {"*"})] if narrow.covers(probe))


@settings(max_examples=150, deadline=None)
@given(st.lists(bindings(), max_size=4), bindings())
def test_another_binding_never_lessens_what_an_agent_could_do(
    some: list[tuple[Binding, tuple[Rule, ...]]], one: tuple[Binding, tuple[Rule, ...]]
) -> None:
    def posture(all_of: list[tuple[Binding, tuple[Rule, ...]]]) -> Posture:
        return assess(identity(), Rbac({each.role: rules for each, rules in all_of}, [each for each, _ in all_of]), TERMS)

    before, after = posture(some), posture([*some, one])
    assert ways(before) <= ways(after)
    assert {kind for kind, _ in before.deletes} <= {kind for kind, _ in after.deletes}
    assert _covers(after.becoming, before.becoming)
    assert before.held or not after.held


# --- what is said ---------------------------------------------------------------------------------


def test_every_way_has_its_words_and_its_remedy() -> None:
    assert set(WHAT) == set(REMEDY) == set(Way)


def test_a_way_names_what_gives_it_and_what_helps() -> None:
    posture = of(MINT, within="shop")
    assert posture.openings[0].sentence == (
        "CanMintTokens in shop: it may issue tokens of other ServiceAccounts; given by RoleBinding/b in shop (ClusterRole/r). "
        "Remedy: take create on serviceaccounts/token away, or name those accounts in the AgentIdentity."
    )


def findings(*postures: Posture, asked: bool = True) -> Findings:
    return Findings("prod-eu-1", Profile.STANDARD, asked, postures)


def test_the_report_says_who_is_not_held_and_why() -> None:
    text = as_markdown(findings(of(MINT, within="shop"), replace(of(rule("delete", "namespaces")), agent="lint")))
    assert "**NOT HELD: kiro** (1 of 2 agents)" in text
    assert "| kiro | **NO: CanMintTokens** | 0 kinds | shop/* | 1 |" in text
    assert "| lint | yes | 1 kinds | nobody | 0 |" in text
    assert "- Could delete, if a second human signs: namespaces everywhere" in text
    assert "Only RBAC was looked at" in as_markdown(findings(asked=False))
    assert "There is no AgentIdentity" in as_markdown(findings())


def test_the_report_is_no_table_of_an_agents_own_making() -> None:
    becoming = people("a|b\nc", "x")
    assert "a\\|b c, x" in as_markdown(findings(replace(of(), becoming=becoming)))


def test_the_report_for_machines() -> None:
    tree = as_json(findings(of(MINT, within="shop")))
    assert (tree["held"], tree["authorizersAsked"], tree["agents"][0]["reason"]) == (False, True, "CanMintTokens")
    way = tree["agents"][0]["waysRound"][0]
    assert (way["direct"], way["where"], way["by"], way["closedBy"]) == (True, "in shop", ["RoleBinding/b in shop (ClusterRole/r)"], "")
    assert tree["agents"][0]["couldBecome"] == {"users": [], "serviceAccounts": ["shop/*"]}
