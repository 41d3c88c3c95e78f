"""No admission is asked about admission policies, so the agent first deletes the policy that guards the webhook configuration, or its binding,
and then the configuration. Only authorization can stop the first step.

Source: k8s.io/apiserver pkg/admission/plugin/webhook/predicates/rules/rules.go (IsExemptAdmissionConfigurationResource).
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Profile
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=2, title="The policy that guards it, or its binding, first", profile=Profile.AUTHORIZER)
MERGE = "application/merge-patch+json"
POLICY, BINDING = path("validatingadmissionpolicies", "countersign-guards"), path("validatingadmissionpolicybindings", "countersign-guards")


def test_ours(stage: Stage) -> None:
    """As dry runs: what would be gone is what the other tests live by."""
    stage.judge(stage.strike("DELETE", BINDING, dryRun="All"))
    stage.judge(stage.strike("DELETE", POLICY, dryRun="All"))
    stage.judge(stage.strike("PATCH", POLICY, {"spec": {"validations": [{"expression": "true"}]}}, content_type=MERGE, dryRun="All"))
    audited = {"spec": {"validationActions": ["Audit"]}}
    stage.judge(stage.strike("PATCH", BINDING, audited, content_type=MERGE, dryRun="All"))
    stage.judge(stage.strike("DELETE", path("validatingadmissionpolicybindings"), dryRun="All"))


def test_one_like_ours(stage: Stage) -> None:
    """In earnest, on a binding of the same kind."""
    name = stage.name("policy")
    rule = {"apiGroups": ["jailbreak.example.com"], "apiVersions": ["*"], "operations": ["DELETE"], "resources": ["*"]}
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "false"}]}
    stage.make(path("validatingadmissionpolicies"), {"metadata": {"name": name}, "spec": spec})
    bound = {"policyName": name, "validationActions": ["Deny"]}
    url = stage.make(path("validatingadmissionpolicybindings"), {"metadata": {"name": name}, "spec": bound})
    stage.judge(stage.strike("DELETE", url), harm=stage.is_gone(url))


def test_a_policy_that_others_carry(stage: Stage) -> None:
    name = stage.name("carried")
    rule = {"apiGroups": ["jailbreak.example.com"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["*"]}
    patch = {"patchType": "JSONPatch", "jsonPatch": {"expression": '[JSONPatch{op: "add", path: "/metadata/labels/a", value: "b"}]'}}
    spec = {"reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": [rule]}, "mutations": [patch]}
    url = path("mutatingadmissionpolicies", name)
    stage.clean(url)
    body = {"metadata": {"name": name}, "spec": spec}
    stage.judge(stage.strike("POST", path("mutatingadmissionpolicies"), body), harm=lambda: stage.admin.exists(url))
