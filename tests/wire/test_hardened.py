"""What the hardened profile's policies say to an agent, and that they say nothing to anybody else; by the simulation of tests/support/admission.py.

tests/jailbreak and tests/e2e/test_ordinary_work.py hold the same policies against a real API server.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from countersign.domain.names import GROUP, LABEL_AGENT
from countersign.domain.profile import Profile
from countersign.domain.request import GroupResource
from countersign.domain.resources import AgentIdentity, Meta, Mode, ProtectedEnvironment, ProtectFrom, Selector, Subject, SubjectKind
from countersign.wire.guards import Guard, Site, guards
from countersign.wire.guards.objects import quarter
from countersign.wire.guards.powers import CHECKS_A_POLICY, MAX_POLICIES, checks, dealt, gravest, powers
from tests.support.admission import Ask, reached, refusals

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SITE = Site("uid-of-the-role", "countersign", "", b"PEM", mutating=True, profile=Profile.HARDENED, now=NOW)
KIRO, ALICE, DEPLOYER = "system:serviceaccount:agents:kiro", "alice@example.com", "system:serviceaccount:ci:deployer"
GARDENER = "system:serviceaccount:kube-system:deployment-controller"
IDENTITIES = (
    AgentIdentity(Meta("kiro"), (Subject(SubjectKind.SERVICE_ACCOUNT, "kiro", "agents"),), ("alice",)),
    AgentIdentity(Meta("robots"), (Subject(SubjectKind.SERVICE_ACCOUNT, "*", "robots"), Subject(SubjectKind.GROUP, "ai-agents")), ("bob",)),
)
DEFAULT = ProtectedEnvironment(Meta("default"), ProtectFrom.AGENTS, exclude=("kube-system",), own_work=timedelta(hours=24))
ALL = guards(SITE, IDENTITIES, (DEFAULT,))
STANDARD = guards(replace(SITE, profile=Profile.STANDARD), IDENTITIES, (DEFAULT,))
RBAC, CERTIFICATES = "rbac.authorization.k8s.io", "certificates.k8s.io"
OTHERS = (ALICE, DEPLOYER, GARDENER)


def thing(name: str = "x", spec: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **({"spec": dict(spec)} if spec is not None else {}), **more}


def ask(operation: str, resource: str, new: Any = None, old: Any = None, *, user: str = KIRO, place: str = "shop", **more: Any) -> Ask:
    name = more.pop("name", "x")
    return Ask(user, operation, resource, object=new, old=old, namespace=place, name=name, **more)


def is_refused(asked: Ask, *words: str, built: tuple[Guard, ...] = ALL) -> None:
    """To the agent with these words, by nothing of the standard profile; to nobody else."""
    said = refusals(built, asked)
    assert said, asked
    assert all(word in " ".join(said) for word in words), said
    assert "ERROR" not in " ".join(said), said
    assert refusals(STANDARD, asked) == []
    for user in OTHERS:
        assert refusals(built, replace(asked, user=user)) == []


def passes(asked: Ask, *, built: tuple[Guard, ...] = ALL) -> None:
    assert refusals(built, asked) == []


def deployment(replicas: int | None = 3, **pod: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"template": {"spec": {"containers": [{"name": "a", "image": "b"}], **pod}}}
    return thing(spec=spec | ({"replicas": replicas} if replicas is not None else {}))


def test_nothing_of_it_is_there_unless_chosen() -> None:
    assert not [guard.name for guard in STANDARD if "hardened" in guard.name]
    assert [guard.name for guard in ALL if "hardened" in guard.name]


def test_without_agents_or_an_environment_that_enforces_nothing_is_emptied_by_anybody() -> None:
    assert not [guard.name for guard in guards(SITE, (), (DEFAULT,)) if "hardened" in guard.name]
    audited = guards(SITE, IDENTITIES, (replace(DEFAULT, mode=Mode.AUDIT),))
    assert not [guard.name for guard in audited if "emptying" in guard.name]


class TestEmptying:
    @pytest.mark.parametrize(
        ("group", "resource"),
        [("", "pods"), ("", "configmaps"), ("apps", "deployments"), ("batch", "jobs"), ("example.com", "things"), ("", "secrets")],
    )
    def test_whole_collections(self, group: str, resource: str) -> None:
        is_refused(ask("DELETE", resource, old=thing(), group=group, name=""), "deletecollection", "by its name")
        passes(ask("DELETE", resource, old=thing(), group=group))

    @pytest.mark.parametrize(("group", "resource"), [("", "persistentvolumeclaims"), ("apps", "statefulsets")])
    def test_collections_that_are_signed_for_one_by_one(self, group: str, resource: str) -> None:
        passes(ask("DELETE", resource, old=thing(spec={}), group=group, name=""))

    def test_a_listed_kind_is_signed_for_too(self) -> None:
        built = guards(SITE, IDENTITIES, (replace(DEFAULT, resources=(GroupResource("example.com", "things"),)),))
        passes(ask("DELETE", "things", old=thing(), group="example.com", name=""), built=built)
        is_refused(ask("DELETE", "others", old=thing(), group="example.com", name=""), built=built)

    @pytest.mark.parametrize(
        ("group", "resource"), [("apps", "deployments"), ("apps", "replicasets"), ("", "replicationcontrollers"), ("x.io", "rollouts")]
    )
    def test_to_zero_in_the_object(self, group: str, resource: str) -> None:
        is_refused(ask("UPDATE", resource, deployment(0), deployment(3), group=group), "scale nothing to zero")
        for before, after in ((3, 1), (1, 5), (0, 0), (0, 2)):
            passes(ask("UPDATE", resource, deployment(after), deployment(before), group=group))

    def test_to_zero_by_the_subresource_where_zero_is_left_out(self) -> None:
        for gone in ({}, {"replicas": 0}):
            is_refused(ask("UPDATE", "statefulsets/scale", thing(spec=gone), thing(spec={"replicas": 2}), group="apps"), "scale nothing")
        passes(ask("UPDATE", "statefulsets/scale", thing(spec={"replicas": 1}), thing(spec={"replicas": 2}), group="apps"))
        passes(ask("UPDATE", "statefulsets/scale", thing(spec={}), thing(spec={}), group="apps"))

    @pytest.mark.parametrize("tree", [thing(), thing(spec={"replicas": "three"}), {**thing(), "spec": "text"}, {**thing(), "spec": None}])
    def test_kinds_that_mean_something_else_by_it_pass(self, tree: dict[str, Any]) -> None:
        passes(ask("UPDATE", "things", tree, tree, group="example.com"))

    def test_an_autoscaler_down_to_nothing(self) -> None:
        is_refused(ask("CREATE", "horizontalpodautoscalers", thing(spec={"minReplicas": 0}), group="autoscaling"), "zero")
        passes(ask("CREATE", "horizontalpodautoscalers", thing(spec={"minReplicas": 1}), group="autoscaling"))
        passes(ask("CREATE", "horizontalpodautoscalers", thing(spec={}), group="autoscaling"))

    def test_a_stateful_set_that_takes_its_claims_along(self) -> None:
        def made(**policy: str) -> dict[str, Any]:
            body = deployment(1)
            return {**body, "spec": {**body["spec"], "persistentVolumeClaimRetentionPolicy": policy}}

        for when in ("whenDeleted", "whenScaled"):
            is_refused(ask("CREATE", "statefulsets", made(**{when: "Delete"}), group="apps"), "Retain")
            passes(ask("UPDATE", "statefulsets", made(**{when: "Delete"}), made(**{when: "Delete"}), group="apps"))
            fresh = ask("CREATE", "statefulsets", made(**{when: "Delete"}), group="apps", creator=KIRO, born="2026-11-22T11:00:00Z")
            is_refused(fresh, "Retain")  # claims are nobody's own work
        passes(ask("CREATE", "statefulsets", made(whenDeleted="Retain"), group="apps"))

    def test_where_no_environment_holds_it_passes(self) -> None:
        passes(ask("UPDATE", "deployments", deployment(0), deployment(3), group="apps", place="kube-system"))

    def test_own_work_may_be_emptied_while_it_is_fresh(self) -> None:
        zero = ask("UPDATE", "deployments", deployment(0), deployment(3), group="apps", creator=KIRO, born="2026-11-21T12:00:00Z")
        passes(zero)
        is_refused(replace(zero, born="2026-11-21T11:59:59Z"), "zero")
        is_refused(replace(zero, creator=ALICE), "zero")
        older = guards(replace(SITE, mutating=False), IDENTITIES, (DEFAULT,))
        is_refused(zero, "zero", built=older)
        never = guards(SITE, IDENTITIES, (replace(DEFAULT, own_work=None),))
        is_refused(zero, "zero", built=never)

    def test_own_work_in_one_environment_is_held_by_another(self) -> None:
        strict = ProtectedEnvironment(Meta("strict"), ProtectFrom.AGENTS)
        zero = ask("UPDATE", "deployments", deployment(0), deployment(3), group="apps", creator=KIRO, born="2026-11-22T11:00:00Z")
        is_refused(zero, "zero", built=guards(SITE, IDENTITIES, (DEFAULT, strict)))

    def test_very_many_environments_make_it_wider_never_narrower(self) -> None:
        many = [
            ProtectedEnvironment(Meta(f"e{number}"), ProtectFrom.AGENTS, Selector({"team": f"t{number}"}), own_work=timedelta(hours=hours))
            for number, hours in enumerate([2, *[24] * 200])
        ]
        built = guards(SITE, IDENTITIES, many)
        policy = next(guard for guard in built if guard.name == "countersign-hardened-emptying")
        assert max(len(each["expression"]) for each in policy.body["spec"]["variables"]) < 16_000
        zero = ask("UPDATE", "deployments", deployment(0), deployment(3), group="apps", creator=KIRO, born="2026-11-22T10:00:00Z")
        passes(zero, built=built)
        is_refused(replace(zero, born="2026-11-22T09:59:59Z"), "zero", built=built)
        never = guards(SITE, IDENTITIES, [*many, replace(DEFAULT, own_work=None)])
        is_refused(zero, "zero", built=never)

    def test_the_time_is_written_anew_each_quarter_of_an_hour(self) -> None:
        assert quarter(NOW.replace(minute=29, second=59, microsecond=3)) == NOW.replace(minute=15)
        assert quarter(NOW) == NOW

    def test_a_stateful_sets_deletion_reaches_the_webhook_for_agents_alone(self) -> None:
        def entries(built: tuple[Guard, ...], user: str) -> list[str]:
            configuration = next(guard for guard in built if guard.kind == "ValidatingWebhookConfiguration")
            return reached(configuration, ask("DELETE", "statefulsets", old=thing(spec={}), group="apps", user=user))

        people = replace(DEFAULT, protect_from=ProtectFrom.EVERYONE)
        assert entries(ALL, KIRO) == ["agents-0"]
        assert entries(STANDARD, KIRO) == []
        assert all(entries(guards(SITE, IDENTITIES, (people,)), user) == [] for user in OTHERS)


class TestStorage:
    @staticmethod
    def volume(policy: str | None = None, **spec: Any) -> dict[str, Any]:
        return thing(spec=({"persistentVolumeReclaimPolicy": policy} if policy else {}) | spec)

    def write(self, new: Any, old: Any = None) -> Ask:
        return ask("UPDATE" if old else "CREATE", "persistentvolumes", new, old, place="")

    @pytest.mark.parametrize("policy", ["Delete", "Recycle"])
    def test_the_reclaim_policy(self, policy: str) -> None:
        is_refused(self.write(self.volume(policy), self.volume("Retain")), "Retain")
        is_refused(self.write(self.volume(policy)), "Retain")
        is_refused(self.write(self.volume("Recycle"), self.volume("Delete")), "Retain")
        passes(self.write(self.volume(policy), self.volume(policy)))
        passes(self.write(self.volume("Retain"), self.volume(policy)))
        passes(self.write(self.volume()))

    def test_a_volume_that_would_be_reclaimed_is_given_no_claim(self) -> None:
        claimed = {"claimRef": {"namespace": "shop", "name": "absent", "uid": "1"}}
        is_refused(self.write(self.volume("Delete", **claimed), self.volume("Delete")), "claimRef")
        passes(self.write(self.volume("Retain", **claimed), self.volume("Retain")))
        passes(self.write(self.volume("Retain", **claimed)))
        passes(self.write(self.volume("Delete", **claimed), self.volume("Delete", **claimed)))

    def test_a_folder_of_a_node(self) -> None:
        for source in ("hostPath", "local"):
            is_refused(self.write(thing(spec={source: {"path": "/"}})), "folders of a node")

    def test_snapshots(self) -> None:
        def content(policy: str) -> dict[str, Any]:
            return thing(spec={"deletionPolicy": policy})

        about = {"group": "snapshot.storage.k8s.io", "place": ""}
        is_refused(ask("UPDATE", "volumesnapshotcontents", content("Delete"), content("Retain"), **about), "deletionPolicy")
        passes(ask("UPDATE", "volumesnapshotcontents", content("Retain"), content("Delete"), **about))

    def test_definitions(self) -> None:
        def definition(served: bool, stored: tuple[str, ...] = ("v1",), **metadata: Any) -> dict[str, Any]:
            body = thing(spec={"versions": [{"name": "v1", "served": served}]}, status={"storedVersions": list(stored)})
            return {**body, "metadata": {**body["metadata"], **metadata}}

        about = {"group": "apiextensions.k8s.io", "place": ""}
        is_refused(ask("UPDATE", "customresourcedefinitions", definition(False), definition(True), **about), "CustomResourceDefinition")
        is_refused(ask("UPDATE", "customresourcedefinitions/status", definition(True, ("v2",)), definition(True), **about), "spec")
        passes(ask("UPDATE", "customresourcedefinitions", definition(True, labels={"a": "b"}), definition(True), **about))
        passes(ask("CREATE", "customresourcedefinitions", definition(True), **about))


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
