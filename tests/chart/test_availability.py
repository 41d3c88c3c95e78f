"""High availability as shipped: apart, ready before the old ones go, given time to drain, pushed out by nobody."""

from typing import Any

import pytest

from countersign.entrypoints.protocol import Limits
from countersign.settings import read
from tests.chart.rendering import NAMED, OUT_OF_CLUSTER, Chart, Refused
from tests.chart.test_processes import PROCESSES, container, pod

CRITICAL = "system-cluster-critical"
AUTOSCALED: dict[str, Any] = {"webhook": {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 6}}}


def deployment(chart: Chart, process: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = chart.find("Deployment", f"countersign-{process}", {**NAMED, **(values or {})})["spec"]
    return found


def selector(process: str) -> dict[str, Any]:
    return {"matchLabels": {"app.kubernetes.io/name": "countersign", "app.kubernetes.io/component": process}}


@pytest.mark.parametrize("process", PROCESSES)
def test_two_of_each_and_three_is_one_value_away(chart: Chart, process: str) -> None:
    assert deployment(chart, process)["replicas"] == 2
    assert deployment(chart, process, {process: {"replicas": 3}})["replicas"] == 3


@pytest.mark.parametrize("process", PROCESSES)
def test_a_new_replica_is_there_before_an_old_one_goes(chart: Chart, process: str) -> None:
    spec = deployment(chart, process)
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert spec["revisionHistoryLimit"] == 3


@pytest.mark.parametrize("process", PROCESSES)
def test_replicas_are_apart_wherever_that_is_possible(chart: Chart, process: str) -> None:
    spec = pod(chart, process)
    spread = spec["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    for each in spread:
        assert each["whenUnsatisfiable"] == "ScheduleAnyway", "a cluster of one node runs both"
        assert each["labelSelector"] == selector(process)
        assert each["matchLabelKeys"] == ["pod-template-hash"]
    (apart,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert apart["podAffinityTerm"] == {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector(process)}
    assert "requiredDuringSchedulingIgnoredDuringExecution" not in spec["affinity"]["podAntiAffinity"]


@pytest.mark.parametrize("process", PROCESSES)
def test_a_teams_own_affinity_is_added_and_wins(chart: Chart, process: str) -> None:
    own: dict[str, Any] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": []}]}}}
    assert pod(chart, process, {process: {"affinity": own}})["affinity"] == {**pod(chart, process)["affinity"], **own}
    term = {"weight": 1, "podAffinityTerm": {"topologyKey": "example.com/rack", "labelSelector": selector(process)}}
    other = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert pod(chart, process, {process: {"affinity": other}})["affinity"] == other


@pytest.mark.parametrize("process", PROCESSES)
def test_a_drain_of_nodes_takes_one_and_is_not_held_up_by_broken_ones(chart: Chart, process: str) -> None:
    budget = chart.find("PodDisruptionBudget", f"countersign-{process}")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_there_is_time_to_drain(chart: Chart) -> None:
    """The webhook answers on for `drain` after SIGTERM and then lets what it has begun end, all by itself: nothing is left to a preStop hook."""
    settings = read({"COUNTERSIGN_CLUSTER_NAME": "x", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, listen="127.0.0.1:1")
    for process in PROCESSES:
        grace = pod(chart, process)["terminationGracePeriodSeconds"]
        assert settings.drain.total_seconds() + Limits().finish + 5 <= grace
        assert "lifecycle" not in container(chart, process)
    # By then the endpoints' controllers and the API server know that it is going: it is unready at once.
    probe = container(chart, "webhook")["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"] < settings.drain.total_seconds()


@pytest.mark.parametrize("process", PROCESSES)
def test_each_probe_asks_for_what_it_stands_for(chart: Chart, process: str) -> None:
    only = container(chart, process)
    startup, readiness, liveness = (only[f"{name}Probe"] for name in ("startup", "readiness", "liveness"))
    assert startup["httpGet"] == liveness["httpGet"] != readiness["httpGet"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60, "a starved node starts Python slowly"
    assert "initialDelaySeconds" not in liveness, "the startup probe is what waits"
    # Frozen for less than what a pause of the machine takes it is not restarted, and it is never restarted for not being ready.
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 30


# --- priority -------------------------------------------------------------------------------------


def test_nobodys_pods_push_ours_out_also_where_such_pods_need_a_quota(chart: Chart) -> None:
    assert {pod(chart, process)["priorityClassName"] for process in PROCESSES} == {CRITICAL}
    quota = chart.find("ResourceQuota", "countersign-critical-pods")["spec"]
    assert quota["scopeSelector"] == {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": [CRITICAL]}]}
    assert set(quota["hard"]) == {"pods"}, "any other limit would ask something of every pod"
    assert int(quota["hard"]["pods"]) >= 2 * (10 + 10)


@pytest.mark.parametrize(
    ("webhook", "operator", "values"),
    [
        ("system-node-critical", CRITICAL, [CRITICAL, "system-node-critical"]),
        ("", CRITICAL, [CRITICAL]),
        ("platform", "", None),
        ("", "", None),
    ],
)
def test_the_quota_is_for_the_classes_in_use(chart: Chart, webhook: str, operator: str, values: list[str] | None) -> None:
    given: dict[str, Any] = {**NAMED, "webhook": {"priorityClassName": webhook}, "operator": {"priorityClassName": operator}}
    assert pod(chart, "webhook", given).get("priorityClassName", "") == webhook
    if values is None:
        assert ("ResourceQuota", "countersign-critical-pods") not in chart.names(given)
    else:
        quota = chart.find("ResourceQuota", "countersign-critical-pods", given)
        assert quota["spec"]["scopeSelector"]["matchExpressions"][0]["values"] == values


# --- autoscalers ----------------------------------------------------------------------------------


def test_with_an_autoscaler_the_replicas_are_its_own(chart: Chart) -> None:
    assert "HorizontalPodAutoscaler" not in {kind for kind, _ in chart.names()}
    assert "replicas" not in deployment(chart, "webhook", AUTOSCALED)
    assert deployment(chart, "operator", AUTOSCALED)["replicas"] == 2
    scaler = chart.find("HorizontalPodAutoscaler", "countersign-webhook", {**NAMED, **AUTOSCALED})["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "countersign-webhook"}
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 6)
    (metric,) = scaler["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    assert container(chart, "webhook", AUTOSCALED)["resources"]["requests"]["cpu"], "of what would it be a percentage"


def test_the_budget_goes_by_the_fewest_replicas(chart: Chart) -> None:
    budget = ("PodDisruptionBudget", "countersign-webhook")
    assert budget in chart.names({**NAMED, "webhook": {"replicas": 1, "autoscaling": {"enabled": True}}})
    assert budget not in chart.names({**NAMED, "webhook": {"autoscaling": {"enabled": True, "minReplicas": 1}}})


def test_out_of_the_cluster_nothing_is_scaled(chart: Chart) -> None:
    assert "HorizontalPodAutoscaler" not in {kind for kind, _ in chart.names(OUT_OF_CLUSTER)}
    with pytest.raises(Refused, match=r"webhook\.autoscaling\.enabled is about pods"):
        chart.objects({**OUT_OF_CLUSTER, **AUTOSCALED})


@pytest.mark.parametrize("process", PROCESSES)
def test_a_vertical_autoscaler_has_nothing_in_its_way(chart: Chart, process: str) -> None:
    """It scales what requests there are; a CPU limit would be scaled with them, and throttle."""
    resources = container(chart, process)["resources"]
    assert set(resources["requests"]) == {"cpu", "memory"}
    assert "cpu" not in resources["limits"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"autoscaling": {"enabled": True, "minReplicas": 0}}, "/webhook/autoscaling/minReplicas"),
        ({"autoscaling": {"enabled": True, "maxReplicas": 50}}, "/webhook/autoscaling/maxReplicas"),
        ({"autoscaling": {"enabled": True, "minReplicas": 6, "maxReplicas": 3}}, "minReplicas"),
        ({"autoscaling": {"enabled": "yes"}}, "/webhook/autoscaling/enabled"),
        ({"autoscaling": {"targetCPUUtilizationPercentage": 0}}, "/webhook/autoscaling/targetCPUUtilizationPercentage"),
    ],
)
def test_refused(chart: Chart, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        chart.objects({**NAMED, "webhook": values})
