"""`make up`, `make down`: the order of the steps, the same for both kinds of cluster."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.controlplane import cache, chart, files, kubeconfig, state
from tests.controlplane.api import Api
from tests.controlplane.backend import Backend
from tests.controlplane.errors import ClusterDown
from tests.controlplane.kindbackend import KindBackend
from tests.controlplane.localbackend import LocalBackend
from tests.controlplane.paths import ROOT, Layout
from tests.controlplane.people import AGENT_ROLES, People
from tests.controlplane.progress import Progress


@contextmanager
def alone(layout: Layout, progress: Progress) -> Iterator[None]:
    """One `up` or `down` of a state folder at a time. The lock lies in the cache, since `down` removes the folder."""
    place = cache.folder() / "locks" / layout.kind_name
    with files.lock(place, lambda: progress.say("  waiting for another `up` or `down` of this checkout")):
        yield


def prepare(layout: Layout, kind: state.Kind, progress: Progress) -> Backend:
    known = state.load(layout)
    if known is not None and known.kind != kind:
        raise ClusterDown(f"a {known.kind} cluster is up in {layout.state}; `make down` first, then `make up CLUSTER={kind}`")
    if kind == "local":
        return LocalBackend.prepare(layout, known, progress)
    return KindBackend.prepare(layout, known, progress)


def up(layout: Layout, kind: state.Kind, progress: Progress, *, bare: bool = False) -> Backend:
    """Makes the cluster be there and Countersign be in force; goes on where an interrupted one stopped. `bare` leaves Countersign out.

    Raises:
        HarnessError
    """
    begun = time.monotonic()
    if not bare:
        chart.require_chart()
    with alone(layout, progress), cache.reporting_full_disk(layout.state):
        backend = prepare(layout, kind, progress)
        if not bare:
            backend.begin_installation()
        backend.start_plane(progress)
        with Api(kubeconfig.load(layout.kubeconfig)) as admin:
            everybody = People(layout, admin, backend.server, backend.authority)
            with progress.step("people, agents and their credentials"):
                everybody.accounts_of_the_story()
            if not bare:
                _install(layout, backend, admin, everybody, progress)
        backend.collect_logs()
        state.save(layout, replace(state.demand(layout), ready=not bare))
    progress.say(f"  ready in {time.monotonic() - begun:.1f} s")
    return backend


def _install(layout: Layout, backend: Backend, admin: Api, everybody: People, progress: Progress) -> None:
    backend.install(admin, chart.merged(backend.base_values, chart.values(layout)), progress)
    with progress.step("registering Reviewers and AgentIdentities"):
        everybody.register()
    with progress.step("waiting until every agent's deletion is refused"):
        for name in AGENT_ROLES:
            with Api(kubeconfig.load(layout.user(name))) as agent:
                chart.wait_in_force(admin, agent)


def down(layout: Layout, progress: Progress) -> None:
    """Stops all that `up` started and removes the state folder."""
    with alone(layout, progress):
        known = state.load(layout)
        if known is None:
            progress.say(f"  nothing is up in {layout.state}")
        elif known.kind == "local":
            LocalBackend(layout, known, {}).tear_down(progress)
        else:
            KindBackend(layout, known, {}).tear_down(progress)
        shutil.rmtree(layout.state, ignore_errors=True)


def summary(layout: Layout, kind: state.Kind) -> str:
    """What a person may want to type next."""
    folder = layout.state.relative_to(ROOT) if layout.state.is_relative_to(ROOT) else layout.state
    kubectl = f"{folder}/bin/kubectl --kubeconfig {folder}"
    return "\n".join(
        [
            "",
            f"Countersign is in force on a {kind} cluster.",
            "",
            f"  as admin     {kubectl}/kubeconfig get protectedenvironments.kube-countersign.dev",
            f"  as an agent  {kubectl}/users/kiro.kubeconfig delete namespace agents",
            "  as people    the same with users/alice (sponsor, cluster-admin), users/bob, users/carol (reviewers)",
            f"  keys         {folder}/ssh/{{alice,bob,carol}}      logs  {folder}/logs/      end  make down",
        ]
    )
