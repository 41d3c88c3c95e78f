"""An object that cannot be decoded may be deleted unseen: `ignoreStoreReadErrorWithClusterBreakingPotential` skips admission and finalizers.

Source: KEP-3926; k8s.io/apiserver pkg/registry/generic/registry/corrupt_obj_deleter.go.
"""

import json

from tests.controlplane.api import path
from tests.e2e.story import Reply
from tests.jailbreak._attack import WEBHOOK, Attack, away
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=25, title="Unsafe delete of an object (ignoreStoreReadError…)", guards=away(WEBHOOK))
OPTION = "ignoreStoreReadErrorWithClusterBreakingPotential"
VERB = "unsafe-delete-ignore-read-errors"


def test_of_an_object_that_can_be_read(stage: Stage) -> None:
    """Without its feature gate (alpha, off) the API server leaves the option out; with the gate it takes it for unreadable objects only."""
    url = path("namespaces", stage.namespace())
    stage.judge(stage.raw("DELETE", f"{url}?{OPTION}=true"), harm=stage.is_gone(url))


def test_the_option_in_the_body(stage: Stage) -> None:
    url = path("namespaces", stage.namespace())
    body = {"apiVersion": "v1", "kind": "DeleteOptions", OPTION: True}
    stage.judge(stage.raw("DELETE", url, json.dumps(body).encode()), harm=stage.is_gone(url))


def test_the_right_to_it(stage: Stage) -> None:
    """Of an object that really cannot be read there is nothing to show to admission. The right is a verb of its own, which the chart's role lacks."""
    agent = stage.agent if stage.control else stage.tame
    attributes = {"verb": VERB, "group": "", "resource": "namespaces"}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
    answer = Reply(agent.api.request("POST", path("selfsubjectaccessreviews"), body))
    assert answer.ok, str(answer)
    stage.done(lambda: bool(answer.answer.body["status"]["allowed"]), f"an agent may {VERB}", evidence=f"countersign-agent may not {VERB}")
