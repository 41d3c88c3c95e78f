"""`python -m tests.bench tamper`: how soon a guard is put back, and how often an agent gets through the gap that it tears.

The agent is `rogue`: cluster-admin, with no jail, authorizer or static manifest in its way. It weakens guards by each road and at once
deletes a namespace. What counts is the namespace: several guards stand before it.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from tests.controlplane import kubeconfig
from tests.controlplane.api import Api, path
from tests.controlplane.cluster import Cluster, running_cluster

ROUNDS = int(os.environ.get("TAMPER_ROUNDS", "100"))
HAMMERED = max(1, ROUNDS // 10)
HAMMER_SECONDS = 2.0
TICK = 1.2  # in which the API server takes up what was put back
GOAL = 100.0  # ms
GUARDS = ("countersign-guards", "countersign-guards-2")
POLICIES, BINDINGS = path("validatingadmissionpolicies"), path("validatingadmissionpolicybindings")
CONFIGURATION = path("validatingwebhookconfigurations", "countersign")
OPEN = {"spec": {"validations": [{"expression": "true"}]}}
_NUMBERS = itertools.count()
MERGE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Race:
    road: str
    rounds: int
    configurations: int
    namespaces: int


def main() -> int:
    with running_cluster() as cluster:
        print(f"Load of the machine before it began: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors.\n")
        _report_repairs(cluster)
        hammered = f"both policies weakened without pause for {HAMMER_SECONDS:g} s"
        races = [
            race(cluster, "the webhook configuration alone", ROUNDS, lambda _: None),
            race(cluster, "one of the two policies before it weakened", ROUNDS, lambda api: _weaken(api, GUARDS[:1])),
            race(cluster, "both policies weakened at once", ROUNDS, lambda api: _weaken(api, GUARDS)),
            race(cluster, "both bindings deleted at once", ROUNDS, _unbind),
            race(cluster, hammered, HAMMERED, _weaken_for_a_while, pause=HAMMER_SECONDS / 2),
        ]
        cluster.reconfigure(policyJail="always")
        try:
            time.sleep(2 * TICK)
            races.append(race(cluster, "the same with policyJail: always", HAMMERED, _weaken_for_a_while, pause=HAMMER_SECONDS / 2))
        finally:
            cluster.reconfigure(policyJail="profile")
    print("\nAn agent tears a gap and at once deletes the webhook configuration and a namespace:\n")
    print(f"  {'road':<58} rounds   configurations gone   namespaces gone")
    for each in races:
        print(f"  {each.road:<58} {each.rounds:>6} {each.configurations:>21} {each.namespaces:>17}")
    return 0


# --- how soon ---------------------------------------------------------------------------------


def _report_repairs(cluster: Cluster) -> None:
    plain, repairs = repair_times(cluster, ROUNDS)
    worst = ", ".join(f"{each:.0f}" for each in repairs[-5:])
    print(f"A plain PATCH of that policy by a client takes {statistics.median(plain):.0f} ms (median) to {max(plain):.0f} ms here and now.")
    print(f"A weakened policy was back after {statistics.median(repairs):.0f} ms (median of {len(repairs)}); the five longest: {worst} ms.")
    late = sum(1 for each in repairs if each > GOAL)
    print(f"{late} of {len(repairs)} took longer than the goal of {GOAL:.0f} ms between the two watch events.")


def repair_times(cluster: Cluster, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds: of a PATCH's round trip, and between the watch events of a weakening and of its repair, both sorted."""
    name = "countersign-records"
    seen: list[tuple[float, dict[str, Any]]] = []
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(cluster, seen, stop), daemon=True)
    watcher.start()
    time.sleep(1)
    plain: list[float] = []
    repairs: list[float] = []
    api = cluster.api_as("rogue")
    for _ in range(rounds):
        time.sleep(random.uniform(0.05, 0.8))  # so that no rhythm of the API server shows
        before = len(seen)
        began = time.perf_counter()
        api.patch(f"{POLICIES}/{name}", OPEN)
        plain.append((time.perf_counter() - began) * 1000)
        if (found := _between(seen, before, name)) is not None:
            repairs.append(found)
    stop.set()
    return sorted(plain), sorted(repairs)


def _watch(cluster: Cluster, seen: list[tuple[float, dict[str, Any]]], stop: threading.Event) -> None:
    credentials = kubeconfig.load(cluster.paths.kubeconfig)
    with Api(credentials, timeout=600) as api, suppress(httpx.HTTPError):
        version = api.get(POLICIES)["metadata"]["resourceVersion"]
        for event in api.watch(POLICIES, version):
            seen.append((time.perf_counter(), event))
            if stop.is_set():
                return


def _between(seen: Sequence[tuple[float, dict[str, Any]]], before: int, name: str) -> float | None:
    deadline = time.perf_counter() + 10
    while time.perf_counter() < deadline:
        events = [(at, event["object"]) for at, event in seen[before:] if event["object"]["metadata"]["name"] == name]
        weak = next((at for at, document in events if len(document["spec"]["validations"]) == 1), None)
        whole = next((at for at, document in events if weak is not None and at > weak and len(document["spec"]["validations"]) > 1), None)
        if weak is not None and whole is not None:
            return (whole - weak) * 1000
        time.sleep(0.0005)
    return None


# --- how often --------------------------------------------------------------------------------


def race(cluster: Cluster, road: str, rounds: int, tear: Callable[[Api], object], *, pause: float = 0.0) -> Race:
    configurations = namespaces = 0
    agent = cluster.api_as("rogue")
    for _ in range(rounds):
        victim = f"race-{os.getpid()}-{next(_NUMBERS)}"
        cluster.api.create(path("namespaces"), {"metadata": {"name": victim}})
        with ThreadPoolExecutor(1) as pool:
            tearing = pool.submit(tear, agent)
            if pause:
                time.sleep(pause)
            else:
                tearing.result()
            configurations += agent.request("DELETE", CONFIGURATION).ok
            namespaces += agent.request("DELETE", path("namespaces", victim)).ok
            tearing.result()
        _wait_whole(cluster)
    return Race(road, rounds, configurations, namespaces)


def _weaken(api: Api, names: Sequence[str]) -> None:
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: api.request("PATCH", f"{POLICIES}/{name}", OPEN, None, MERGE), names))


def _unbind(api: Api) -> None:
    with ThreadPoolExecutor(len(GUARDS)) as pool:
        list(pool.map(lambda name: api.request("DELETE", f"{BINDINGS}/{name}"), GUARDS))


def _weaken_for_a_while(api: Api) -> None:
    deadline = time.monotonic() + HAMMER_SECONDS
    while time.monotonic() < deadline:
        _weaken(api, GUARDS)


def _wait_whole(cluster: Cluster) -> None:
    """Everything put back, and taken up by the API server."""
    deadline = time.monotonic() + 30
    while not _is_whole(cluster):
        if time.monotonic() > deadline:
            sys.exit("the guards were not put back within 30 s")
        time.sleep(0.02)
    time.sleep(TICK)


def _is_whole(cluster: Cluster) -> bool:
    policies = [cluster.api.get(f"{POLICIES}/{name}") for name in GUARDS]
    bound = all(cluster.api.exists(f"{BINDINGS}/{name}") for name in GUARDS)
    return bound and cluster.api.exists(CONFIGURATION) and all(json.dumps(each["spec"]).count("expression") > 4 for each in policies)


if __name__ == "__main__":
    sys.exit(main())
