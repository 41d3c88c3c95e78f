"""A mutating policy of the agent's rewrites what our operator and the API server write of our kinds: a webhook that converts every signature, another server.

Source: k8s.io/apiserver pkg/admission/plugin/policy/generic/plugin.go; CustomResourceDefinition versioning (a conversion webhook returns the object).
"""

from typing import Any

from tests.controlplane.api import OURS, path
from tests.jailbreak._attack import GUARDS, Attack, Elsewhere, away
from tests.jailbreak._sentinel import settle
from tests.jailbreak._stage import Stage
from tests.support.mutating import one_patch

ATTACK = Attack(
    number=82,
    title="A mutating policy rewrites our definitions and their API",
    guards=away(GUARDS),
    elsewhere=Elsewhere.NOT,
    because="puts a mutating policy into the cluster, and writes as the operator and the API server",
)
MERGE = "application/merge-patch+json"
HARMLESS = {"metadata": {"annotations": {"a": "b"}}}
FORGER = "https://127.0.0.1:9/convert"
CONVERTING = f"""[JSONPatch{{op: "replace", path: "/spec/conversion", value: Object.spec.conversion{{strategy: "Webhook",
  webhook: Object.spec.conversion.webhook{{conversionReviewVersions: ["v1"],
    clientConfig: Object.spec.conversion.webhook.clientConfig{{url: "{FORGER}"}}}}}}}}]"""
ELSEWHERE = """[JSONPatch{op: "add", path: "/spec/service", value: Object.spec.service{name: "forger", namespace: "default", port: 443}},
  JSONPatch{op: "add", path: "/spec/insecureSkipTLSVerify", value: true}]"""


def plant(stage: Stage, spec: dict[str, Any]) -> None:
    name = stage.name("helper")
    for plural, body in (("mutatingadmissionpolicies", spec), ("mutatingadmissionpolicybindings", {"policyName": name})):
        stage.clean(path(plural, name))
        stage.agent.api.create(path(plural), {"metadata": {"name": name}, "spec": body})
    settle(stage.admin, stage.name("planted"), mutating=True)


def test_a_webhook_that_converts_every_reviewer(stage: Stage) -> None:
    name = f"reviewers.{OURS}"
    plant(stage, one_patch("apiextensions.k8s.io", "customresourcedefinitions", name, CONVERTING))
    operator = stage.cluster.api_as(stage.story.account("countersign-operator"))
    url = path("customresourcedefinitions", name)
    reply = stage.strike("PUT", url, stage.admin.get(url), by=operator, dryRun="All")
    stage.judge(reply)
    if stage.control:
        assert reply.answer.body["spec"]["conversion"]["webhook"]["clientConfig"]["url"] == FORGER, "the control is to show the harm"


def test_another_server_when_the_api_server_registers_our_api(stage: Stage) -> None:
    name = f"v1alpha1.{OURS}"
    plant(stage, one_patch("apiregistration.k8s.io", "apiservices", name, ELSEWHERE))
    server = {"Impersonate-User": "system:apiserver", "Impersonate-Group": "system:masters"}
    url = f"/apis/apiregistration.k8s.io/v1/apiservices/{name}"
    reply = stage.strike("PATCH", url, HARMLESS, by=stage.admin, headers=server, content_type=MERGE, dryRun="All")
    stage.judge(reply)
    if stage.control:
        assert reply.answer.body["spec"]["service"]["name"] == "forger", "the control is to show the harm"
