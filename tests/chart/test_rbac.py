"""What the chart grants: to each process what it needs, to agents what admission can hold back, and no wildcard to anybody."""

from collections.abc import Iterator
from typing import Any

import pytest

from countersign.domain.profile import Profile
from countersign.domain.resources import AgentIdentity, Meta, ProtectedEnvironment, ProtectFrom, Subject, SubjectKind
from countersign.wire.guards import Site, guards
from countersign.wire.shards import MAX_SHARDS, SHARD_NAMES
from tests.chart.rendering import NAMED, NAMESPACE, OUT_OF_CLUSTER, Chart

OURS = {"agentidentities", "reviewers", "protectedenvironments", "changerequests", "approvals"}
READS = {"get", "list", "watch"}
ORDINARY = READS | {"create", "update", "patch", "delete", "deletecollection"}
ADMISSION = "admissionregistration.k8s.io"
FLOWS = "flowcontrol.apiserver.k8s.io"
GROUP = "kube-countersign.dev"

Grant = tuple[str, str, str, str]
"""API group, resource, verb, and the one name it is about or ""."""


def grants(role: dict[str, Any]) -> Iterator[Grant]:
    for rule in role.get("rules") or []:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames", [""]):
                        yield group, resource, verb, name


def granted(chart: Chart, name: str, kind: str = "ClusterRole") -> set[Grant]:
    return set(grants(chart.find(kind, name)))


def roles(chart: Chart) -> list[dict[str, Any]]:
    return [obj for obj in chart.objects() if obj["kind"] in {"ClusterRole", "Role"}]


def test_there_is_no_wildcard_and_no_url(chart: Chart) -> None:
    assert len(roles(chart)) >= 8
    for role in roles(chart):
        for rule in role.get("rules") or []:
            assert rule.keys() <= {"apiGroups", "resources", "verbs", "resourceNames"}
            assert "*" not in "".join([*rule["apiGroups"], *rule["resources"], *rule["verbs"]]), role["metadata"]["name"]
            assert rule["verbs"], role["metadata"]["name"]
            assert set(rule["verbs"]) <= ORDINARY | ({"break-glass"} if role["metadata"]["name"] == "countersign-break-glass" else set()), (
                role["metadata"]["name"]
            )


def test_no_name_is_given_where_the_api_server_would_not_look_at_it(chart: Chart) -> None:
    """create, list without a name, and deletecollection never match a resourceName (docs: RBAC): such a grant would only look narrow."""
    for role in roles(chart):
        assert not [grant for grant in grants(role) if grant[3] and grant[2] in {"create", "deletecollection"}], role["metadata"]["name"]


def test_rbac_stays_where_the_processes_run_elsewhere(chart: Chart) -> None:
    kinds = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"}
    inside = [obj for obj in chart.objects(NAMED) if obj["kind"] in kinds]
    assert inside == [obj for obj in chart.objects(OUT_OF_CLUSTER) if obj["kind"] in kinds]


def test_bindings(chart: Chart) -> None:
    """Reviewers, viewers and agents are bound by the installer, who knows them."""
    bindings = [obj for obj in chart.objects() if obj["kind"].endswith("Binding")]
    found = {(obj["kind"], obj["roleRef"]["kind"], obj["roleRef"]["name"], tuple(s["name"] for s in obj["subjects"])) for obj in bindings}
    assert found == {
        ("ClusterRoleBinding", "ClusterRole", "countersign-webhook", ("countersign-webhook",)),
        ("ClusterRoleBinding", "ClusterRole", "countersign-webhook-listed", ("countersign-webhook", "countersign-operator")),
        ("ClusterRoleBinding", "ClusterRole", "countersign-operator", ("countersign-operator",)),
        ("RoleBinding", "Role", "countersign-webhook", ("countersign-webhook",)),
        ("RoleBinding", "Role", "countersign-operator", ("countersign-operator",)),
    }
    for binding in bindings:
        assert {(s["kind"], s["namespace"]) for s in binding["subjects"]} == {("ServiceAccount", NAMESPACE)}


# --- the webhook ----------------------------------------------------------------------------------


def test_the_webhook_writes_nothing_but_change_requests_and_notes(chart: Chart) -> None:
    held = granted(chart, "countersign-webhook") | granted(chart, "countersign-webhook", "Role")
    assert {grant for grant in held if grant[2] not in READS} == {(GROUP, "changerequests", "create", ""), ("", "configmaps", "create", "")}
    assert ("", "configmaps", "create", "") in granted(chart, "countersign-webhook", "Role"), "in its own namespace alone"


def test_the_webhook_reads_what_it_decides_by(chart: Chart) -> None:
    held = {(group, resource, verb) for group, resource, verb, _ in granted(chart, "countersign-webhook")}
    assert held >= {(GROUP, kind, verb) for kind in OURS for verb in ("list", "watch")}
    assert held >= {("", "namespaces", verb) for verb in READS}
    assert held >= {("", kind, "list") for kind in ("persistentvolumeclaims", "services")}
    assert held >= {("", kind, "get") for kind in ("persistentvolumeclaims", "persistentvolumes")}
    assert ("apiextensions.k8s.io", "customresourcedefinitions", "get") in held


def test_the_webhook_sees_one_secret(chart: Chart) -> None:
    assert not [grant for grant in granted(chart, "countersign-webhook") if grant[1] == "secrets"]
    secrets = {grant for grant in granted(chart, "countersign-webhook", "Role") if grant[1] == "secrets"}
    assert secrets == {("", "secrets", "get", "countersign-webhook-tls")}


def test_listed_kinds_are_gathered_by_label(chart: Chart) -> None:
    role = chart.find("ClusterRole", "countersign-webhook-listed")
    assert role["aggregationRule"] == {"clusterRoleSelectors": [{"matchLabels": {f"{GROUP}/aggregate-to-webhook": "true"}}]}
    assert "rules" not in role, "the API server fills them in; an upgrade would fight over them"


# --- the operator ---------------------------------------------------------------------------------


def test_what_the_operator_writes_of_ours(chart: Chart) -> None:
    writes = {grant[1:] for grant in granted(chart, "countersign-operator") if grant[0] == GROUP and grant[2] not in READS}
    assert writes == {
        *((f"{kind}/status", "patch", "") for kind in OURS),
        ("changerequests", "delete", ""),
        ("approvals", "delete", ""),
        ("protectedenvironments", "patch", "default"),
    }


def test_the_operator_changes_no_secret_but_the_certificate_and_its_authority(chart: Chart) -> None:
    assert not [grant for grant in granted(chart, "countersign-operator") if grant[1] == "secrets"]
    secrets = {grant[2:] for grant in granted(chart, "countersign-operator", "Role") if grant[1] == "secrets"}
    ours = {(verb, name) for verb in ("get", "update") for name in ("countersign-webhook-tls", "countersign-webhook-ca")}
    assert secrets == ours | {("create", "")}, "RBAC cannot narrow the creation of one to its name"


def test_the_operator_changes_no_crd_but_ours(chart: Chart) -> None:
    held = {grant for grant in granted(chart, "countersign-operator") if grant[1] == "customresourcedefinitions"}
    assert {grant[3] for grant in held if grant[2] in {"update", "patch"}} == {f"{kind}.{GROUP}" for kind in OURS}
    assert not [grant for grant in held if grant[2] in {"delete", "deletecollection"}]


def test_the_operator_changes_its_own_guards_and_no_others(chart: Chart) -> None:
    """Compiled for as many agents as there is room for: every guard that there can be, by the name that RBAC lets it be changed under."""
    identities = [
        AgentIdentity(Meta(f"agent-{number}"), (Subject(SubjectKind.SERVICE_ACCOUNT, f"a{number}", "agents"),), ("alice",))
        for number in range(SHARD_NAMES * MAX_SHARDS)
    ]
    environment = ProtectedEnvironment(Meta("default"), ProtectFrom.EVERYONE)
    site = Site("uid", NAMESPACE, "", b"", mutating=True, profile=Profile.HARDENED, jail=True)
    compiled = {(guard.collection, guard.name) for guard in guards(site, identities, [environment])}
    held = {grant for grant in granted(chart, "countersign-operator") if grant[0] in {ADMISSION, FLOWS}}
    for verb in ("update", "patch", "delete"):
        names = {(resource, name) for _, resource, allowed, name in held if allowed == verb}
        kept = {(resource, name) for resource, name in compiled if verb != "delete" or resource != "validatingwebhookconfigurations"}
        assert kept <= names, "all but the one configuration, which is always there, may have to go"
        # Of the hardened profile there are more for other mixtures of accounts, groups and globs.
        assert {name for _, name in names - compiled if not name.startswith("countersign-hardened-")} == set()
    looked_at = {("mutatingwebhookconfigurations", verb) for verb in ("list", "watch")}  # for who else could rewrite what is written to us
    made = {(kind, verb) for kind, _ in compiled for verb in (*READS, "create")}
    assert {grant[1:3] for grant in held if not grant[3]} == made | looked_at


def test_the_operator_deletes_nothing_of_anybody_else(chart: Chart) -> None:
    deletes = {grant[:2] for grant in granted(chart, "countersign-operator") if grant[2] in {"delete", "deletecollection"}}
    assert {kind for group, kind in deletes if group == GROUP} == {"changerequests", "approvals"}
    assert {group for group, _ in deletes} <= {GROUP, ADMISSION, FLOWS}


def test_the_operator_grants_nothing(chart: Chart) -> None:
    held = {grant for grant in granted(chart, "countersign-operator") if grant[0] == "rbac.authorization.k8s.io"}
    everybodys = {
        (kind, verb, "") for kind in ("clusterroles", "clusterrolebindings", "roles", "rolebindings") for verb in ("list", "watch")
    }
    assert {grant[1:] for grant in held} == {("clusterroles", "get", "countersign-operator"), *everybodys}
    asked = {grant[1:] for grant in granted(chart, "countersign-operator") if grant[0] == "authorization.k8s.io"}
    assert asked == {("subjectaccessreviews", "create", "")}


# --- people and agents ----------------------------------------------------------------------------


def test_a_reviewer_reads_and_signs(chart: Chart) -> None:
    assert granted(chart, "countersign-reviewer") == {(GROUP, kind, verb, "") for kind in OURS for verb in READS} | {
        (GROUP, "approvals", "create", "")
    }


def test_a_viewer_reads(chart: Chart) -> None:
    assert granted(chart, "countersign-viewer") == {(GROUP, kind, verb, "") for kind in OURS for verb in READS}


@pytest.fixture
def agent(chart: Chart) -> set[Grant]:
    return granted(chart, "countersign-agent-builtin")


def test_the_agents_role_is_gathered_by_label(chart: Chart) -> None:
    label = {f"{GROUP}/aggregate-to-agent": "true"}
    role = chart.find("ClusterRole", "countersign-agent")
    assert role["aggregationRule"] == {"clusterRoleSelectors": [{"matchLabels": label}]}
    assert "rules" not in role
    assert label.items() <= chart.find("ClusterRole", "countersign-agent-builtin")["metadata"]["labels"].items()
    assert [obj["metadata"]["name"] for obj in roles(chart) if label.items() <= obj["metadata"]["labels"].items()] == [
        "countersign-agent-builtin"
    ]


@pytest.mark.parametrize(
    ("group", "resource"),
    [
        ("", "namespaces"),
        ("", "persistentvolumes"),
        ("", "persistentvolumeclaims"),
        ("", "pods"),
        ("apps", "deployments"),
        ("apps", "statefulsets"),
        ("batch", "jobs"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("networking.k8s.io", "ingresses"),
        ("storage.k8s.io", "storageclasses"),
    ],
)
def test_countersign_and_not_rbac_is_what_holds_an_agent_back(agent: set[Grant], group: str, resource: str) -> None:
    assert {verb for held_group, held, verb, _ in agent if (held_group, held) == (group, resource)} == ORDINARY


def test_an_agent_only_reads_what_admission_cannot_see_or_can_be_replaced_by(agent: set[Grant]) -> None:
    held = {(group, verb) for group, _, verb, _ in agent if group in {ADMISSION, "apiregistration.k8s.io"}}
    assert held == {(group, verb) for group in (ADMISSION, "apiregistration.k8s.io") for verb in READS}


def test_an_agent_cannot_become_somebody_else(agent: set[Grant]) -> None:
    assert {grant[2] for grant in agent} <= ORDINARY
    resources = {grant[1] for grant in agent}
    assert not resources & {"users", "groups", "uids", "userextras", "serviceaccounts/token", "signers", "bindings", "pods/binding"}
    assert not {resource for resource in resources if resource.startswith("certificatesigningrequests/")}
    assert not {resource for resource in resources if resource.endswith(("/proxy", "/finalize", "/finalizers"))}
    assert not {group for group, *_ in agent if group in {"authentication.k8s.io", "authorization.k8s.io"}}


def test_an_agent_writes_no_status(agent: set[Grant]) -> None:
    assert {grant[2] for grant in agent if grant[1].endswith("/status")} == {"get"}


def test_of_ours_an_agent_sees_its_change_requests_and_may_say_why(agent: set[Grant]) -> None:
    assert {grant[1:3] for grant in agent if grant[0] == GROUP} == {("changerequests", verb) for verb in (*READS, "patch")}


def test_an_agent_reads_no_secrets_unless_it_is_given_them_by_namespace(chart: Chart, agent: set[Grant]) -> None:
    assert "secrets" not in {grant[1] for grant in agent}
    role = chart.find("ClusterRole", "countersign-agent-secrets")
    assert not [key for key in role["metadata"]["labels"] if "aggregate-to" in key]
    assert granted(chart, "countersign-agent-secrets") == {("", "secrets", verb, "") for verb in ORDINARY}
    bound = [obj["roleRef"]["name"] for obj in chart.objects() if obj["kind"].endswith("RoleBinding")]
    assert not {name for name in bound if name.startswith("countersign-agent")}, "whom to bind is the team's to say"


def test_an_owner_says_who_is_an_agent(chart: Chart) -> None:
    writes = {grant for grant in granted(chart, "countersign-agent-owner") if grant[2] not in READS}
    assert writes == {(GROUP, "agentidentities", verb, "") for verb in ("create", "update", "patch", "delete")}


def test_what_is_gathered_into_the_clusters_own_roles_only_reads_ours(chart: Chart) -> None:
    gathered = {
        obj["metadata"]["name"]: key
        for obj in roles(chart)
        for key in obj["metadata"].get("labels", {})
        if key.startswith("rbac.authorization.k8s.io/aggregate-to-")
    }
    assert gathered == {"countersign-viewer": "rbac.authorization.k8s.io/aggregate-to-view"}


def test_every_pod_that_has_a_token_needs_it_and_no_account_hands_one_out(chart: Chart) -> None:
    bound = {
        subject["name"]
        for obj in chart.objects()
        if obj["kind"] in {"RoleBinding", "ClusterRoleBinding"}
        for subject in obj["subjects"]
        if subject["kind"] == "ServiceAccount"
    }
    accounts = [obj for obj in chart.objects() if obj["kind"] == "ServiceAccount"]
    assert accounts
    assert all(obj["automountServiceAccountToken"] is False for obj in accounts)
    for pod in pods(chart):
        assert pod["automountServiceAccountToken"] is (pod.get("serviceAccountName") in bound), pod


def pods(chart: Chart) -> list[dict[str, Any]]:
    specs = [obj["spec"] for obj in chart.objects() if obj["kind"] == "Pod"]
    return specs + [obj["spec"]["template"]["spec"] for obj in chart.objects() if obj["kind"] in {"Deployment", "Job", "DaemonSet"}]
