"""In what forms something is protected: own work, Audit, People, Everyone, except, exclude, and each kind whose deletion is guarded."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.controlplane.api import Answer, path
from tests.controlplane.cluster import Cluster
from tests.e2e import _faults
from tests.e2e._faults import (
    ADMIN,
    CREATED_BY,
    OURS,
    TEAM,
    allowed,
    annotations_of,
    approve,
    cause,
    claim,
    delete,
    delete_namespace,
    environment,
    held,
    is_about,
    kept,
    make_namespace,
    manifest,
    message,
    patched,
    unique,
    user_subject,
    wait_allowed,
    wait_gone,
    wait_level,
    wait_refused,
)

DEFAULT = path("protectedenvironments", "default")
GROUP = "forms.example.com"


def kiro_account() -> str:
    return "system:serviceaccount:agents:kiro"


# --- own work ---------------------------------------------------------------------------------


def test_an_agents_own_fresh_namespace_passes(cluster: Cluster) -> None:
    name = make_namespace(cluster, "own", user="kiro")
    made = cluster.api.get(path("namespaces", name))
    assert made["metadata"]["annotations"][CREATED_BY] == kiro_account()
    allowed(delete_namespace(cluster, "kiro", name))
    record = _faults.decision_of(cluster, "own work", lambda record: is_about(record, "namespaces", name))
    assert (record["decision"], record["reason"]) == ("Allow", "OwnWork")
    wait_gone(cluster.api, path("namespaces", name))


def test_a_namespace_that_the_agent_did_not_create_does_not(cluster: Cluster) -> None:
    by_a_human = make_namespace(cluster, "theirs")
    by_another_agent = make_namespace(cluster, "theirs", user="rogue")
    held(delete_namespace(cluster, "kiro", by_a_human))
    held(delete_namespace(cluster, "kiro", by_another_agent))


def test_an_own_namespace_with_a_claim_in_it_does_not(cluster: Cluster) -> None:
    name = make_namespace(cluster, "own-data", user="kiro")
    cluster.api_as("kiro").create(path("persistentvolumeclaims", namespace=name), claim("data"))
    request = held(delete_namespace(cluster, "kiro", name))
    assert cluster.api.get(path("changerequests", request))["spec"]["losses"]["volumes"] == 1
    cluster.api.delete(path("persistentvolumeclaims", "data", namespace=name))
    wait_gone(cluster.api, path("persistentvolumeclaims", "data", namespace=name))
    allowed(delete_namespace(cluster, "kiro", name))


def test_own_work_is_own_only_for_a_while_and_only_where_each_environment_says_so(cluster: Cluster) -> None:
    brief, never = unique("brief"), unique("never")
    environments = path("protectedenvironments")
    with (
        kept(cluster.api, environments, environment(brief, brief, "Agents", ownWork="3s")),
        kept(cluster.api, environments, environment(never, never, "Agents")),
    ):
        fresh = make_namespace(cluster, "own-brief", {TEAM: brief}, user="kiro")
        shared = make_namespace(cluster, "own-never", {TEAM: never}, user="kiro")
        allowed(delete_namespace(cluster, "kiro", fresh, dry_run=True))
        wait_refused(lambda: delete_namespace(cluster, "kiro", shared, dry_run=True), "own work where one environment knows none")
        time.sleep(3.5)
        held(delete_namespace(cluster, "kiro", fresh))


# --- Audit ------------------------------------------------------------------------------------


def test_audit_mode_lets_through_and_records_what_it_would_have_refused(cluster: Cluster) -> None:
    name = make_namespace(cluster, "audited")
    with patched(cluster.api, DEFAULT, {"mode": "Audit"}):
        wait_allowed(lambda: delete_namespace(cluster, "kiro", name, dry_run=True), "a deletion under Audit")
        answer = delete_namespace(cluster, "kiro", name)
    allowed(answer)
    assert any("would be refused" in warning for warning in answer.warnings), answer.warnings
    record = _faults.decision_of(cluster, "the deletion", lambda record: is_about(record, "namespaces", name) and not record["dryRun"])
    assert (record["decision"], record["reason"], record["environments"]) == ("Allow", "WouldRefuse", ["default"])
    event = _faults.audit_of(
        cluster,
        "the deletion",
        lambda event: event["verb"] == "delete" and event["requestURI"].endswith(f"/namespaces/{name}"),
    )
    assert annotations_of(event)[f"agents-0.{OURS}/reason"] == "WouldRefuse"
    assert annotations_of(event)[f"agents-0.{OURS}/decision"] == "allow"
    wait_gone(cluster.api, path("namespaces", name))
    assert not [each for each in cluster.api.list(path("changerequests")) if each["spec"]["target"]["name"] == name]


def test_audit_is_over_as_soon_as_it_is_over(cluster: Cluster) -> None:
    name = make_namespace(cluster, "audited")
    with patched(cluster.api, DEFAULT, {"mode": "Audit"}):
        wait_allowed(lambda: delete_namespace(cluster, "kiro", name, dry_run=True), "a deletion under Audit")
    held(delete_namespace(cluster, "kiro", name))


def test_an_environment_that_audits_takes_nothing_from_one_that_enforces(cluster: Cluster) -> None:
    team = unique("lenient")
    with kept(cluster.api, path("protectedenvironments"), environment(team, team, "Agents", mode="Audit")):
        name = make_namespace(cluster, "both", {TEAM: team})
        request = held(delete_namespace(cluster, "kiro", name))
        assert cluster.api.get(path("changerequests", request))["spec"]["environments"] == ["default"]


# --- People, Everyone -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dave(cluster: Cluster) -> str:
    """A human with every right, who is nobody's Reviewer."""
    return cluster.new_human("dave@example.com", role="cluster-admin")


@pytest.fixture(scope="module")
def deployer(cluster: Cluster) -> str:
    """A CI's ServiceAccount with every right."""
    return cluster.new_service_account("deployer", "cluster-admin", namespace="ci")


@pytest.fixture(scope="module")
def people_team(cluster: Cluster, dave: str) -> Iterator[str]:
    """A team whose namespaces are protected from people; the suite's admin is excepted."""
    team = unique("people")
    with kept(cluster.api, path("protectedenvironments"), environment(team, team, "People", **{"except": [ADMIN]})):
        probe = make_namespace(cluster, "probe", {TEAM: team})
        wait_refused(lambda: delete_namespace(cluster, dave, probe, dry_run=True), "a human under People")
        yield team


@pytest.fixture(scope="module")
def everyone_team(cluster: Cluster, deployer: str) -> Iterator[str]:
    """The same, protected from everyone."""
    team = unique("everyone")
    with kept(cluster.api, path("protectedenvironments"), environment(team, team, "Everyone", **{"except": [ADMIN]})):
        probe = make_namespace(cluster, "probe", {TEAM: team})
        wait_refused(lambda: delete_namespace(cluster, deployer, probe, dry_run=True), "a ServiceAccount under Everyone")
        yield team


def test_people_holds_a_human_too_and_says_how_to_go_on(cluster: Cluster, people_team: str) -> None:
    name = make_namespace(cluster, "held", {TEAM: people_team})
    answer = delete_namespace(cluster, "alice", name)
    request = held(answer)
    text = message(answer)
    assert "Who can sign: bob, carol" in text
    assert "alice" not in text.partition("Who can sign:")[2].partition("\n")[0]
    for command in (
        f"kubectl get changerequests.{OURS} {request} -o jsonpath='{{.spec.statement}}'",
        "ssh-keygen -Y sign -n approve@kube-countersign.dev",
        "kubectl create -f approval.yaml",
        f"kubectl wait --for=condition=Settled changerequests.{OURS}/{request}",
    ):
        assert command in text, text
    assert "person you work for" not in text
    approve(cluster, request, "bob")
    allowed(delete_namespace(cluster, "alice", name))
    wait_gone(cluster.api, path("namespaces", name))


def test_people_holds_an_agent_as_well_in_the_words_for_agents(cluster: Cluster, people_team: str) -> None:
    name = make_namespace(cluster, "held", {TEAM: people_team})
    answer = delete_namespace(cluster, "kiro", name)
    request = held(answer)
    assert cluster.api.get(path("changerequests", request))["spec"]["environments"] == sorted(["default", people_team])
    assert "ssh-keygen" not in message(answer)
    assert "person you work for" in message(answer)


def test_a_human_who_is_nobody_registered_needs_one_signature_more(cluster: Cluster, people_team: str, dave: str) -> None:
    name = make_namespace(cluster, "held", {TEAM: people_team})
    request = held(delete_namespace(cluster, dave, name))
    assert cluster.api.get(path("changerequests", request))["spec"]["required"] == 2
    approve(cluster, request, "bob")
    held(delete_namespace(cluster, dave, name))
    approve(cluster, request, "carol")
    allowed(delete_namespace(cluster, dave, name))


def test_people_holds_a_humans_deletion_of_a_claim_and_not_of_a_pod(cluster: Cluster, people_team: str, dave: str) -> None:
    name = make_namespace(cluster, "claims", {TEAM: people_team})
    wait_level(cluster, name, "People")
    claims = path("persistentvolumeclaims", namespace=name)
    cluster.api.create(claims, claim("data"))
    cluster.api.create(path("configmaps", namespace=name), manifest("ConfigMap", "settings"))
    held(delete(cluster, dave, f"{claims}/data"))
    allowed(delete(cluster, dave, path("configmaps", "settings", namespace=name)))


def test_people_lets_a_service_account_through(cluster: Cluster, people_team: str, deployer: str) -> None:
    name = make_namespace(cluster, "free", {TEAM: people_team})
    allowed(delete_namespace(cluster, deployer, name))


def test_everyone_holds_a_deployers_service_account_too(cluster: Cluster, everyone_team: str, deployer: str, dave: str) -> None:
    name = make_namespace(cluster, "held", {TEAM: everyone_team})
    request = held(delete_namespace(cluster, deployer, name))
    requester = cluster.api.get(path("changerequests", request))["spec"]["requester"]
    assert requester["username"] == "system:serviceaccount:ci:deployer"
    assert not requester.get("agents")
    held(delete_namespace(cluster, dave, name))
    approve(cluster, request, "bob")
    allowed(delete_namespace(cluster, deployer, name))
    wait_gone(cluster.api, path("namespaces", name))


def test_everyone_never_holds_the_namespace_controller(cluster: Cluster, everyone_team: str, deployer: str) -> None:
    """What it deletes inside an approved namespace, a claim among it, is the cluster's own work."""
    name = make_namespace(cluster, "emptied", {TEAM: everyone_team})
    wait_level(cluster, name, "Everyone")
    claims = path("persistentvolumeclaims", namespace=name)
    cluster.api.create(claims, claim("data"))
    held(delete(cluster, deployer, f"{claims}/data"))
    request = held(delete_namespace(cluster, deployer, name))
    approve(cluster, request, "bob")
    allowed(delete_namespace(cluster, deployer, name))
    wait_gone(cluster.api, path("namespaces", name), timeout=60)


def test_everyone_never_holds_the_garbage_collector(cluster: Cluster, everyone_team: str, deployer: str) -> None:
    name = make_namespace(cluster, "collected", {TEAM: everyone_team})
    wait_level(cluster, name, "Everyone")
    owner = cluster.api.create(path("configmaps", namespace=name), manifest("ConfigMap", "owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    claims = path("persistentvolumeclaims", namespace=name)
    cluster.api.create(claims, claim("data", ownerReferences=[reference]))
    held(delete(cluster, deployer, f"{claims}/data"))
    allowed(delete(cluster, deployer, path("configmaps", "owner", namespace=name)))
    wait_gone(cluster.api, f"{claims}/data", timeout=60)


# --- except, exclude --------------------------------------------------------------------------


def test_who_is_excepted_passes_and_nobody_else(cluster: Cluster, dave: str, deployer: str) -> None:
    team = unique("excepting")
    excepted = [ADMIN, user_subject("dave@example.com"), {"kind": "ServiceAccount", "namespace": "ci", "name": "deployer"}]
    with kept(cluster.api, path("protectedenvironments"), environment(team, team, "Everyone", **{"except": excepted})):
        name, other = (make_namespace(cluster, "excepted", {TEAM: team}) for _ in range(2))
        wait_refused(lambda: delete_namespace(cluster, "alice", name, dry_run=True), "a human who is not excepted")
        held(delete_namespace(cluster, "kiro", name))
        allowed(delete_namespace(cluster, dave, name))
        record = _faults.decision_of(
            cluster, "the exception", lambda record: is_about(record, "namespaces", name) and record["decision"] == "Allow"
        )
        assert record["reason"] == "Excepted"
        allowed(delete_namespace(cluster, deployer, other))


def test_an_agent_is_never_excepted(cluster: Cluster) -> None:
    for subject in (
        {"kind": "ServiceAccount", "namespace": "agents", "name": "kiro"},
        {"kind": "ServiceAccount", "namespace": "agents", "name": "*"},
    ):
        body = environment(unique("excepting"), "x", "Agents", **{"except": [subject]})
        answer = cluster.api.request("POST", path("protectedenvironments"), body, {"dryRun": "All"})
        assert answer.status == 422, message(answer)
        assert "agents are never excepted" in message(answer)


def test_an_excluded_namespace_is_not_of_the_environment(cluster: Cluster) -> None:
    excluded, other = make_namespace(cluster, "excluded"), make_namespace(cluster, "included")
    names = cluster.api.get(DEFAULT)["spec"]["namespaces"].get("exclude", [])
    claims = path("persistentvolumeclaims", namespace=excluded)
    cluster.api.create(claims, claim("data"))
    with patched(cluster.api, DEFAULT, {"namespaces": {"exclude": [*names, excluded]}}):
        wait_allowed(lambda: delete_namespace(cluster, "kiro", excluded, dry_run=True), "the deletion of an excluded namespace")
        allowed(delete(cluster, "kiro", f"{claims}/data"))
        held(delete_namespace(cluster, "kiro", other))
    held(delete_namespace(cluster, "kiro", excluded))


# --- the kinds --------------------------------------------------------------------------------


def test_a_claim_in_a_protected_namespace(cluster: Cluster) -> None:
    name = make_namespace(cluster, "volumes")
    claims = path("persistentvolumeclaims", namespace=name)
    cluster.api.create(claims, claim("data"))
    request = held(delete(cluster, "kiro", f"{claims}/data"))
    spec = cluster.api.get(path("changerequests", request))["spec"]
    assert (spec["target"]["namespace"], spec["target"]["name"], spec["losses"]["volumes"]) == (name, "data", 1)
    approve(cluster, request)
    allowed(delete(cluster, "kiro", f"{claims}/data"))
    wait_gone(cluster.api, f"{claims}/data")


def test_a_collection_of_claims_is_held_object_by_object(cluster: Cluster) -> None:
    name = make_namespace(cluster, "volumes")
    claims = path("persistentvolumeclaims", namespace=name)
    for each in ("one", "two"):
        cluster.api.create(claims, claim(each))
    answer = delete(cluster, "kiro", claims)
    assert not answer.ok
    assert {each["metadata"]["name"] for each in cluster.api.list(claims)} == {"one", "two"}
    assert "deletionTimestamp" not in cluster.api.list(claims)[0]["metadata"]


def test_a_persistent_volume(cluster: Cluster) -> None:
    name = unique("disk")
    cluster.api.create(path("persistentvolumes"), _faults.volume(name))
    request = held(delete(cluster, "kiro", path("persistentvolumes", name)))
    assert cluster.api.get(path("changerequests", request))["spec"]["losses"]["volumes"] == 1
    approve(cluster, request)
    allowed(delete(cluster, "kiro", path("persistentvolumes", name)))
    wait_gone(cluster.api, path("persistentvolumes", name))


def test_a_custom_resource_definition_takes_its_objects_with_it_so_it_is_held(cluster: Cluster) -> None:
    body = _faults.definition("Crontab", f"{unique('g')}.{GROUP}")
    name = body["metadata"]["name"]
    url = path("customresourcedefinitions", name)
    cluster.api.create(path("customresourcedefinitions"), body)
    request = held(delete(cluster, "kiro", url))
    approve(cluster, request)
    allowed(delete(cluster, "kiro", url))
    wait_gone(cluster.api, url)


# --- a listed kind ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def widgets(cluster: Cluster) -> Iterator[str]:
    """A custom kind that the team of its name lists; agents may delete it. Returns the plural, which is the team's name too."""
    word = unique("widget").replace("-", "")
    body = _faults.definition(word.capitalize(), GROUP)
    plural = f"{word}s"
    role = manifest(
        "ClusterRole",
        f"{plural}-for-agents",
        api="rbac.authorization.k8s.io/v1",
        labels={f"{OURS}/aggregate-to-agent": "true"},
        rules=[{"apiGroups": [GROUP], "resources": [plural], "verbs": ["get", "list", "create", "delete"]}],
    )
    listing = environment(plural, plural, "Agents", resources=[{"group": GROUP, "resource": plural}])
    with (
        kept(cluster.api, path("customresourcedefinitions"), body),
        kept(cluster.api, path("clusterroles"), role),
        kept(cluster.api, path("protectedenvironments"), listing),
    ):
        namespace = make_namespace(cluster, "probe", {TEAM: plural})
        _faults.until(lambda: cluster.api.request("POST", _objects(plural, namespace), _object(plural, "probe")).ok, "a new kind")

        def refused() -> bool:
            answer = delete(cluster, "kiro", f"{_objects(plural, namespace)}/probe", dry_run=True)
            return "admission webhook" in message(answer)

        _faults.until(refused, "a listed kind's deletion was to reach the webhook")
        yield plural


def _objects(plural: str, namespace: str) -> str:
    return f"/apis/{GROUP}/v1/namespaces/{namespace}/{plural}"


def _object(plural: str, name: str) -> _faults.Json:
    return manifest(plural[:-1].capitalize(), name, api=f"{GROUP}/v1", spec={"size": 1})


def test_a_listed_kind_that_we_may_not_read_is_refused_with_the_role_that_is_missing(cluster: Cluster, widgets: str) -> None:
    namespace = make_namespace(cluster, "listed", {TEAM: widgets})
    cluster.api.create(_objects(widgets, namespace), _object(widgets, "one"))

    def asked() -> Answer:
        return delete(cluster, "kiro", f"{_objects(widgets, namespace)}/one")

    _faults.until(lambda: "is not known here yet" not in message(asked()), "the webhook was to know the namespace")
    answer = asked()
    assert not answer.ok
    assert f'{OURS}/aggregate-to-webhook: "true"' in message(answer), message(answer)
    assert f"{widgets}.{GROUP}" in message(answer)
    assert cause(answer, "outcome") == "Unable"
    assert not [each for each in cluster.api.list(path("changerequests")) if each["spec"]["target"]["resource"] == widgets]
    assert cluster.api.exists(f"{_objects(widgets, namespace)}/one")


def test_a_listed_kind_that_we_may_read_waits_for_signatures(cluster: Cluster, widgets: str) -> None:
    namespace, elsewhere = make_namespace(cluster, "listed", {TEAM: widgets}), make_namespace(cluster, "unlisted")
    role = manifest(
        "ClusterRole",
        f"{widgets}-for-webhook",
        api="rbac.authorization.k8s.io/v1",
        labels={f"{OURS}/aggregate-to-webhook": "true"},
        rules=[{"apiGroups": [GROUP], "resources": [widgets], "verbs": ["get"]}],
    )
    for place in (namespace, elsewhere):
        cluster.api.create(_objects(widgets, place), _object(widgets, "one"))
    one = f"{_objects(widgets, namespace)}/one"
    with kept(cluster.api, path("clusterroles"), role):
        _faults.until(lambda: cause(delete(cluster, "kiro", one), "outcome") == "Pending", "the role was to be aggregated")
        request = held(delete(cluster, "kiro", one))
        spec = cluster.api.get(path("changerequests", request))["spec"]
        assert spec["environments"] == [widgets]
        assert spec.get("losses", {}) == {}
        approve(cluster, request)
        allowed(delete(cluster, "kiro", one))
        wait_gone(cluster.api, one)
    allowed(delete(cluster, "kiro", f"{_objects(widgets, elsewhere)}/one"))
