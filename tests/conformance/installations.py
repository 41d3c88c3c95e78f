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

from tests.controlplane import up
from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.controlplane.errors import HarnessError
from tests.controlplane.paths import Layout
from tests.controlplane.progress import Progress

TESTER: Final = "conformance@example.com"
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
    with progress.step(f"profile {profile}, protectFrom {scope}"):
        canary: dict[str, Any] = {"protectFrom": scope, "namespaces": {"selector": {"matchLabels": {"canary": "yes"}}}}
        kind = {"apiVersion": "kube-countersign.dev/v1alpha1", "kind": "ProtectedEnvironment", "metadata": {"name": "canary"}}
        cluster.api.create(path("protectedenvironments"), {**kind, "spec": canary})
        cluster.api.create(path("namespaces"), {"metadata": {"name": "canary", "labels": {"canary": "yes"}}})
        # Last, since from then on the administrator of the harness is held back as well.
        cluster.reconfigure(profile=profile, default={"protectFrom": scope, "except": excepted})
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
    answer = cluster.api_as(who).request("DELETE", path("namespaces", namespace), params={"dryRun": "All"})
    refused = answer.status == 403 and "countersign" in str(answer.body)
    if refused is not held or not (refused or answer.ok):
        raise HarnessError(
            f"the deletion of {namespace} by {who} was {'not ' if held else ''}to be held back: {answer.status} {answer.body}"
        )
