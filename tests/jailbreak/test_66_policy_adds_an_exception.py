"""The agent's MutatingAdmissionPolicy adds an exception, or takes a signature away, in a human's harmless update of an environment.

Source: found for this project; follows from attack 32.
"""

from tests.jailbreak._attack import Answer, Attack, Elsewhere, away, entry
from tests.jailbreak._stage import Stage
from tests.jailbreak._unseen import MERGE, environment, event, plant, warning

ATTACK = Attack(
    number=66,
    title="An agent's policy weakens an environment in a human's update",
    answer=Answer.DETECTED,
    guards=away(entry("own")),
    elsewhere=Elsewhere.NOT,
    because="puts a mutating policy into the cluster",
)


def _struck(stage: Stage) -> tuple[str, str]:
    """The environment, and what the human saw."""
    name, _ = environment(stage)
    url = f"/apis/kube-countersign.dev/v1alpha1/protectedenvironments/{name}"
    plant(
        stage,
        "kube-countersign.dev",
        "protectedenvironments",
        name,
        '[JSONPatch{op: "add", path: "/spec/except", value: [{"kind": "User", "name": "mallory"}]}]',
    )
    reply = stage.strike("PATCH", url, {"metadata": {"annotations": {"note": "harmless"}}}, by=stage.admin, content_type=MERGE)
    assert reply.ok, str(reply)
    assert stage.admin.get(url)["spec"]["except"], "the attack as such"
    return name, warning(reply.answer, "more identities are excepted")


def test_the_human_is_warned(stage: Stage) -> None:
    _, seen = _struck(stage)
    stage.detected(lambda: seen, "an exception was added")


def test_an_event_tells_of_it(stage: Stage) -> None:
    name, _ = _struck(stage)
    stage.detected(lambda: event(stage, "ProtectionWeakened", name), "an exception was added")
