"""A migration or a changed manifest loses the label by which an environment selects, and nobody has attacked anything.

Source: cozystack/cozystack#2980.
"""

from tests.e2e.story import label_of
from tests.jailbreak._attack import Answer, Attack, Elsewhere, away, policy
from tests.jailbreak._stage import Stage
from tests.jailbreak._unseen import MERGE, environment, event, warning

ATTACK = Attack(
    number=4,
    title="The label is lost by a human's apply",
    answer=Answer.DETECTED,
    guards=away(policy("leaving")),
    elsewhere=Elsewhere.NOT,
    because="reads what the operator tells of an environment of its own",
)


def test_an_event_tells_of_it(stage: Stage) -> None:
    name, namespace = environment(stage)
    reply = stage.strike("PATCH", namespace, {"metadata": {"labels": {label_of(name): None}}}, by=stage.admin, content_type=MERGE)
    assert reply.ok, str(reply)
    stage.detected(lambda: event(stage, "LeftEnvironment", namespace.rpartition("/")[2]), "a namespace left its environment")


def test_whoever_does_it_is_warned(stage: Stage) -> None:
    name, namespace = environment(stage)
    reply = stage.strike("PATCH", namespace, {"metadata": {"labels": {label_of(name): None}}}, by=stage.admin, content_type=MERGE)
    assert reply.ok, str(reply)
    stage.detected(lambda: warning(reply.answer, "takes the namespace"), "a namespace left its environment")
