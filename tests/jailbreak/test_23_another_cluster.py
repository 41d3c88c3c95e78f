"""A change that reviewers signed for on a staging cluster is carried over, signature and all, to production, where things bear the same names.

Source: nobody's: no approval that we know of says for which cluster it is.
"""

from countersign.domain.statement import render
from countersign.wire.resources import parse_change_request
from tests.controlplane.api import path
from tests.e2e.story import manifest
from tests.jailbreak._attack import Attack, Elsewhere
from tests.jailbreak._stage import Stage

# The control carries the same record into the cluster that it is for. Both use the webhook's own credentials: nobody else may write it.
ATTACK = Attack(
    number=23,
    title="Replay to another cluster",
    elsewhere=Elsewhere.NOT,
    because="needs a reviewer's signature and the webhook's credentials",
)
ELSEWHERE = "9e5b2f6e-0000-4000-8000-000000000000"


def test_a_record_of_another_cluster(stage: Stage) -> None:
    url = path("namespaces", stage.namespace())
    asked = stage.strike("DELETE", url)
    spec = dict(stage.story.request(asked.request)["spec"])
    if stage.control:
        stage.judge(stage.story.approve(asked.request, stage.story.harness_reviewers()[0]))
    else:
        foreign = manifest("ChangeRequest", f"{asked.request}00000000", spec | {"cluster": {"name": "staging", "uid": ELSEWHERE}})
        foreign["spec"]["statement"] = render(parse_change_request({**foreign, "metadata": {**foreign["metadata"], "uid": "u"}}))
        carried = stage.story.send(stage.story.webhook_account(), "POST", path("changerequests"), foreign)
        assert carried.ok, str(carried)
        stage.judge(stage.story.approve(foreign["metadata"]["name"], stage.story.harness_reviewers()[0]))
    stage.judge(stage.strike("DELETE", url), harm=stage.is_gone(url))
