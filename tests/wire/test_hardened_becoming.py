"""What the hardened profile's policies say to an agent that would become somebody stronger, and that they say nothing to anybody else."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from countersign.domain.names import GROUP, LABEL_AGENT
from countersign.domain.request import GroupResource
from countersign.wire.guards import guards
from countersign.wire.guards.powers import CHECKS_A_POLICY, MAX_POLICIES, checks, dealt, gravest, powers
from tests.support.admission import Ask
from tests.wire._hardened import (
    DEFAULT,
    IDENTITIES,
    SITE,
    ask,
    deployment,
    is_refused,
    passes,
    thing,
)

RBAC, CERTIFICATES = "rbac.authorization.k8s.io", "certificates.k8s.io"


class TestBecoming:
    def test_tokens_of_others(self) -> None:
        is_refused(ask("CREATE", "serviceaccounts/token", thing(), name="builder"), "tokens")
        is_refused(ask("CREATE", "serviceaccounts/token", thing(), name="kiro", place="shop"), "tokens")
        passes(ask("CREATE", "serviceaccounts/token", thing(), name="kiro", place="agents"))

    @pytest.mark.parametrize("kind", ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"])
    def test_token_secrets(self, kind: str) -> None:
        is_refused(ask("CREATE", "secrets", thing(type=kind)), "Secrets")
        is_refused(ask("UPDATE", "secrets", thing(type=kind), thing(type=kind)), "Secrets")
        passes(ask("CREATE", "secrets", thing(type="Opaque")))
        passes(ask("CREATE", "secrets", thing()))

    @pytest.mark.parametrize("signer", ["kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client-kubelet"])
    def test_certificates(self, signer: str) -> None:
        about = {"group": CERTIFICATES, "place": ""}
        is_refused(ask("CREATE", "certificatesigningrequests", thing(spec={"signerName": signer}), **about), "certificates")
        passes(ask("CREATE", "certificatesigningrequests", thing(spec={"signerName": "example.com/shop"}), **about))
        for part in ("approval", "status"):
            is_refused(ask("UPDATE", f"certificatesigningrequests/{part}", thing(spec={}), thing(spec={}), **about), "approve")

    @pytest.mark.parametrize("way", ["pods/exec", "pods/attach", "pods/portforward"])
    def test_entering_the_clusters_own_pods(self, way: str) -> None:
        is_refused(ask("CONNECT", way, {}, name="coredns-1", place="kube-system"), "kube-system")
        passes(ask("CONNECT", way, {}, name="web-1"))

    def test_a_nodes_kubelet(self) -> None:
        is_refused(ask("CONNECT", "nodes/proxy", {}, place=""), "kubelet")

    def test_who_is_who_in_the_cloud(self) -> None:
        is_refused(ask("UPDATE", "configmaps", thing("aws-auth"), thing("aws-auth"), place="kube-system"), "who somebody is")
        passes(ask("UPDATE", "configmaps", thing("aws-auth"), thing("aws-auth")))
        passes(ask("UPDATE", "configmaps", thing("coredns"), thing("coredns"), place="kube-system"))


HOSTILE: Mapping[str, dict[str, Any]] = {
    "hostPID": {"hostPID": True},
    "hostNetwork": {"hostNetwork": True},
    "hostIPC": {"hostIPC": True},
    "hostPath": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
    "privileged": {"containers": [{"name": "a", "securityContext": {"privileged": True}}]},
    "privileged before": {"initContainers": [{"name": "a", "securityContext": {"privileged": True}}]},
    "privileged beside": {"ephemeralContainers": [{"name": "a", "securityContext": {"privileged": True}}]},
    "capabilities": {"containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["CHOWN", "SYS_ADMIN"]}}}]},
    "unmasked": {"containers": [{"name": "a", "securityContext": {"procMount": "Unmasked"}}]},
    "windows": {"securityContext": {"windowsOptions": {"hostProcess": True}}},
}


class TestNodes:
    @pytest.mark.parametrize("pod", HOSTILE.values(), ids=HOSTILE)
    def test_pods_that_reach_into_their_node(self, pod: dict[str, Any]) -> None:
        is_refused(ask("CREATE", "pods", thing(spec={"containers": [], **pod})), "reach into the node")
        is_refused(ask("CREATE", "deployments", deployment(**pod), group="apps"), "reach into the node")
        scaled = ask("UPDATE", "deployments", deployment(1, **pod), deployment(2, **pod), group="apps")
        passes(scaled)

    def test_ordinary_ones_do_not(self) -> None:
        context = {"privileged": False, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}
        volumes = [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c"}}]
        passes(ask("CREATE", "pods", thing(spec={"containers": [{"name": "a", "securityContext": context}], "volumes": volumes})))


STRONG = {
    "deletes claims": ("", "persistentvolumeclaims", "delete"),
    "deletes namespaces": ("", "namespaces", "delete"),
    "impersonates": ("", "users", "impersonate"),
    "runs pods": ("", "pods", "create"),
    "makes tokens": ("", "serviceaccounts/token", "create"),
    "binds": (RBAC, "clusterroles", "bind"),
    "weakens": (GROUP, "protectedenvironments", "patch"),
    "registers": (GROUP, "reviewers", "create"),
    "mutates": ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "update"),
    "cannot be told": ("", "secrets", "?"),
}


CARRIERS: Mapping[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "pods": ("", lambda pod: thing(spec=pod)),
    "podtemplates": ("", lambda pod: thing(template={"spec": pod})),
    "replicationcontrollers": ("", lambda pod: thing(spec={"template": {"spec": pod}})),
    "deployments": ("apps", lambda pod: thing(spec={"template": {"spec": pod}})),
    "statefulsets": ("apps", lambda pod: thing(spec={"template": {"spec": pod}})),
    "daemonsets": ("apps", lambda pod: thing(spec={"template": {"spec": pod}})),
    "replicasets": ("apps", lambda pod: thing(spec={"template": {"spec": pod}})),
    "jobs": ("batch", lambda pod: thing(spec={"template": {"spec": pod}})),
    "cronjobs": ("batch", lambda pod: thing(spec={"jobTemplate": {"spec": {"template": {"spec": pod}}}})),
    "taskruns": ("tekton.dev", lambda pod: thing(spec={"serviceAccountName": pod["serviceAccountName"]})),
    "rollouts": ("argoproj.io", lambda pod: thing(spec={"template": {"spec": pod}})),
}


class TestAccounts:
    @pytest.mark.parametrize("right", STRONG.values(), ids=STRONG)
    def test_a_stronger_account_runs_nothing_of_an_agents(self, right: tuple[str, str, str]) -> None:
        asked = ask("CREATE", "deployments", deployment(serviceAccountName="strong"), group="apps", rights=frozenset({right}))
        is_refused(asked, "ServiceAccount")
        default = ask("CREATE", "deployments", deployment(), group="apps", rights=frozenset({right}))
        is_refused(default, "ServiceAccount")

    @pytest.mark.parametrize("resource", CARRIERS)
    def test_whatever_carries_the_pod(self, resource: str) -> None:
        group, carrier = CARRIERS[resource]
        body = carrier({"serviceAccountName": "strong", "containers": []})
        rights = frozenset({STRONG["deletes claims"]})
        is_refused(ask("CREATE", resource, body, group=group, rights=rights), "ServiceAccount")
        passes(ask("CREATE", resource, body, group=group, rights=frozenset({("", "configmaps", "delete")})))
        passes(ask("UPDATE", resource, {**body, "metadata": {"name": "x", "labels": {"a": "b"}}}, body, group=group, rights=rights))

    def test_what_runs_already_may_be_scaled_and_restarted_but_not_rewritten(self) -> None:
        rights = frozenset({STRONG["deletes claims"]})
        before = deployment(3, serviceAccountName="strong")
        passes(ask("UPDATE", "deployments", deployment(1, serviceAccountName="strong"), before, group="apps", rights=rights))
        other = deployment(3, serviceAccountName="strong", containers=[{"name": "a", "image": "evil"}])
        is_refused(ask("UPDATE", "deployments", other, before, group="apps", rights=rights), "ServiceAccount")

    def test_a_container_put_into_a_running_pod(self) -> None:
        before = thing(spec={"serviceAccountName": "strong", "containers": []})
        after = thing(spec={**before["spec"], "ephemeralContainers": [{"name": "debug", "image": "x"}]})
        is_refused(ask("UPDATE", "pods/ephemeralcontainers", after, before, rights=frozenset({STRONG["deletes claims"]})), "ServiceAccount")

    @pytest.mark.parametrize(("place", "account"), [("agents", "kiro"), ("robots", "anyone")])
    def test_an_agents_own_account_may_hold_what_it_holds(self, place: str, account: str) -> None:
        body = deployment(serviceAccountName=account)
        passes(ask("CREATE", "deployments", body, group="apps", place=place, rights=frozenset(STRONG.values())))

    def test_entering_a_pod_of_a_stronger_account(self) -> None:
        pods = [thing(name, {"serviceAccountName": account}) for name, account in (("web", "strong"), ("other", "weak"))]
        entering = ask("CONNECT", "pods/exec", {}, name="web", rights=frozenset({STRONG["deletes claims"]}), params={"Pod": pods})
        is_refused(entering, "enter")
        passes(replace(entering, name="absent"))
        passes(replace(entering, rights=frozenset()))

    def test_the_questions_fit_the_api_servers_budget(self) -> None:
        hands = dealt(checks(powers(())))
        assert all(len(hand) <= CHECKS_A_POLICY and len(hand) * 350_000 < 10_000_000 for hand in hands)
        assert sum(map(len, hands)) == len(checks(powers(())))
        assert len(gravest(powers(()))) == CHECKS_A_POLICY
        many = [GroupResource("example.com", f"kind{number}s") for number in range(40)]
        assert sum(map(len, dealt(checks(powers(many))))) == len(checks(powers(many)))
        most = checks(powers([GroupResource("x", f"{number:03}") for number in range(500)]))
        assert sum(map(len, dealt(most))) == len(most)
        assert len(dealt(most)) == MAX_POLICIES


def rule(group: str, resource: str, *verbs: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}


ORDINARY = [
    rule("", "configmaps", "get", "list", "watch", "update"),
    rule("coordination.k8s.io", "leases", "*"),
    rule("", "events", "create"),
]


DANGEROUS = {
    "all": rule("*", "*", "*"),
    "all of core": rule("", "*", "delete"),
    "claims": rule("", "persistentvolumeclaims", "get", "delete"),
    "every token": rule("", "*/token", "create"),
    "tokens": rule("", "serviceaccounts/token", "create"),
    "bind": rule(RBAC, "roles", "bind"),
    "escalate": rule("*", "clusterroles", "escalate"),
    "a new way to impersonate": rule(RBAC, "anything", "impersonate-on:user-info:delete"),
    "pods": rule("", "pods", "create"),
    "named": {**rule("", "namespaces", "delete"), "resourceNames": ["shop"]},
}


def role(*rules: dict[str, Any], name: str = "r", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "rules": list(rules)}


def binding(kind: str, name: str, *subjects: dict[str, str], marked: bool = True) -> dict[str, Any]:
    labels = {LABEL_AGENT: "kiro"} if marked else {}
    return {"metadata": {"name": "b", "labels": labels}, "roleRef": {"kind": kind, "name": name}, "subjects": list(subjects)}


APP = {"kind": "ServiceAccount", "name": "app", "namespace": "shop"}
KIROS = {"kind": "ServiceAccount", "name": "kiro", "namespace": "agents"}
EVERYBODY = {"kind": "Group", "name": "system:authenticated"}
ROLES = {"Role": [role(*ORDINARY, name="weak"), role(DANGEROUS["claims"], name="strong"), {"metadata": {"name": "none"}, "rules": None}]}


class TestRights:
    @pytest.mark.parametrize("resource", ["roles", "clusterroles"])
    @pytest.mark.parametrize("given", DANGEROUS.values(), ids=DANGEROUS)
    def test_roles_that_give_too_much(self, resource: str, given: dict[str, Any]) -> None:
        is_refused(ask("CREATE", resource, role(*ORDINARY, given), group=RBAC), "rights")
        is_refused(ask("UPDATE", resource, role(given), role(*ORDINARY), group=RBAC), "rights")
        is_refused(ask("UPDATE", resource, role(given, labels={"gather": "me"}), role(given), group=RBAC), "rights")
        passes(ask("UPDATE", resource, role(given, annotations={"a": "b"}), role(given), group=RBAC))

    @pytest.mark.parametrize("rules", [ORDINARY, []])
    def test_ordinary_roles(self, rules: list[dict[str, Any]]) -> None:
        passes(ask("CREATE", "roles", role(*rules), group=RBAC))
        passes(ask("CREATE", "roles", {"metadata": {"name": "r"}, "rules": None}, group=RBAC))

    def test_gathering(self) -> None:
        label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
        is_refused(ask("CREATE", "clusterroles", role(*ORDINARY, labels=label), group=RBAC, place=""), "gather")
        passes(ask("UPDATE", "clusterroles", role(*ORDINARY, labels=label), role(labels=label), group=RBAC, place=""))
        gathering = {**role(), "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}
        is_refused(ask("CREATE", "clusterroles", gathering, group=RBAC, place=""), "gather")

    def test_binding_a_role(self) -> None:
        def bound(name: str, *subjects: dict[str, str], old: Any = None) -> Ask:
            return ask("UPDATE" if old else "CREATE", "rolebindings", binding("Role", name, *subjects), old, group=RBAC, params=ROLES)

        for subject in (APP, EVERYBODY, {"kind": "User", "name": "mallory"}):
            is_refused(bound("strong", subject), "rights")
            passes(bound("weak", subject))
        is_refused(bound("strong", KIROS, APP), "rights")
        is_refused(bound("strong", KIROS, APP, old=binding("Role", "strong", KIROS)), "rights")
        passes(bound("strong", KIROS))
        passes(bound("strong", {"kind": "Group", "name": "ai-agents"}))
        passes(bound("strong", APP, old=binding("Role", "strong", APP)))
        passes(bound("none", APP))
        passes(bound("strong"))

    @pytest.mark.parametrize("resource", ["rolebindings", "clusterrolebindings"])
    def test_binding_a_cluster_role(self, resource: str) -> None:
        params = {"ClusterRole": ROLES["Role"]}
        is_refused(ask("CREATE", resource, binding("ClusterRole", "strong", APP), group=RBAC, params=params), "rights")
        passes(ask("CREATE", resource, binding("ClusterRole", "weak", APP), group=RBAC, params=params))
        for name in ("cluster-admin", "admin", "edit", "system:controller:namespace-controller"):
            is_refused(ask("CREATE", resource, binding("ClusterRole", name, APP), group=RBAC), "rights")
        for name in ("view", "system:auth-delegator"):
            passes(ask("CREATE", resource, binding("ClusterRole", name, APP), group=RBAC))

    def test_a_binding_whose_role_could_not_be_looked_at(self) -> None:
        """Below Kubernetes 1.36 nothing marks agents' writes, and all bindings are looked at."""
        is_refused(ask("CREATE", "rolebindings", binding("Role", "weak", APP, marked=False), group=RBAC, params=ROLES), "once more")
        older = guards(replace(SITE, mutating=False), IDENTITIES, (DEFAULT,))
        unmarked = ask("CREATE", "rolebindings", binding("Role", "strong", APP, marked=False), group=RBAC, params=ROLES)
        is_refused(unmarked, "rights", built=older)
        passes(replace(unmarked, object=binding("Role", "weak", APP, marked=False)), built=older)
