"""`python -m tests.bench pods`: memory and CPU of each pod on kind, idle and at work, in a small cluster and in a large one.

Figures are the kernel's, from the containers' cgroups on the node: working set (what a limit is held against, without file pages that can go) and
CPU time. At work: agents ask without pause for deletions that are refused, people write without pause what they write all day.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

from tests.bench.measuring import BenchError
from tests.controlplane import docker, kubeconfig, waiting
from tests.controlplane.api import Api, path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster, running_cluster
from tests.controlplane.paths import ROOT
from tests.controlplane.progress import Progress

SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
EVERY = 2.0
NAMESPACES = int(os.environ.get("BENCH_NAMESPACES", "1000"))
IDENTITIES = int(os.environ.get("BENCH_IDENTITIES", "100"))
GUARDED = tuple(f"bench-guarded-{number}" for number in range(8))
WORKPLACE = "bench-work"
RESULTS = ROOT / ".bench/pods.json"

# For both versions of cgroups; a container has one folder of its own in each hierarchy. Prints: bytes used, bytes of file pages that can go,
# CPU time in ns (v1) or us (v2), and which of the two it was.
_READ = """
for id in "$@"; do
    memory=$(find /sys/fs/cgroup/memory /sys/fs/cgroup -maxdepth 6 -type d -name "*$id*" -print -quit 2>/dev/null)
    [ -n "$memory" ] || { echo gone; continue; }
    if [ -e "$memory/memory.usage_in_bytes" ]; then
        cpu=$(find /sys/fs/cgroup/cpuacct -maxdepth 6 -type d -name "*$id*" -print -quit)
        echo "$(cat "$memory/memory.usage_in_bytes") $(awk '$1 == "total_inactive_file" { print $2 }' "$memory/memory.stat") $(cat "$cpu/cpuacct.usage") 1"
    else
        echo "$(cat "$memory/memory.current") $(awk '$1 == "inactive_file" { print $2 }' "$memory/memory.stat") \
$(awk '$1 == "usage_usec" { print $2 }' "$memory/cpu.stat") 1000"
    fi
done
"""


@dataclass(frozen=True, slots=True)
class Pod:
    name: str
    role: str
    node: str
    container: str


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    working_set: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one pod in one phase: megabytes and thousandths of a processor."""

    phase: str
    role: str
    median_mb: float
    highest_mb: float
    millicores: float


@dataclass
class Work:
    """What was asked and how it was answered; anything else than what has to be is a fault of the measurement."""

    refused: int = 0
    written: int = 0
    odd: list[str] = field(default_factory=list)


def main() -> int:
    busy = os.getloadavg()[0]
    progress = Progress(sys.stderr)
    with running_cluster("kind") as cluster:
        if cluster.is_local:
            raise BenchError("the cluster that is up is local, without pods: `make down`, then CLUSTER=kind python -m tests.bench pods")
        _prepare(cluster)
        time.sleep(15)  # the caches of a new pod settle
        figures, rates = _measure(cluster, "small", progress)
        with progress.step(f"{NAMESPACES} namespaces and {IDENTITIES} agent identities"):
            _grow(cluster)
        time.sleep(15)
        more, rates_of_large = _measure(cluster, "large", progress)
    _report(figures + more, {**rates, **rates_of_large}, busy)
    return 0


def _prepare(cluster: Cluster) -> None:
    for name in (*GUARDED, WORKPLACE):
        if not cluster.api.request("GET", path("namespaces", name)).ok:
            cluster.api.create(path("namespaces"), {"metadata": {"name": name}})
    cluster.wait_in_force()


def _grow(cluster: Cluster) -> None:
    for number in range(IDENTITIES):
        subject = {"kind": "ServiceAccount", "namespace": "bench-agents", "name": f"agent-{number}"}
        cluster.api.create(path("agentidentities"), cluster.identity(f"bench-{number}", [subject]))
    for number in range(NAMESPACES):
        cluster.api.create(path("namespaces"), {"metadata": {"name": f"bench-{number}", "labels": {"team": f"team-{number % 20}"}}})
    waiting.until(lambda: _labelled(cluster) >= NAMESPACES, "the operator was to label the namespaces", timeout=300, pause=1)


def _labelled(cluster: Cluster) -> int:
    return len(cluster.api.list(f"{path('namespaces')}?labelSelector=kube-countersign.dev/protected"))


def _measure(cluster: Cluster, size: str, progress: Progress) -> tuple[list[Figures], dict[str, Work]]:
    pods = _pods(cluster)
    with progress.step(f"{size} cluster, idle: {SECONDS:g} s"):
        figures = _observe(pods, f"{size}, idle")
    work = Work()
    with progress.step(f"{size} cluster, at work: {SECONDS:g} s"), _at_work(cluster, work):
        figures += _observe(pods, f"{size}, at work")
    if work.odd or not work.refused or not work.written:
        raise BenchError(f"not every answer was as it has to be: {work.odd[:3]}, {work.refused} refused, {work.written} written")
    return figures, {size: work}


def _pods(cluster: Cluster) -> list[Pod]:
    leader = str(cluster.api.get(path("leases", "countersign-operator", namespace=NAMESPACE))["spec"]["holderIdentity"])
    found = []
    for pod in cluster.api.list(path("pods", namespace=NAMESPACE)):
        name, process = pod["metadata"]["name"], pod["metadata"]["labels"].get("app.kubernetes.io/component")
        if process not in ("webhook", "operator"):
            continue
        role = process if process == "webhook" else "operator, leading" if leader.startswith(name) else "operator, waiting"
        [status] = pod["status"]["containerStatuses"]
        found.append(Pod(name, role, pod["spec"]["nodeName"], status["containerID"].rpartition("/")[2]))
    return sorted(found, key=lambda pod: (pod.role, pod.name))


def _observe(pods: Sequence[Pod], phase: str) -> list[Figures]:
    seen: dict[str, list[Sample]] = {pod.name: [] for pod in pods}
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for pod, sample in _samples(pods):
            seen[pod.name].append(sample)
        time.sleep(EVERY)
    return [_figures(phase, pod.role, seen[pod.name]) for pod in pods]


def _samples(pods: Sequence[Pod]) -> Iterator[tuple[Pod, Sample]]:
    for node in sorted({pod.node for pod in pods}):
        here = [pod for pod in pods if pod.node == node]
        answer = docker.run("exec", node, "sh", "-c", _READ, "read", *(pod.container for pod in here))
        at = time.monotonic()
        for pod, line in zip(here, answer.stdout.splitlines(), strict=True):
            if line == "gone":
                raise BenchError(f"the pod {pod.name} has gone while it was measured: see its previous log")
            used, inactive, cpu, unit = (int(word) for word in line.split())
            yield pod, Sample(at, used - inactive, cpu * unit / 1e9)


def _figures(phase: str, role: str, samples: Sequence[Sample]) -> Figures:
    memory = [sample.working_set / 1e6 for sample in samples]
    first, last = samples[0], samples[-1]
    cores = (last.cpu_seconds - first.cpu_seconds) / (last.at - first.at)
    return Figures(phase, role, round(statistics.median(memory), 1), round(max(memory), 1), round(cores * 1000, 1))


@contextmanager
def _at_work(cluster: Cluster, work: Work) -> Iterator[None]:
    stopped = threading.Event()
    threads = [threading.Thread(target=_agent, args=(cluster, work, stopped, number)) for number in range(4)]
    threads += [threading.Thread(target=_person, args=(cluster, work, stopped, number)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _api(cluster: Cluster, user: str) -> Api:
    return Api(kubeconfig.load(cluster.paths.users / f"{user}.kubeconfig"))


def _agent(cluster: Cluster, work: Work, stopped: threading.Event, number: int) -> None:
    with _api(cluster, "kiro") as api:
        while not stopped.is_set():
            name = GUARDED[(number := number + 1) % len(GUARDED)]
            answer = api.request("DELETE", path("namespaces", name))
            if answer.status == HTTPStatus.FORBIDDEN and "WAITING FOR HUMAN SIGNATURES" in answer.body["message"]:
                work.refused += 1
            else:
                work.odd.append(f"{answer.status} {answer.body.get('message')}")


def _person(cluster: Cluster, work: Work, stopped: threading.Event, number: int) -> None:
    collection = path("configmaps", namespace=WORKPLACE)
    with _api(cluster, "alice") as api:
        while not stopped.is_set():
            name = f"work-{number}"
            steps = (
                api.request("POST", collection, {"metadata": {"name": name}, "data": {"at": str(time.time())}}),
                api.request("PATCH", f"{collection}/{name}", {"data": {"more": "x"}}, content_type="application/merge-patch+json"),
                api.request("PATCH", path("namespaces", WORKPLACE), _label(number), content_type="application/merge-patch+json"),
                api.request("DELETE", f"{collection}/{name}"),
            )
            work.odd += [f"{answer.status} {answer.body.get('message')}" for answer in steps if not answer.ok]
            work.written += sum(answer.ok for answer in steps)


def _label(number: int) -> dict[str, object]:
    return {"metadata": {"labels": {f"bench-{number}": f"{time.time():.3f}"}}}


def _report(figures: Sequence[Figures], rates: dict[str, Work], busy: float) -> None:
    print(f"\nLoad of the machine before it began: {busy:.1f} on {os.cpu_count()} processors. Each phase took {SECONDS:g} s.")
    for size, work in rates.items():
        print(f"{size}: {work.refused / SECONDS:.0f} refused deletions a second, {work.written / SECONDS:.0f} ordinary writes a second")
    print(f"large: {NAMESPACES} namespaces and {IDENTITIES} agent identities more\n")
    print("| pod | phase | memory, median MB | highest MB | CPU, thousandths of a processor |\n|---|---|---|---|---|")
    for each in sorted(figures, key=lambda figure: figure.role):
        print(f"| {each.role} | {each.phase} | {each.median_mb:.0f} | {each.highest_mb:.0f} | {each.millicores:.0f} |")
    tree = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "loadBefore": busy,
        "secondsOfAPhase": SECONDS,
        "work": {size: {"refused": work.refused, "written": work.written} for size, work in rates.items()},
        "figures": [asdict(each) for each in figures],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(tree, indent=2) + "\n")
    print(f"\nWritten to {RESULTS.relative_to(ROOT)}.")
