"""The agent writes a change request of its own that shows a reviewer a harmless text, and harvests the signature for another.

Source: follows from a signature over a text that stands in an object.
"""

from tests.controlplane.api import path
from tests.e2e.story import manifest
from tests.jailbreak._attack import RECORDS, Attack, away, schema
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=40, title="Plant a statement, harvest the signature", guards=away(RECORDS, schema("changerequests")))
HARMLESS = "kube-countersign.dev/v1alpha1\ntarget.name: scratch\n"


def test_a_request_of_the_agents_own(stage: Stage) -> None:
    asked = stage.strike("DELETE", path("namespaces", stage.namespace()))
    spec = stage.admin.get(path("changerequests", asked.request))["spec"]
    name = stage.name("planted")
    stage.clean(path("changerequests", name))
    reply = stage.strike("POST", path("changerequests"), manifest("ChangeRequest", name, spec | {"statement": HARMLESS}))
    stage.judge(reply, harm=lambda: stage.admin.exists(path("changerequests", name)))


def test_another_text_in_a_request_that_is_there(stage: Stage) -> None:
    asked = stage.strike("DELETE", path("namespaces", stage.namespace()))
    url = path("changerequests", asked.request)
    reply = stage.strike("PATCH", url, {"spec": {"statement": HARMLESS}}, content_type="application/merge-patch+json")
    stage.judge(reply, harm=lambda: stage.admin.get(url)["spec"]["statement"] == HARMLESS, by="it cannot be changed")
