"""The configurations that are compared, each on a control plane of its own.

The tests run as a human of their own, a cluster administrator. Under `People` and `Everyone` that human would be held back, and rightly: it
deletes namespaces by the dozen. So `default`, which covers every namespace, excepts it, as a team excepts whoever may delete without a
second human; `canary` covers one labelled namespace and excepts nobody. That either holds back what it should is tried before each run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.controlplane import up, waiting
from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.controlplane.paths import Layout
from tests.controlplane.progress import Progress

TESTER: Final = "conformance@example.com"
IN_FORCE_WITHIN: Final = 30.0
"""A new environment is in force when the API server has taken up the webhook configuration that names it."""

MASTERS: Final = "system:masters"
WITHOUT: Final = "without"
PROFILES: Final = ("standard", "hardened")
SCOPES: Final = ("Agents", "People", "Everyone")
CONFIGURATIONS: Final = (WITHOUT, *(f"{profile}/{scope}" for profile in PROFILES for scope in SCOPES))


@dataclass(frozen=True)
class Ready:
    cluster: Cluster
    layout: Layout
    tester: str


@contextmanager
def ready(configuration: str, layout: Layout, progress: Progress) -> Iterator[Ready]:
    """A fresh control plane in this configuration.

    Raises:
        HarnessError: it could not be started, or it does not hold back what it should
    """
    up.down(layout, Progress(quiet=True))
    if configuration == WITHOUT:
        up.up(layout, "local", progress, bare=True)
        cluster = Cluster.current(layout)
    else:
        cluster = Cluster.up("local", progress=progress, layout=layout)
    try:
        tester = cluster.new_human(TESTER, groups=(MASTERS,))
        if configuration != WITHOUT:
            _configure(cluster, *configuration.split("/"), progress=progress)
        yield Ready(cluster, layout, tester)
    finally:
        cluster.close()
        up.down(layout, Progress(quiet=True))


def _configure(cluster: Cluster, profile: str, scope: str, *, progress: Progress) -> None:
    excepted = [] if scope == "Agents" else [{"kind": "User", "name": TESTER}]
    canary: dict[str, Any] = {"protectFrom": scope, "namespaces": {"selector": {"matchLabels": {"canary": "yes"}}}}
    kind = {"apiVersion": "kube-countersign.dev/v1alpha1", "kind": "ProtectedEnvironment", "metadata": {"name": "canary"}}
    with progress.step(f"profile {profile}, protectFrom {scope}"):
        # At once, and before anything else: from the first environment on that says People, exceptions need a second human.
        cluster.reconfigure(profile=profile, default={"protectFrom": scope, "except": excepted})
        cluster.api.create(path("protectedenvironments"), {**kind, "spec": canary})
        cluster.api.create(path("namespaces"), {"metadata": {"name": "canary", "labels": {"canary": "yes"}}})
        cluster.wait_in_force()
    with progress.step("it holds back whom it should, and nobody else"):
        _try(cluster, scope)


def _try(cluster: Cluster, scope: str) -> None:
    """By dry runs. The agents of the story are held back whatever the scope: `reconfigure` has waited for that."""
    machine = cluster.new_service_account("deployer", "cluster-admin", namespace="agents")
    held = {"alice": scope != "Agents", machine: scope == "Everyone", "rogue": True}
    for who, expected in held.items():
        _expect(cluster, who, "agents", held=expected)
    _expect(cluster, TESTER.partition("@")[0], "agents", held=False)
    _expect(cluster, TESTER.partition("@")[0], "canary", held=scope != "Agents")


def _expect(cluster: Cluster, who: str, namespace: str, *, held: bool) -> None:
    def is_as_expected() -> bool:
        answer = cluster.api_as(who).request("DELETE", path("namespaces", namespace), params={"dryRun": "All"})
        seen.append(f"{answer.status} {answer.body}")
        return answer.status == 403 and "countersign" in str(answer.body) if held else answer.ok

    seen: list[str] = []
    what = f"the deletion of {namespace} by {who} was {'' if held else 'not '}to be held back"
    waiting.until(is_as_expected, what, timeout=IN_FORCE_WITHIN, explain=lambda: seen[-1])
