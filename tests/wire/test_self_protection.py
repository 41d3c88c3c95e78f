"""What guards our guards: the webhook configuration's shape, what agents put before us, the jail, the static manifest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from countersign.domain.names import GROUP
from countersign.domain.resources import AgentIdentity, Meta, Mode, ProtectFrom, Subject, SubjectKind
from countersign.wire import static
from countersign.wire.guards import Guard, Site, guards
from countersign.wire.guards.exact import NOT_AS_WRITTEN
from countersign.wire.guards.jail import is_jailed, jail
from tests.support.admission import Ask, as_served, refusals
from tests.support.objects import environment

ADMISSION, FLOWS = "admissionregistration.k8s.io", "flowcontrol.apiserver.k8s.io"
KIRO, ALICE = "system:serviceaccount:agents:kiro", "alice@example.com"
OPERATOR = "system:serviceaccount:countersign:countersign-operator"
COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
SITE = Site("uid", "countersign", "", b"PEM", mutating=True, jail=True)


def _agent(index: int) -> AgentIdentity:
    return AgentIdentity(Meta(f"kiro-{index}"), (Subject(SubjectKind.SERVICE_ACCOUNT, f"kiro-{index}", "agents"),), ("alice",))


IDENTITIES = (AgentIdentity(Meta("kiro"), (Subject(SubjectKind.SERVICE_ACCOUNT, "kiro", "agents"),), ("alice",)),)
ALL = guards(SITE, IDENTITIES, (environment(),))


def written(**change: Any) -> dict[str, Any]:
    """As the operator writes it, with something made otherwise in its first entry."""
    tree = as_served(ALL)
    return {**tree, "webhooks": [{**tree["webhooks"][0], **change}, *tree["webhooks"][1:]]}


def by_operator(tree: dict[str, Any], operation: str = "UPDATE", built: tuple[Guard, ...] = ALL) -> list[str]:
    return refusals(built, Ask(OPERATOR, operation, "validatingwebhookconfigurations", object=tree, old=written(), group=ADMISSION))


def test_the_operator_writes_it_as_it_is() -> None:
    assert by_operator(written()) == []
    assert by_operator(written(), "CREATE") == []


FIRST = as_served(ALL)["webhooks"][0]
NEVER = {"name": "never", "expression": "false"}


@pytest.mark.parametrize(
    "change",
    [
        {"failurePolicy": "Ignore"},
        {"objectSelector": {"matchLabels": {"a": "b"}}},
        {"objectSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}},
        {"namespaceSelector": {"matchLabels": {"a": "b"}}},
        {"clientConfig": {"service": {"namespace": "elsewhere", "name": "x"}}},
        {"clientConfig": {"url": "https://127.0.0.1:9/yes"}},
        {"clientConfig": {**FIRST["clientConfig"], "caBundle": "b3RoZXI="}},
        {"rules": FIRST["rules"][:-1]},
        {"rules": [{**FIRST["rules"][0], "operations": ["CONNECT"]}, *FIRST["rules"][1:]]},
        {"matchConditions": [*FIRST["matchConditions"], NEVER]},
        {"matchConditions": [{**FIRST["matchConditions"][0], "expression": "false"}, *FIRST["matchConditions"][1:]]},
        {"name": "trial-people.kube-countersign.dev", "failurePolicy": "Ignore"},
        {"matchPolicy": "Exact"},
        {"timeoutSeconds": 1},
        {"aFieldOfTheFuture": "Never"},
    ],
)
def test_what_somebodys_policy_makes_of_its_write_is_refused_both_times(change: dict[str, Any]) -> None:
    assert by_operator(written(**change)) == [NOT_AS_WRITTEN, NOT_AS_WRITTEN], "the policy stands there under two names"


def _without_entry(tree: dict[str, Any]) -> None:
    tree["webhooks"].pop()


def _with_another(tree: dict[str, Any]) -> None:
    tree["webhooks"].append({**tree["webhooks"][0], "name": "another.example.com"})


def _emptied(tree: dict[str, Any]) -> None:
    del tree["webhooks"]


def _with_an_owner_that_is_gone(tree: dict[str, Any]) -> None:
    tree["metadata"]["ownerReferences"] = [{**tree["metadata"]["ownerReferences"][0], "uid": "gone"}]


def _without_owner(tree: dict[str, Any]) -> None:
    del tree["metadata"]["ownerReferences"]


@pytest.mark.parametrize("how", [_without_entry, _with_another, _emptied, _with_an_owner_that_is_gone, _without_owner])
def test_nor_may_it_lose_or_gain_an_entry_or_its_owner(how: Callable[[dict[str, Any]], None]) -> None:
    tree = written()
    how(tree)
    assert NOT_AS_WRITTEN in by_operator(tree)


def test_what_fails_open_for_a_trial_is_written_to_the_letter_too() -> None:
    tried = guards(SITE, IDENTITIES, (environment(), environment("trial", ProtectFrom.EVERYONE, mode=Mode.AUDIT)))
    tree = as_served(tried)
    open_ones = [hook["name"] for hook in tree["webhooks"] if hook["failurePolicy"] == "Ignore"]
    assert sorted(open_ones) == sorted(f"trial-{name}.{GROUP}" for name in ("people", "people-inside", "everyone", "everyone-inside"))
    assert by_operator(tree, built=tried) == []
    tree["webhooks"][0]["failurePolicy"] = "Ignore"
    assert by_operator(tree, built=tried) == [NOT_AS_WRITTEN, NOT_AS_WRITTEN]


class TestOfVeryManyAgents:
    """Past what one expression may hold the text of the conditions is not compared; whatever else there is, is."""

    BUILT = guards(SITE, tuple(_agent(index) for index in range(30_000)), (environment(),))

    def test_it_fits(self) -> None:
        for guard in self.BUILT:
            if guard.name.startswith("countersign-guards"):
                assert all(len(each["expression"]) < 100_000 for each in guard.body["spec"].get("validations", ()))
                assert len(json.dumps(guard.body)) < 1_000_000

    def test_it_is_let_through_as_it_is(self) -> None:
        assert by_operator(as_served(self.BUILT), built=self.BUILT) == []

    @pytest.mark.parametrize("change", [{"failurePolicy": "Ignore"}, {"rules": []}, {"namespaceSelector": {"matchLabels": {"a": "b"}}}])
    def test_nothing_but_conditions_may_differ(self, change: dict[str, Any]) -> None:
        tree = as_served(self.BUILT)
        tree["webhooks"][0] |= change
        assert by_operator(tree, built=self.BUILT) == [NOT_AS_WRITTEN, NOT_AS_WRITTEN]

    def test_nor_may_there_be_one_more(self) -> None:
        tree = as_served(self.BUILT)
        tree["webhooks"][0]["matchConditions"].append(NEVER)
        assert by_operator(tree, built=self.BUILT) == [NOT_AS_WRITTEN, NOT_AS_WRITTEN]


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE", "DELETE"])
def test_each_of_the_two_policies_refuses_by_itself(operation: str) -> None:
    asked = Ask(
        ALICE,
        operation,
        "validatingwebhookconfigurations",
        object=None if operation == "DELETE" else written(),
        old=written(),
        group=ADMISSION,
    )
    for name in ("countersign-guards", "countersign-guards-2"):
        assert refusals([guard for guard in ALL if guard.name == name], asked)


# ── what agents put before us ───────────────────────────────────────────────────────────────────────────────────────────────────────


def flow(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {}}


@pytest.mark.parametrize("resource", ["flowschemas", "prioritylevelconfigurations", "flowschemas/status"])
def test_who_writes_flow_schemas(resource: str) -> None:
    def refused(user: str, name: str) -> bool:
        return bool(refusals(ALL, Ask(user, "UPDATE", resource, object=flow(name), old=flow(name), group=FLOWS)))

    assert refused(KIRO, "mine")
    assert not refused(ALICE, "mine")
    assert refused(ALICE, "countersign-jail")
    assert not refused(OPERATOR, "countersign-jail")
    assert not refused("system:apiserver", "countersign-jail")


def test_the_jail_goes_with_its_owner() -> None:
    deletion = Ask(COLLECTOR, "DELETE", "flowschemas", old=flow("countersign-jail"), group=FLOWS)
    assert refusals(ALL, deletion) == []


@pytest.mark.parametrize("resource", ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"])
@pytest.mark.parametrize(("groups", "held"), [([GROUP], True), (["*"], True), (["apps", GROUP], True), (["apps", ""], False), ([], False)])
def test_an_agents_webhook_before_our_kinds(resource: str, groups: list[str], held: bool) -> None:
    tree = {"metadata": {"name": "mine"}, "webhooks": [{"name": "a.b.c", "rules": [{"apiGroups": ["x"]}, {"apiGroups": groups}]}]}
    for operation in ("CREATE", "UPDATE"):
        assert bool(refusals(ALL, Ask(KIRO, operation, resource, object=tree, old=tree, group=ADMISSION))) is held
        assert refusals(ALL, Ask(ALICE, operation, resource, object=tree, old=tree, group=ADMISSION)) == []
    assert refusals(ALL, Ask(KIRO, "DELETE", resource, old=tree, group=ADMISSION)) == [], "its own it may take away"


# ── the jail ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def subject(kind: SubjectKind, name: str, namespace: str = "", **more: Any) -> Subject:
    return Subject(kind, name, namespace, **more)


@pytest.mark.parametrize(
    ("held", "as_subject"),
    [
        (subject(SubjectKind.SERVICE_ACCOUNT, "kiro", "agents"), {"namespace": "agents", "name": "kiro"}),
        (subject(SubjectKind.SERVICE_ACCOUNT, "*", "agents"), {"namespace": "agents", "name": "*"}),
        (subject(SubjectKind.GROUP, "ai-agents"), {"name": "ai-agents"}),
        (subject(SubjectKind.USER, "kiro@example.com"), {"name": "kiro@example.com"}),
        (subject(SubjectKind.USER, "kiro-*"), None),
        (subject(SubjectKind.USER, "alice", groups=("assisted",)), None),
        (subject(SubjectKind.USER, "alice", extra={"agent": ("yes",)}), None),
    ],
)
def test_whom_it_can_name(held: Subject, as_subject: dict[str, str] | None) -> None:
    identity = AgentIdentity(Meta("a"), (held,), ("alice",))
    made = jail(SITE, [identity])
    assert is_jailed(identity) is (as_subject is not None)
    if as_subject is None:
        assert made == []
        return
    level, schema = (guard.body for guard in made)
    (named,) = schema["spec"]["rules"][0]["subjects"]
    assert as_subject in named.values()
    assert schema["spec"]["priorityLevelConfiguration"]["name"] == level["metadata"]["name"]


def test_it_has_no_seat_and_a_queue() -> None:
    """One that rejects at once lets a request through while nothing of it runs (queueset.go, canAccommodateSeatsLocked)."""
    level, schema = (guard.body for guard in jail(SITE, IDENTITIES))
    limited = level["spec"]["limited"]
    assert (limited["nominalConcurrencyShares"], limited["lendablePercent"], limited["borrowingLimitPercent"]) == (0, 0, 0)
    assert limited["limitResponse"]["type"] == "Queue"
    (rule,) = schema["spec"]["rules"][0]["resourceRules"]
    assert (rule["apiGroups"], rule["resources"]) == ([ADMISSION], ["*"])
    assert not {"get", "list", "watch"} & set(rule["verbs"])


def test_it_is_kept_only_where_it_is_chosen() -> None:
    kinds = {guard.kind for guard in guards(Site("uid", "countersign", "", b"", mutating=True), IDENTITIES, (environment(),))}
    assert not kinds & {"FlowSchema", "PriorityLevelConfiguration"}
    paths = {guard.path for guard in ALL if guard.name == "countersign-jail"}
    assert paths == {f"/apis/{FLOWS}/v1/{plural}/countersign-jail" for plural in ("flowschemas", "prioritylevelconfigurations")}


# ── the static manifest ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

POLICY, BINDING = (Guard(body) for body in static.manifests("countersign"))
POLICIES = "validatingadmissionpolicies"


def test_its_names_are_of_the_kind_that_the_api_server_demands() -> None:
    assert {guard.name for guard in (POLICY, BINDING)} == {"countersign-guards.static.k8s.io"}
    assert BINDING.body["spec"]["policyName"] == POLICY.name
    assert not {"paramKind"} & set(POLICY.body["spec"])
    assert not {"paramRef"} & set(BINDING.body["spec"])


@pytest.mark.parametrize(
    "resource", [POLICIES, "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "validatingwebhookconfigurations"]
)
@pytest.mark.parametrize(
    ("user", "operation", "name", "passes"),
    [
        (OPERATOR, "CREATE", "countersign-guards", True),
        (OPERATOR, "UPDATE", "countersign", True),
        (OPERATOR, "DELETE", "countersign-label-3", True),
        (COLLECTOR, "DELETE", "countersign-guards", True),
        (COLLECTOR, "UPDATE", "countersign-guards", False),
        ("kubernetes-admin", "UPDATE", "countersign-guards", False),
        ("kubernetes-admin", "DELETE", "countersign", False),
        (KIRO, "DELETE", "countersign-records", False),
        ("system:serviceaccount:other:countersign-operator", "UPDATE", "countersign-guards", False),
        (ALICE, "UPDATE", "countersigned", True),
        (ALICE, "DELETE", "kyverno", True),
    ],
)
def test_who_passes_it(resource: str, user: str, operation: str, name: str, passes: bool) -> None:
    tree = {"metadata": {"name": name}}
    asked = Ask(
        user,
        operation,
        resource,
        object=None if operation == "DELETE" else tree,
        old=None if operation == "CREATE" else tree,
        group=ADMISSION,
    )
    assert (refusals((POLICY, BINDING), asked) == []) is passes


def test_the_chart_ships_it_as_generated() -> None:
    shipped = Path(__file__).parents[2] / "charts/countersign/files/static-manifest.yaml"
    assert shipped.read_text() == static.text()
    assert list(yaml.safe_load_all(shipped.read_text())) == static.manifests(static.PLACE)
    assert static.main([str(shipped), "--check"]) == 0


def test_a_stale_file_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = tmp_path / "stale.yaml"
    stale.write_text("something: else\n")
    assert static.main([str(stale), "--check"]) == 1
    assert "make generate" in capsys.readouterr().err
    assert static.main([str(stale)]) == 0
    assert stale.read_text() == static.text()
