"""What agents could do by their rights: whom they could become, which ways round are open, what closes them."""

import pytest

from countersign.domain.becoming import closure
from countersign.domain.posture import Posture, assess
from countersign.domain.rbac import Binding, Rbac, RoleRef, Rule
from countersign.domain.resources import ANYBODY, Becoming
from countersign.domain.waysround import Way
from tests.domain._rights import ADMISSION, AUTHENTICATION, CERTIFICATES, IMPERSONATE, NOBODY, RBAC, TERMS, of, people, rights, rule, ways
from tests.support.objects import KIRO, account, identity


def accounts(*names: str) -> Becoming:
    return Becoming(accounts=frozenset(names))


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
