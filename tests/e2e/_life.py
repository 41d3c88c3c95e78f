"""What the suites about installing, upgrading and uninstalling have in common: inventories of a whole cluster, and a release of the future."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from tests.controlplane import chart, people, state, up
from tests.controlplane.api import Api
from tests.controlplane.chart import NAMESPACE, RELEASE
from tests.controlplane.cluster import Cluster
from tests.controlplane.files import write
from tests.controlplane.localbackend import LocalBackend
from tests.controlplane.paths import ROOT, Layout
from tests.controlplane.progress import Progress
from tests.docs.pages import page
from tests.e2e._faults import OURS, Json, helm, local

QUIET = Progress(quiet=True)
_AS_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# What comes and goes by itself on every cluster.
_RESTLESS = {"events", "events.events.k8s.io", "componentstatuses", "leases.coordination.k8s.io"}

_NODES = {"nodes", "csinodes.storage.k8s.io"}

# --- what lies in a cluster -------------------------------------------------------------------


@dataclass(frozen=True)
class Inventory:
    """Every object of every kind that can be listed, as `plural.group namespace/name`; and whose labels and annotations bear marks of ours."""

    objects: frozenset[str]
    marks: frozenset[str]

    @classmethod
    def of(cls, api: Api) -> Inventory:
        objects: set[str] = set()
        marks: set[str] = set()
        for kind, url in _collections(api):
            answer = api.request("GET", url, headers={"Accept": _AS_METADATA})
            if answer.status in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
                continue  # its definition has just gone
            assert answer.ok, f"{url}: {answer.status} {answer.body}"
            for each in answer.body["items"] or []:  # an empty list of Go's is null
                metadata = each["metadata"]
                name = f"{kind} {metadata.get('namespace', '')}/{metadata['name']}"
                objects.add(name)
                for member in ("labels", "annotations"):
                    marks.update(f"{name} {key}" for key in metadata.get(member) or {} if key.startswith(f"{OURS}/"))
        return cls(frozenset(objects), frozenset(marks))

    @property
    def ours(self) -> set[str]:
        """What is there by its name or kind because of Countersign. People's own objects that only bear a mark are not, nor kind's nodes."""
        found = set()
        for each in self.objects:
            kind, name = each.split()
            if OURS in kind or (name.partition("/")[2].startswith("countersign") and kind not in _NODES):
                found.add(each)
        return found

    @property
    def lasting(self) -> set[str]:
        """Ours, without the webhook's notes, which come and go."""
        return {each for each in self.ours if "/countersign-note-" not in each}


def _collections(api: Api) -> Iterator[tuple[str, str]]:
    groups = {group["name"]: f"/apis/{group['preferredVersion']['groupVersion']}" for group in api.get("/apis")["groups"]}
    for group, root in {"": "/api/v1", **groups}.items():
        answer = api.request("GET", root)
        for each in answer.body.get("resources", []):
            kind = f"{each['name']}.{group}" if group else each["name"]
            if "/" not in each["name"] and "list" in each["verbs"] and kind not in _RESTLESS:
                yield kind, f"{root}/{each['name']}"


def is_record(thing: str) -> bool:
    """Of an inventory: a definition of ours, or an object of one."""
    return OURS in thing


# --- a cluster of one's own -------------------------------------------------------------------


@contextmanager
def bare_cluster(folder: Path) -> Iterator[Cluster]:
    """A local control plane with people and agents, and without Countersign."""
    layout = Layout(folder)
    try:
        backend = up.up(layout, "local", QUIET, bare=True)
        cluster = Cluster(layout, "local", backend)
        try:
            yield cluster
        finally:
            cluster.close()
    finally:
        up.down(layout, QUIET)


def install(cluster: Cluster) -> None:
    """What `make up` does where Countersign is missing: chart, processes, Reviewers, identities; in force when it returns."""
    up.up(cluster.paths, cluster.kind, QUIET)


def run_processes(cluster: Cluster, values: Mapping[str, Any]) -> None:
    """Both processes of a cluster whose objects somebody else than our harness has applied."""
    backend = local(cluster)
    write(cluster.paths.values_file, json.dumps(values))
    for process in chart.PROCESSES:
        write(backend.token_file(process), people.token(cluster.api, NAMESPACE, f"countersign-{process}"))
        backend.start(process, {})
    state.save(cluster.paths, replace(state.demand(cluster.paths), ready=True))


def stop_processes(cluster: Cluster) -> None:
    """As a node does once their pods are gone."""
    for process in chart.PROCESSES:
        local(cluster).stop(process)


def values_of(cluster: Cluster) -> Json:
    return dict(local(cluster).base_values)


def release(cluster: Cluster, user: str, *arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """The real helm on our release: release(cluster, "alice", "upgrade", CHART, "--reuse-values")."""
    verb, *rest = arguments
    return helm(cluster, user, verb, RELEASE, *rest, "--namespace", NAMESPACE, timeout=timeout)


def rendered(cluster: Cluster, values: Mapping[str, Any], *flags: str, folder: Path = chart.CHART) -> str:
    """`helm template`, as a GitOps tool calls it."""
    file = cluster.paths.state / "rendered-values.json"
    write(file, json.dumps(values))
    done = helm(cluster, "admin", "template", RELEASE, folder, "--namespace", NAMESPACE, "--values", file, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- a release of the future ------------------------------------------------------------------


class NextRelease:
    """This checkout's code and chart, one release on: a version more is served and stored, and an environment has a field more.

    Made by editing copies, so that what runs is a whole other program with a chart of its own, as in a real upgrade.
    """

    VERSION = "v1beta1"
    FIELD = "later"

    def __init__(self, folder: Path) -> None:
        self.code, self.chart = folder / "controller", folder / "charts" / "countersign"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "controller", self.code, ignore=ignored)
        shutil.copytree(chart.CHART, self.chart, ignore=ignored)
        package = self.code / "countersign"
        _edit(package / "wire/crds.py", "REVISION: Final = ", "REVISION: Final = 1000 + ")
        _edit(
            package / "wire/crds.py",
            "= (Served(VERSION, storage=True),)",
            f'= (Served(VERSION), Served("{self.VERSION}", storage=True))',
        )
        _edit(
            package / "wire/resources/environment.py",
            "    when_agents_can_impersonate: Annotated[",
            f'    {self.FIELD}: Annotated[str, Field(max_length=9, description="What only a later release knows.")] = ""\n'
            "    when_agents_can_impersonate: Annotated[",
        )
        env = {**os.environ, "PYTHONPATH": str(self.code)}
        command = [sys.executable, "-m", "countersign.wire.crds", str(self.chart / "crds")]
        subprocess.run(command, check=True, capture_output=True, env=env, timeout=60)

    @property
    def env(self) -> dict[str, str]:
        """What makes one of our processes that release's."""
        return {"PYTHONPATH": str(self.code)}


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file} holds {old!r} {text.count(old)} times: the release of the future is made by that edit"
    file.write_text(text.replace(old, new))


def stored_version(cluster: Cluster, plural: str, name: str) -> str:
    """The apiVersion that an object of ours has in etcd."""
    backend: LocalBackend = local(cluster)
    key = base64.b64encode(f"/registry/{OURS}/{plural}/{name}".encode()).decode()
    url = f"http://127.0.0.1:{backend.plane.ports['etcd']}/v3/kv/range"
    found = httpx.post(url, json={"key": key}, timeout=10, trust_env=False).raise_for_status().json()
    assert found.get("kvs"), f"etcd holds no {plural}/{name}"
    return str(json.loads(base64.b64decode(found["kvs"][0]["value"]))["apiVersion"])


def people_of(cluster: Cluster) -> people.People:
    """Who registers the Reviewers and identities of the story."""
    backend = local(cluster)
    return people.People(cluster.paths, cluster.api, backend.server, backend.authority)


def typed(cluster: Cluster, user: str, name: str, *, given: str = "") -> list[str]:
    """What each `sh` block of a page prints when somebody types it at the root of a checkout; it has to go through.

    `given` is what that person adds to whatever names the chart: this cluster's values.
    """
    homes = {f"HELM_{home}_HOME": str(cluster.paths.state / "helm") for home in ("CACHE", "CONFIG", "DATA")}
    env = {
        "PATH": f"{cluster.paths.bin}:/usr/bin:/bin",
        "HOME": str(cluster.paths.state),
        "KUBECONFIG": str(cluster.paths.user(user)),
        **homes,
    }
    printed = []
    for block in page(name).blocks("sh"):
        script = block.text.replace(
            "helm template countersign charts/countersign ", f"helm template countersign charts/countersign {given} "
        )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, cwd=ROOT, env=env, check=False, timeout=180
        )
        assert done.returncode == 0, f"{name}:{block.line}: {done.stderr}\n{done.stdout}"
        printed.append(done.stdout)
    return printed
