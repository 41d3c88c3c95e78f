"""An agent takes Countersign's own parts away: its namespace, its certificate, its Deployments, a pod beside them, its roles; what is guarded would wait for ever or pass.

Source: SIG Security admission control threat model; Kubernetes' good practices for admission webhooks.
"""

from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE
from tests.jailbreak._attack import AGENTS, AGENTS_INSIDE, WEBHOOK, Attack, Elsewhere, away
from tests.jailbreak._stage import Stage

# Dry runs on every cluster: it is what the other tests live by.
ATTACK = Attack(
    number=7,
    title="Take Countersign's own parts away",
    guards=away(AGENTS, AGENTS_INSIDE, WEBHOOK),
    elsewhere=Elsewhere.DRY_RUN,
)
MERGE = "application/merge-patch+json"


def test_its_namespace(stage: Stage) -> None:
    stage.judge(stage.strike("DELETE", path("namespaces", NAMESPACE), dryRun="All"))
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
    stage.judge(stage.strike("PATCH", path("namespaces", NAMESPACE), labels, content_type=MERGE, dryRun="All"))


def test_its_certificate(stage: Stage) -> None:
    secret = path("secrets", "countersign-webhook-tls", namespace=NAMESPACE)
    stage.judge(stage.strike("DELETE", secret, dryRun="All"))
    stage.judge(stage.strike("PATCH", secret, {"data": {"tls.key": "bm9uZQ=="}}, content_type=MERGE, dryRun="All"))
    stage.judge(stage.strike("DELETE", path("secrets", namespace=NAMESPACE), dryRun="All"))


def test_its_lease(stage: Stage) -> None:
    """Who holds it leads: everybody else stands by."""
    lease = path("leases", "countersign-operator", namespace=NAMESPACE)
    taken = {"spec": {"holderIdentity": "the-agent", "leaseDurationSeconds": 3600}}
    stage.judge(stage.strike("PATCH", lease, taken, content_type=MERGE, dryRun="All"))
    stage.judge(stage.strike("DELETE", lease, dryRun="All"))


def test_its_account_and_a_token_of_it(stage: Stage) -> None:
    account = path("serviceaccounts", "countersign-operator", namespace=NAMESPACE)
    stage.judge(stage.strike("DELETE", account, dryRun="All"))
    token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    stage.judge(stage.strike("POST", f"{account}/token", token, dryRun="All"))


def test_a_pod_of_its_account_and_a_deployment_beside(stage: Stage) -> None:
    container = {"name": "c", "image": "busybox"}
    pod = {"metadata": {"name": stage.name("beside")}, "spec": {"serviceAccountName": "countersign-operator", "containers": [container]}}
    stage.judge(stage.strike("POST", path("pods", namespace=NAMESPACE), pod, dryRun="All"))
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployment = {"metadata": {"name": stage.name("beside")}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    stage.judge(stage.strike("POST", path("deployments", namespace=NAMESPACE), deployment, dryRun="All"))


def test_its_settings(stage: Stage) -> None:
    """`helm upgrade --set glassAhead=1s`: glass that is broken before anybody hears of it. The release is a Secret, the setting an environment variable."""
    release = {
        "metadata": {"name": f"sh.helm.release.v1.{stage.name('countersign')}.v2"},
        "type": "helm.sh/release.v1",
        "data": {"release": "eA=="},
    }
    stage.judge(stage.strike("POST", path("secrets", namespace=NAMESPACE), release, dryRun="All"))
    labels = {"app": stage.name("settings")}
    container = {"name": "webhook", "image": "busybox"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    deployment = stage.make(path("deployments", namespace=NAMESPACE), {"metadata": {"name": labels["app"]}, "spec": spec})
    sooner = {"spec": {"template": {"spec": {"containers": [container | {"env": [{"name": "COUNTERSIGN_GLASS_AHEAD", "value": "1s"}]}]}}}}
    stage.judge(stage.strike("PATCH", deployment, sooner, content_type=MERGE, dryRun="All"))
    stage.judge(stage.strike("PATCH", f"{deployment}/scale", {"spec": {"replicas": 0}}, content_type=MERGE, dryRun="All"))


def test_its_events_and_quota(stage: Stage) -> None:
    """Even what looks harmless: a quota of nothing keeps every pod of ours away."""
    quota = {"metadata": {"name": stage.name("nothing")}, "spec": {"hard": {"pods": "0"}}}
    stage.judge(stage.strike("POST", f"/api/v1/namespaces/{NAMESPACE}/resourcequotas", quota, dryRun="All"))
    about = {"kind": "Namespace", "name": NAMESPACE, "namespace": NAMESPACE}
    event = {"metadata": {"name": stage.name("lie")}, "involvedObject": about, "reason": "Lie", "message": "all is well", "type": "Normal"}
    stage.judge(stage.strike("POST", path("events", namespace=NAMESPACE), event, dryRun="All"))


def test_its_roles_and_who_holds_them(stage: Stage) -> None:
    for plural in ("clusterroles", "clusterrolebindings"):
        for name in ("countersign-operator", "countersign-webhook"):
            stage.judge(stage.strike("DELETE", path(plural, name), dryRun="All"))
