"""Upgrades, syncs and additions pass, and only what weakens is held back: Helm's, Argo CD's and Flux's way of applying.

Helm and kubectl are the real ones. Argo CD applies with kubectl's own library (gitops-engine, pkg/utils/kube/resource_ops.go): client-side
with its last-applied annotation, or server-side as the manager `argocd-controller`, and prunes with `propagationPolicy: Foreground`. Flux
(fluxcd/pkg, ssa/manager_apply.go) applies server-side by force as `kustomize-controller`, each object as a dry run first, and prunes what
bears its labels.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.controlplane.api import Answer, path
from tests.controlplane.cluster import Cluster
from tests.controlplane.people import service_account
from tests.e2e import _faults
from tests.e2e._faults import ADMIN, TEAM, Json, allowed, cause, held, helm, make_namespace, message, patch, unique, wait_refused

ENVIRONMENTS, IDENTITIES = path("protectedenvironments"), path("agentidentities")
APPLY = "application/apply-patch+yaml"
WAITING = "WAITING FOR HUMAN SIGNATURES"


class Suite:
    """One environment and one identity as a team keeps them in Git; `human` is a person of the team's own, with all rights."""

    def __init__(self, cluster: Cluster, level: str, folder: Path) -> None:
        self.cluster = cluster
        self.level = level
        self.name = unique("gitops")
        self.human = cluster.new_human(f"{self.name}@example.com", role="cluster-admin")
        self.folder = folder
        self.environment, self.identity = f"{ENVIRONMENTS}/{self.name}", f"{IDENTITIES}/{self.name}"

    def manifests(self, required: int = 2, *, agents: tuple[str, ...] = ("one", "two"), window: str = "30m", **labels: str) -> list[Json]:
        environment = _faults.environment(
            self.name, self.name, self.level, **{"except": [ADMIN]}, approvals={"required": required, "useWithin": window}
        )
        identity = self.cluster.identity(self.name, [service_account("agents", f"{self.name}-{each}") for each in agents])
        for each in (environment, identity):
            each["metadata"]["labels"] = {"app.kubernetes.io/part-of": self.name, **labels}
        return [environment, identity]

    def wait_in_force(self, user: str) -> None:
        probe = make_namespace(self.cluster, "probe", {TEAM: self.name})
        out = partial(patch, self.cluster, user, path("namespaces", probe), {"metadata": {"labels": {TEAM: None}}}, dry_run=True)
        wait_refused(out, f"a relabelling under {self.level}")

    @property
    def required(self) -> int:
        return int(self.cluster.api.get(self.environment)["spec"]["approvals"]["required"])

    @property
    def agents(self) -> int:
        return len(self.cluster.api.get(self.identity)["spec"]["subjects"])

    def close(self) -> None:
        for url in (self.environment, self.identity):
            self.cluster.api.request("DELETE", url)


@pytest.fixture
def suite(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> Iterator[Suite]:
    made = Suite(cluster, request.param, tmp_path)
    yield made
    made.close()


# ── Helm ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Release:
    """A chart of the team's own, installed by a human."""

    def __init__(self, suite: Suite, server_side: str) -> None:
        self.suite = suite
        self.server_side = server_side
        (suite.folder / "templates").mkdir()
        (suite.folder / "Chart.yaml").write_text("apiVersion: v2\nname: agents\nversion: 0.1.0\n")

    def run(self, *arguments: str, manifests: list[Json]) -> subprocess.CompletedProcess[str]:
        (self.suite.folder / "templates/all.yaml").write_text("---\n".join(yaml.safe_dump(each) for each in manifests))
        return helm(self.suite.cluster, self.suite.human, *arguments, self.suite.name, self.suite.folder, "--namespace", "default")

    def install(self, manifests: list[Json]) -> subprocess.CompletedProcess[str]:
        return self.run("install", f"--server-side={self.server_side}", manifests=manifests)

    def upgrade(self, manifests: list[Json]) -> subprocess.CompletedProcess[str]:
        return self.run("upgrade", f"--server-side={self.server_side}", manifests=manifests)

    def uninstall(self) -> subprocess.CompletedProcess[str]:
        return helm(self.suite.cluster, self.suite.human, "uninstall", self.suite.name, "--namespace", "default")


@pytest.mark.parametrize("suite", ["Agents", "People"], indirect=True)
@pytest.mark.parametrize("server_side", ["true", "false"], ids=["server-side apply", "three-way merge"])
def test_helm(suite: Suite, server_side: str) -> None:
    release = Release(suite, server_side)
    done = release.install(suite.manifests())
    assert done.returncode == 0, done.stderr
    if suite.level != "Agents":
        suite.wait_in_force(suite.human)
    for what, manifests in {
        "the same again": suite.manifests(),
        "another chart version": suite.manifests(release="2"),
        "what only adds": suite.manifests(agents=("one", "two", "three"), window="10m"),
    }.items():
        done = release.upgrade(manifests)
        assert done.returncode == 0, f"{what}: {done.stderr}"
    assert suite.agents == 3
    for what, manifests in {
        "a signature less": suite.manifests(required=1, agents=("one", "two", "three"), window="10m"),
        "an agent less": suite.manifests(agents=("one", "two"), window="10m"),
        "stricter in one, weaker in the other": suite.manifests(agents=("one", "two"), window="5m"),
    }.items():
        done = release.upgrade(manifests)
        if suite.level == "Agents":
            assert done.returncode == 0, f"{what}: {done.stderr}"
        else:
            assert done.returncode != 0, what
            assert WAITING in done.stderr, done.stderr
            assert (suite.required, suite.agents) == (2, 3), what
    done = release.uninstall()
    assert (done.returncode == 0) is (suite.level == "Agents"), done.stderr
    assert suite.cluster.api.exists(suite.environment) is (suite.level != "Agents")


# ── Argo CD and Flux ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def controller(cluster: Cluster) -> str:
    """What a GitOps tool runs as: a ServiceAccount that may do everything and is no agent."""
    return cluster.new_service_account(unique("gitops"), "cluster-admin", namespace="gitops")


class Argo:
    """`kubectl apply` as gitops-engine calls it; each object by itself, in the order of its waves."""

    def __init__(self, suite: Suite, user: str, *, server_side: bool) -> None:
        self.suite, self.user = suite, user
        manager = ["--field-manager", "argocd-controller"]
        self.flags = ["--server-side", "--force-conflicts", *manager] if server_side else manager

    def sync(self, manifests: list[Json]) -> list[str]:
        """What was refused."""
        refused = []
        for each in manifests:
            for dry in (["--dry-run=server"], []):
                done = self.suite.cluster.kubectl(self.user, "apply", *self.flags, *dry, "-f", "-", stdin=json.dumps(each))
                if done.returncode != 0:
                    refused.append(done.stderr)
        return refused

    def prune(self) -> list[Answer]:
        api = self.suite.cluster.api_as(self.user)
        return [
            api.request("DELETE", url, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"})
            for url in (self.suite.environment, self.suite.identity)
        ]


class Flux:
    """The requests of fluxcd/pkg's ResourceManager: apply by force as a dry run, then, where that differs, in earnest."""

    def __init__(self, suite: Suite, user: str) -> None:
        self.suite, self.user = suite, user

    def sync(self, manifests: list[Json]) -> list[str]:
        refused = []
        api = self.suite.cluster.api_as(self.user)
        for each in manifests:
            url = self.suite.environment if each["kind"] == "ProtectedEnvironment" else self.suite.identity
            flux = {"fieldManager": "kustomize-controller", "force": "true"}
            before = api.request("GET", url)
            tried = api.request("PATCH", url, each, {**flux, "dryRun": "All"}, APPLY)
            if not tried.ok:
                refused.append(message(tried))
            elif not before.ok or tried.body["spec"] != before.body["spec"]:
                done = api.request("PATCH", url, each, flux, APPLY)
                assert done.ok, f"its dry run passed: {message(done)}"
        return refused

    def prune(self) -> list[Answer]:
        api = self.suite.cluster.api_as(self.user)
        found = [url for url in (self.suite.environment, self.suite.identity) if self.is_mine(api.request("GET", url))]
        return [api.request("DELETE", url, {"kind": "DeleteOptions", "apiVersion": "v1"}) for url in found]

    def is_mine(self, live: Answer) -> bool:
        return live.ok and live.body["metadata"]["labels"].get("app.kubernetes.io/part-of") == self.suite.name


@pytest.mark.parametrize("suite", ["People", "Everyone"], indirect=True)
@pytest.mark.parametrize("tool", ["Argo CD, client-side", "Argo CD, server-side", "Flux"])
def test_gitops(suite: Suite, controller: str, tool: str) -> None:
    """A GitOps account is held back under Everyone alone; there `except` names it, where the team trusts what is merged."""
    gitops = Flux(suite, controller) if tool == "Flux" else Argo(suite, controller, server_side="server" in tool)
    assert gitops.sync(suite.manifests()) == []
    if suite.level == "Everyone":
        suite.wait_in_force(controller)
    assert gitops.sync(suite.manifests()) == [], "the next round, and every wave of it"
    assert gitops.sync(suite.manifests(agents=("one", "two", "three"), window="10m")) == []
    assert suite.agents == 3
    weaker = suite.manifests(required=1, agents=("one",), window="10m")
    refused = gitops.sync(weaker)
    if suite.level != "Everyone":
        assert refused == []
        assert (suite.required, suite.agents) == (1, 1)
        assert all(answer.ok for answer in gitops.prune())
        return
    assert refused
    assert all(("DRY RUN" in text or WAITING in text) for text in refused), refused
    assert (suite.required, suite.agents) == (2, 3)
    assert {cause(answer, "outcome") for answer in gitops.prune()} == {"Pending"}
    suite.cluster.api.patch(suite.environment, {"spec": {"except": [ADMIN, service_account("gitops", controller)]}})
    environment, _ = weaker
    environment["spec"]["except"] = [ADMIN, service_account("gitops", controller)]
    assert gitops.sync([environment]) == [], "excepted"
    assert suite.required == 1


@pytest.mark.parametrize("tool", ["Argo CD, client-side", "Argo CD, server-side", "Flux"])
def test_syncs_that_change_nothing_pass_while_the_webhook_is_down(cluster: Cluster, tmp_path: Path, controller: str, tool: str) -> None:
    suite = Suite(cluster, "Everyone", tmp_path)
    gitops = Flux(suite, controller) if tool == "Flux" else Argo(suite, controller, server_side="server" in tool)
    try:
        assert gitops.sync(suite.manifests()) == []
        suite.wait_in_force(controller)
        cluster.stop_webhook()
        try:
            assert gitops.sync(suite.manifests()) == []
            assert gitops.sync(suite.manifests(required=1)), "what changes the spec fails closed"
        finally:
            cluster.start_webhook()
        assert suite.required == 2
    finally:
        suite.close()


def test_kubectl_apply_of_a_whole_folder_passes_but_for_what_weakens(cluster: Cluster, tmp_path: Path) -> None:
    """One object that is held does not keep the others from being applied."""
    suite = Suite(cluster, "People", tmp_path)
    try:
        file = tmp_path / "all.yaml"
        file.write_text("---\n".join(yaml.safe_dump(each) for each in suite.manifests()))
        assert cluster.kubectl(suite.human, "apply", "-f", str(file)).returncode == 0
        suite.wait_in_force(suite.human)
        file.write_text("---\n".join(yaml.safe_dump(each) for each in suite.manifests(required=1, agents=("one", "two", "three"))))
        done = cluster.kubectl(suite.human, "apply", "-f", str(file))
        assert done.returncode != 0
        assert WAITING in done.stderr
        assert (suite.required, suite.agents) == (2, 3)
    finally:
        suite.close()


def test_a_namespaces_label_lost_by_an_apply(cluster: Cluster, tmp_path: Path) -> None:
    """The label was in the manifest, and is not in the next one: what the migration of a manifest does (cozystack/cozystack#2980)."""
    suite = Suite(cluster, "People", tmp_path)
    name = unique("migrated")
    body: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {TEAM: suite.name, "a": "b"}}}
    try:
        environment, _ = suite.manifests()
        cluster.api.create(ENVIRONMENTS, environment)
        for user in (suite.human, "kiro"):
            suite.wait_in_force(user)
        assert cluster.kubectl(suite.human, "apply", "-f", "-", stdin=json.dumps(body)).returncode == 0
        del body["metadata"]["labels"][TEAM]
        for user, flags in ((suite.human, []), ("kiro", []), (suite.human, ["--server-side", "--force-conflicts"])):
            done = cluster.kubectl(user, "apply", *flags, "-f", "-", stdin=json.dumps(body))
            if "--server-side" in flags:
                # The first manager keeps its label: nothing is lost.
                assert done.returncode == 0, done.stderr
            else:
                assert WAITING in done.stderr, f"{user}: {done.stderr}"
            assert cluster.api.get(path("namespaces", name))["metadata"]["labels"][TEAM] == suite.name
    finally:
        suite.close()


def test_a_held_upgrade_passes_once_it_is_signed(cluster: Cluster, tmp_path: Path) -> None:
    suite = Suite(cluster, "People", tmp_path)
    try:
        assert Argo(suite, suite.human, server_side=False).sync(suite.manifests()) == []
        suite.wait_in_force(suite.human)
        weaker = {"spec": {"approvals": {"required": 1}}}
        request = held(patch(cluster, "alice", suite.environment, weaker))
        _faults.approve(cluster, request, "bob", "carol")
        held(patch(cluster, suite.human, suite.environment, weaker))
        allowed(patch(cluster, "alice", suite.environment, weaker))
        assert suite.required == 1
    finally:
        suite.close()
