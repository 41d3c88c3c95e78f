"""The agent makes a ServiceAccount that is no agent and passes its own rights on to it: by a role it writes, by a role that is there, or by
a binding that comes only after the pod runs, when no look at the pod would see it.

Source: k8s.io/kubernetes pkg/registry/rbac/escalation_check.go: everybody may grant what he holds; found for this project.
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Profile
from tests.jailbreak._stage import Stage
from tests.jailbreak._workloads import RBAC, account, binding, taken_up

ATTACK = Attack(number=45, title="Grant one's own rights to a fresh account that is no agent", profile=Profile.HARDENED)
DELETES = {"apiGroups": ["", "apps"], "resources": ["persistentvolumeclaims", "pods"], "verbs": ["get", "delete"]}


def _may_delete_claims(stage: Stage, home: str) -> bool:
    """Whether the fresh account may, by what the API server says."""
    spec = {
        "user": f"system:serviceaccount:{home}:deputy",
        "groups": ["system:serviceaccounts", f"system:serviceaccounts:{home}"],
        "resourceAttributes": {"namespace": home, "verb": "delete", "resource": "persistentvolumeclaims"},
    }
    answer = stage.admin.request("POST", path("subjectaccessreviews"), {"spec": spec})
    return bool(answer.body["status"]["allowed"])


def _home(stage: Stage) -> str:
    home = stage.namespace("home")
    account(stage, home)
    taken_up(stage)
    return home


def test_by_a_role_that_it_writes(stage: Stage) -> None:
    home = _home(stage)
    reply = stage.strike("POST", path("roles", namespace=home), {"metadata": {"name": "mine"}, "rules": [DELETES]})
    if reply.ok:
        stage.agent.api.request("POST", path("rolebindings", namespace=home), binding("mine", "Role", "mine", home, "deputy"))
    stage.judge(reply, harm=lambda: _may_delete_claims(stage, home))


def test_by_a_role_that_is_there(stage: Stage) -> None:
    home = _home(stage)
    stage.make(path("roles", namespace=home), {"metadata": {"name": "theirs"}, "rules": [DELETES]})
    stage.comes_true(lambda: False, within=1)
    reply = stage.strike("POST", path("rolebindings", namespace=home), binding("mine", "Role", "theirs", home, "deputy"))
    stage.judge(reply, harm=lambda: _may_delete_claims(stage, home))


def test_by_a_cluster_role_of_somebody_elses(stage: Stage) -> None:
    home, name = _home(stage), stage.name("theirs")
    stage.make(path("clusterroles"), {"metadata": {"name": name}, "rules": [DELETES]})
    stage.comes_true(lambda: False, within=1)
    stage.clean(path("clusterrolebindings", name))
    reply = stage.strike("POST", path("clusterrolebindings"), binding(name, "ClusterRole", name, home, "deputy"))
    stage.judge(reply, harm=lambda: _may_delete_claims(stage, home))


def test_by_the_role_edit(stage: Stage) -> None:
    home = _home(stage)
    reply = stage.strike("POST", path("rolebindings", namespace=home), binding("mine", "ClusterRole", "edit", home, "deputy"))
    stage.judge(reply, harm=lambda: _may_delete_claims(stage, home))


def test_by_one_more_subject_of_a_binding_that_is_there(stage: Stage) -> None:
    home = _home(stage)
    stage.make(path("roles", namespace=home), {"metadata": {"name": "theirs"}, "rules": [DELETES]})
    url = stage.make(path("rolebindings", namespace=home), binding("theirs", "Role", "theirs", home, "somebody"))
    stage.comes_true(lambda: False, within=1)
    subjects = [{"kind": "ServiceAccount", "name": each, "namespace": home} for each in ("somebody", "deputy")]
    reply = stage.strike("PATCH", url, {"subjects": subjects}, content_type="application/merge-patch+json")
    stage.judge(reply, harm=lambda: _may_delete_claims(stage, home))


def test_by_more_rules_in_a_role_that_is_bound(stage: Stage) -> None:
    home = _home(stage)
    url = stage.make(path("roles", namespace=home), {"metadata": {"name": "theirs"}, "rules": []})
    stage.make(path("rolebindings", namespace=home), binding("theirs", "Role", "theirs", home, "deputy"))
    reply = stage.strike("PATCH", url, {"rules": [DELETES]}, content_type="application/merge-patch+json")
    stage.judge(reply, harm=lambda: _may_delete_claims(stage, home))


def test_by_a_label_that_gathers_a_role_into_a_bound_one(stage: Stage) -> None:
    """The controller that aggregates ClusterRoles does it in the agent's place."""
    home, label = _home(stage), f"{stage.name('gather')}.example.com/aggregate"
    strong = stage.make(path("clusterroles"), {"metadata": {"name": stage.name("strong")}, "rules": [DELETES]})
    name = stage.name("gathering")
    gathering = {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}
    stage.make(path("clusterroles"), {"metadata": {"name": name}, "aggregationRule": gathering, "rules": []})
    stage.make(path("rolebindings", namespace=home), binding("theirs", "ClusterRole", name, home, "deputy"))
    reply = stage.strike("PATCH", strong, {"metadata": {"labels": {label: "true"}}}, content_type="application/merge-patch+json")
    stage.judge(reply, harm=lambda: _may_delete_claims(stage, home))


def test_to_everybody(stage: Stage) -> None:
    """Who has no credentials at all is no agent either."""
    home = _home(stage)
    body = binding("mine", "Role", "theirs", home, "deputy")
    stage.make(path("roles", namespace=home), {"metadata": {"name": "theirs"}, "rules": [DELETES]})
    stage.comes_true(lambda: False, within=1)
    body["subjects"] = [{"kind": "Group", "name": f"system:serviceaccounts:{home}", "apiGroup": RBAC}]
    reply = stage.strike("POST", path("rolebindings", namespace=home), body)
    stage.judge(reply, harm=lambda: _may_delete_claims(stage, home))
