"""No policy and no webhook is asked about a write to an admission policy, so a cluster-admin agent weakens ours, or deletes the binding, and then does as it likes.

Source: k8s.io/apiserver pkg/admission/plugin/webhook/predicates/rules/rules.go (IsExemptAdmissionConfigurationResource); the answer: KEP-1040's jail.
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Elsewhere, Profile
from tests.jailbreak._stage import Stage

# The control is the standard profile. Dry runs on every cluster: it is what the other tests live by.
ATTACK = Attack(number=51, title="Weaken or delete our admission policies", profile=Profile.HARDENED, elsewhere=Elsewhere.DRY_RUN)
MERGE = "application/merge-patch+json"
JAILED = "Too many requests"


def test_the_policy_that_guards_the_others(stage: Stage) -> None:
    for name in ("countersign-guards", "countersign-guards-2"):
        url = path("validatingadmissionpolicies", name)
        open_ = {"spec": {"validations": [{"expression": "true"}]}}
        stage.judge(stage.strike("PATCH", url, open_, content_type=MERGE, dryRun="All"), by=JAILED)


def test_its_binding(stage: Stage) -> None:
    url = path("validatingadmissionpolicybindings", "countersign-guards")
    stage.judge(stage.strike("DELETE", url, dryRun="All"), by=JAILED)
    narrower = {"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"no": "such"}}}}}
    stage.judge(stage.strike("PATCH", url, narrower, content_type=MERGE, dryRun="All"), by=JAILED)


def test_all_at_once(stage: Stage) -> None:
    stage.judge(stage.strike("DELETE", path("validatingadmissionpolicybindings"), dryRun="All"), by=JAILED)


def test_a_mutating_policy_of_its_own(stage: Stage) -> None:
    """Which others would carry for it."""
    patch = {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/metadata/labels', value: {'a': 'b'}}]"}}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["namespaces"]}
    spec = {"reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": [rule]}, "mutations": [patch]}
    body = {"metadata": {"name": stage.name("helper")}, "spec": spec}
    stage.judge(stage.strike("POST", path("mutatingadmissionpolicies"), body, dryRun="All"), by=JAILED)
