"""Whoever reaches the webhook's port posts reviews in another's name: change requests that nobody asked for stand before the reviewers, and the one who is named has no room left.

Source: Kubernetes documentation, "Authenticate API servers" (Dynamic Admission Control): a webhook cannot know who calls unless the API server shows a certificate.
"""

from tests.controlplane.api import path
from tests.controlplane.pki import Authority
from tests.jailbreak._attack import Answer as Answered
from tests.jailbreak._attack import Attack, Elsewhere
from tests.jailbreak._reviews import deletion, opened
from tests.jailbreak._stage import Stage

# By authorization of the caller, which a team has to choose (apiServerClient); the control is a webhook that asks for no certificate.
ATTACK = Attack(
    number=56,
    title="Post a forged review in another's name",
    answer=Answered.ADVISED,
    elsewhere=Elsewhere.NOT,
    because="posts to a second webhook process",
    local_only="needs a second webhook process",
)


def test_in_anothers_name(stage: Stage) -> None:
    target = stage.namespace()
    review = deletion(stage.admin.get(path("namespaces", target)), stage.agent.username)
    authority = Authority.load_or_make(stage.folder / "ca.crt", stage.folder / "ca.key")
    settings = {"COUNTERSIGN_CLIENT_CA": (stage.folder / "ca.crt").read_text(), "COUNTERSIGN_CLIENT_NAMES": "kube-apiserver"}
    del authority
    said = ""
    with stage.cluster.extra_webhook(**({} if stage.control else settings)) as webhook:
        try:
            webhook.review(review)
        except Exception as error:  # noqa: BLE001  # whichever way the client tells of the refusal
            said = str(error).split("\n", 1)[0]
    stage.done(
        lambda: opened(stage, target) > 0, "a change request stands in the agent's name", evidence=f"the webhook does not answer: {said}"
    )
