"""A cluster-admin agent acts as a bystander (--as), and admission sees only the bystander, whom no AgentIdentity names. Where the
environment says whenAgentsCanImpersonate: Widen, everyone whom an agent could become is held back as that agent is.

Source: KEP-5284; facts of attack 31, for clusters whose API server the team does not configure.
"""

from tests.controlplane.api import path
from tests.e2e.story import Reply
from tests.jailbreak._attack import Attack, Elsewhere
from tests.jailbreak._stage import Stage
from tests.jailbreak._widening import wide

# The control is an environment that only reports, as all do unless told otherwise.
ATTACK = Attack(
    number=59,
    title="Delete as a bystander (--as), under Widen",
    elsewhere=Elsewhere.NOT,
    because="sets up an environment that widens, for which people sign",
)


def _deletes_as(stage: Stage, headers: dict[str, str]) -> None:
    def blow(url: str, **params: str) -> Reply:
        return stage.strike("DELETE", url, by=stage.agent, headers=headers, content_type=None, body=None, **params)

    if stage.control:
        url = path("namespaces", stage.namespace())
        stage.judge(blow(url), harm=stage.is_gone(url))
        return
    with wide(stage, lambda url: blow(url, dryRun="All")) as url:
        reply = blow(url)
        stage.judge(reply, harm=stage.is_gone(url))
        requester = stage.story.request(reply.request)["spec"]["requester"]
        assert requester["agents"], f"who could be behind it is not recorded: {requester}"


def test_a_human_bystander(stage: Stage) -> None:
    _deletes_as(stage, {"Impersonate-User": f"{stage.name('bystander')}@example.com", "Impersonate-Group": "system:masters"})


def test_a_service_account(stage: Stage) -> None:
    _deletes_as(stage, {"Impersonate-User": "system:serviceaccount:kube-system:somebodys-operator", "Impersonate-Group": "system:masters"})


def test_forged_credentials_of_a_controller_of_another_name(stage: Stage) -> None:
    headers = {"Impersonate-User": "system:apiserver", "Impersonate-Group": "system:masters"}
    _deletes_as(stage, headers | {"Impersonate-Extra-Authentication.kubernetes.io%2fcredential-id": "JTI=forged"})
