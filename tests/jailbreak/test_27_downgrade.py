"""An agent runs `helm upgrade` with weaker values, or `helm uninstall`: every object of the release in the order in which Helm would write or delete it.

Source: follows from the chart; facts of Helm's order of kinds.
"""

from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE
from tests.jailbreak._attack import AGENTS, AGENTS_INSIDE, WEBHOOK, Attack, Elsewhere, away
from tests.jailbreak._stage import Stage

# Dry runs on every cluster: it is what the other tests live by.
ATTACK = Attack(
    number=27,
    title="Upgrade the release with weaker values, or uninstall it",
    guards=away(AGENTS, AGENTS_INSIDE, WEBHOOK),
    elsewhere=Elsewhere.DRY_RUN,
)
MERGE = "application/merge-patch+json"
DEFAULT = path("protectedenvironments", "default")


def test_weaker_values_of_the_default_environment(stage: Stage) -> None:
    weaker = (
        {"mode": "Audit"},
        {"ownWork": "8760h"},
        {"namespaces": {"exclude": ["kube-system", "kube-public", "kube-node-lease", "payments"]}},
        {"except": [{"kind": "Group", "name": "system:serviceaccounts:agents"}]},
        {"lockdownLifted": "77aa"},
    )
    for spec in weaker:
        stage.judge(stage.strike("PATCH", DEFAULT, {"spec": spec}, content_type=MERGE, dryRun="All"))


def test_the_default_environment_uninstalled(stage: Stage) -> None:
    stage.judge(stage.strike("DELETE", DEFAULT, dryRun="All"))


def test_the_release_itself(stage: Stage) -> None:
    """Helm writes a Secret for each revision into the release's namespace before anything else."""
    secret = {"metadata": {"name": "sh.helm.release.v1.countersign.v99"}, "type": "helm.sh/release.v1"}
    stage.judge(stage.strike("POST", path("secrets", namespace=NAMESPACE), secret, dryRun="All"))


def test_the_role_with_which_every_guard_goes(stage: Stage) -> None:
    stage.judge(stage.strike("DELETE", path("clusterroles", "countersign-operator"), dryRun="All"))
    stage.judge(stage.strike("DELETE", path("clusterroles"), fieldSelector="metadata.name=countersign-operator", dryRun="All"))
