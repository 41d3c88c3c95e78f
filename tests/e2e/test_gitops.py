"""Argo CD, Flux and `kubectl apply` install the rendered chart, come again, and see no drift: also after the operator has written its fields.

Their requests are those of tests/e2e/test_unprotecting_clients.py. What they compare: `kubectl diff` is the three-way patch (or the
server-side apply) of Argo CD as a dry run; Argo CD's own three-way merge of custom kinds never asks the server (gitops-engine,
pkg/diff/diff.go, threeWayMergePatch); Flux compares its dry run with the live object (fluxcd/pkg, ssa/manager_diff.go, hasDrifted).
The cases are steps of one story.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.controlplane import chart
from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.docs.pages import page
from tests.e2e import _life
from tests.e2e._faults import (
    OURS,
    Json,
    allowed,
    approve,
    delete_namespace,
    guards,
    held,
    make_namespace,
    message,
    request_named_in,
    until,
    wait_allowed,
)
from tests.e2e._life import NextRelease

pytestmark = pytest.mark.local_only(reason="applies the chart to a control plane of its own by other tools than Helm")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
FLUX_SSA = "kustomize.toolkit.fluxcd.io/ssa"
APPLY = "application/apply-patch+yaml"
DEFAULT = path("protectedenvironments", "default")


@dataclass
class Site:
    cluster: Cluster
    user: str
    values: Json
    folder: Path = field(default=chart.CHART)

    def manifests(self, **default: Any) -> list[Json]:
        """All that the chart renders, its definitions first, as a GitOps tool has it."""
        values = chart.merged(self.values, {"default": default})
        text = _life.rendered(self.cluster, values, "--include-crds", "--no-hooks", folder=self.folder)
        return [each for each in yaml.safe_load_all(text) if each]

    def url(self, manifest: Json) -> str:
        group, _, version = str(manifest["apiVersion"]).rpartition("/")
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        listed = self.cluster.api.get(root)["resources"]
        [plural] = [each["name"] for each in listed if each["kind"] == manifest["kind"] and "/" not in each["name"]]
        home = f"/namespaces/{manifest['metadata']['namespace']}" if "namespace" in manifest["metadata"] else ""
        return f"{root}{home}/{plural}/{manifest['metadata']['name']}"

    def versions(self, manifests: list[Json]) -> dict[str, str]:
        """The resourceVersion of each object, which any write changes, but not one that changes nothing."""
        urls = [self.url(each) for each in manifests]
        return {url: self.cluster.api.get(url)["metadata"]["resourceVersion"] for url in urls}


class Kubectl:
    """`kubectl apply`, as people type it and as Argo CD calls it."""

    def __init__(self, site: Site, *flags: str) -> None:
        self.site, self.flags = site, flags

    def sync(self, manifests: list[Json]) -> str:
        done = self.site.cluster.kubectl(self.site.user, "apply", *self.flags, "-f", "-", stdin=_stream(manifests))
        return "" if done.returncode == 0 else done.stderr

    def drift(self, manifests: list[Json]) -> str:
        done = self.site.cluster.kubectl(self.site.user, "diff", *self.flags, "-f", "-", stdin=_stream(manifests))
        assert done.returncode in (0, 1), done.stderr
        return done.stdout


class ClientSide(Kubectl):
    """`kubectl apply` and Argo CD's default, which asks nobody: what was applied last, what is wanted and what is there are merged."""

    def drift(self, manifests: list[Json]) -> str:
        found = [super().drift(manifests)]
        for each in manifests:
            if OURS not in each["apiVersion"] and each["kind"] not in ("CustomResourceDefinition", "ClusterRole", "Role", "ConfigMap"):
                continue  # of its built-in kinds it knows the defaults, as the server does: `kubectl diff`
            live = self.site.cluster.api.get(self.site.url(each))
            last = json.loads(live["metadata"].get("annotations", {}).pop(LAST_APPLIED, "{}"))  # a server-side apply takes it away
            if last and not last["metadata"]["annotations"]:
                del last["metadata"]["annotations"]  # kubectl's; Argo CD leaves it out (removeNamespaceAnnotation)
            if three_way(last, each, live) != live:
                found.append(each["metadata"]["name"])
        return ", ".join(filter(None, found))


class Flux:
    """fluxcd/pkg's ResourceManager, as kustomize-controller."""

    MANAGER = {"fieldManager": "kustomize-controller", "force": "true"}  # noqa: RUF012  # read only

    def __init__(self, site: Site) -> None:
        self.site = site

    def sync(self, manifests: list[Json]) -> str:
        return "\n".join(filter(None, map(self._apply, manifests)))

    def _apply(self, manifest: Json) -> str:
        url, tried = self._dry_run(manifest)
        if tried is None or (isinstance(tried, dict) and not self._differs(url, tried)):
            return ""
        if isinstance(tried, str):
            return tried
        done = self.site.cluster.api_as(self.site.user).request("PATCH", url, manifest, self.MANAGER, APPLY)
        return "" if done.ok else message(done)

    def drift(self, manifests: list[Json]) -> str:
        found = []
        for each in manifests:
            url, tried = self._dry_run(each)
            assert not isinstance(tried, str), tried
            if tried is not None and self._differs(url, tried):
                found.append(url)
        return ", ".join(found)

    def _dry_run(self, manifest: Json) -> tuple[str, Json | str | None]:
        """What would come of it; why it is refused; None where the manifest asks to be left alone."""
        api, url = self.site.cluster.api_as(self.site.user), self.site.url(manifest)
        if manifest["metadata"].get("annotations", {}).get(FLUX_SSA) == "IfNotPresent" and self.site.cluster.api.exists(url):
            return url, None
        answer = api.request("PATCH", url, manifest, {**self.MANAGER, "dryRun": "All"}, APPLY)
        return url, answer.body if answer.ok else message(answer)

    def _differs(self, url: str, tried: Json) -> bool:
        live = self.site.cluster.api.request("GET", url)
        return not live.ok or _compared(live.body) != _compared(tried)


def _compared(document: Json) -> Json:
    metadata = {key: document["metadata"].get(key) or {} for key in ("labels", "annotations")}
    return {**{key: value for key, value in document.items() if key not in ("status", "metadata")}, "metadata": metadata}


def three_way(last: Any, wanted: Any, live: Any) -> Any:
    """A JSON merge patch of what is wanted over what lives; what was applied last and is wanted no more goes (jsonmergepatch.CreateThreeWay…)."""
    if not (isinstance(wanted, dict) and isinstance(live, dict)):
        return wanted
    gone = set(last) - set(wanted) if isinstance(last, dict) else set()
    merged = {key: value for key, value in live.items() if key not in gone}
    for key, value in wanted.items():
        below = last.get(key) if isinstance(last, dict) else None
        merged[key] = three_way(below, value, live[key]) if key in live else value
    return merged


def _stream(manifests: list[Json]) -> str:
    return "\n---\n".join(json.dumps(each) for each in manifests)


TOOLS: Mapping[str, Callable[[Site], Kubectl | Flux]] = {
    "client-side": lambda site: ClientSide(site, "--field-manager", "argocd-controller"),
    "server-side": lambda site: Kubectl(site, "--server-side", "--force-conflicts", "--field-manager", "argocd-controller"),
    "Flux": Flux,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with _life.bare_cluster(tmp_path_factory.mktemp("gitops") / "cluster") as cluster:
        user = cluster.new_service_account("gitops", "cluster-admin", namespace="gitops")
        # With what the operator fills in: the authorizer's files.
        values = {**_life.values_of(cluster), "authorizer": {"enabled": True}, "staticManifest": {"enabled": True}}
        yield Site(cluster, user, values)


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest, site: Site) -> Kubectl | Flux:
    return TOOLS[str(request.param)](site)


def test_1_the_page_on_gitops_installs_and_comes_again(site: Site) -> None:
    """docs/gitops.md, as the account of a GitOps tool. `kubectl diff` at its end finds nothing."""
    given = site.cluster.paths.state / "gitops-values.json"
    given.write_text(json.dumps(site.values))
    for _ in range(2):
        *_, differing = _life.typed(site.cluster, site.user, "docs/gitops.md", given=f"--values {given}")
        assert differing == ""


def test_2_each_tool_comes_again_and_changes_nothing(site: Site, tool: Kubectl | Flux) -> None:
    """The first round of a tool takes over what another applied; after it nothing is written and nothing differs."""
    manifests = site.manifests()
    assert tool.sync(manifests) == ""
    before = site.versions(manifests)
    assert tool.drift(manifests) == ""
    assert tool.sync(manifests) == ""
    assert site.versions(manifests) == before


def test_3_the_drift_that_is_there_is_seen(site: Site, tool: Kubectl | Flux) -> None:
    """So that an empty diff says something."""
    before = site.cluster.api.get(DEFAULT)["spec"]["ownWork"]
    site.cluster.api.patch(DEFAULT, {"spec": {"ownWork": "1h"}})
    assert "default" in tool.drift(site.manifests())
    site.cluster.api.patch(DEFAULT, {"spec": {"ownWork": before}})


def test_4_the_operator_writes_what_is_its_own(site: Site) -> None:
    """Guards, certificate, status, labels; the authorizer's files; registration closed by the first approval; a new key; a repair."""
    cluster = site.cluster
    _life.run_processes(cluster, site.values)
    _life.people_of(cluster).register()
    cluster.wait_in_force()
    name = make_namespace(cluster, "first")
    approve(cluster, held(delete_namespace(cluster, "kiro", name)))
    wait_allowed(lambda: delete_namespace(cluster, "kiro", name, dry_run=True), "what was signed")
    until(lambda: cluster.api.get(DEFAULT)["spec"].get("registration") == "Closed", "registration was to be closed")
    bundle = _bundle(cluster)
    for secret in ("countersign-webhook-ca", "countersign-webhook-tls"):
        cluster.api.delete(path("secrets", secret, namespace=NAMESPACE))
    until(lambda: _bundle(cluster) not in ("", bundle), "the operator was to make a new authority")
    binding = path("validatingadmissionpolicybindings", "countersign-records")
    uid = cluster.api.get(binding)["metadata"]["uid"]
    cluster.api.delete(binding)
    until(lambda: cluster.api.exists(binding) and cluster.api.get(binding)["metadata"]["uid"] != uid, "the guard was to be put back")
    cluster.wait_in_force()
    files = cluster.api.get(path("configmaps", "countersign-authorizer", namespace=NAMESPACE))
    assert files.get("data"), "the operator was to fill them in"


def _bundle(cluster: Cluster) -> str:
    hooks = chart.registered(cluster.api)
    return str(hooks[0]["clientConfig"].get("caBundle", "")) if hooks else ""


def test_5_no_tool_sees_drift_and_each_syncs_unsigned(site: Site, tool: Kubectl | Flux) -> None:
    """Definitions and all, with every guard in force, as a ServiceAccount."""
    manifests = site.manifests()
    assert tool.sync(manifests) == "", "taking over from the tool before"
    assert tool.drift(manifests) == ""
    before = site.versions(manifests)
    assert tool.sync(manifests) == ""
    assert site.versions(manifests) == before
    assert site.cluster.api.get(DEFAULT)["spec"]["registration"] == "Closed"


def test_6_only_what_weakens_is_held(site: Site, tool: Kubectl | Flux) -> None:
    stricter = site.manifests(protectFrom="Everyone", approvals={"required": 2})
    assert tool.sync(stricter) == ""

    def weaken() -> str:
        return str(tool.sync(site.manifests(protectFrom="Everyone", approvals={"required": 1})))

    held_back: list[str] = []

    def is_held() -> bool:
        held_back[:] = [weaken()]
        return any(word in held_back[0] for word in ("DRY RUN", "WAITING FOR HUMAN SIGNATURES"))

    until(is_held, "the weaker sync was to be held", explain=lambda: str(held_back))
    assert site.cluster.api.get(DEFAULT)["spec"]["approvals"]["required"] == 2
    assert tool.sync(stricter) == "", "who goes back to what is there needs nobody"
    # The way back for the next tool is a guarded change: people sign for it.
    site.cluster.new_human("dana@example.com", role="cluster-admin")
    weaker = {"spec": {"protectFrom": "Agents", "approvals": {"required": 1}}}
    answer = site.cluster.api_as("dana").request("PATCH", DEFAULT, weaker, content_type="application/merge-patch+json")
    approve(site.cluster, request_named_in(answer), "bob", "carol", "alice")
    allowed(site.cluster.api_as("dana").request("PATCH", DEFAULT, weaker, content_type="application/merge-patch+json"))


def test_7_a_newer_charts_definitions_are_left_to_its_operator(site: Site, tmp_path: Path) -> None:
    """Argo CD leaves them out (docs/gitops.md), Flux goes by their annotation; all else is synced."""
    newer = Site(site.cluster, site.user, site.values, NextRelease(tmp_path).chart)
    manifests = newer.manifests()
    assert Flux(newer).sync(manifests) == ""
    argo = Kubectl(newer, "--server-side", "--force-conflicts", "--field-manager", "argocd-controller")
    assert "leave them out of what you apply" in argo.sync(manifests)
    respecting = [ignoring_differences(newer, each) for each in manifests]
    assert argo.sync(respecting) == ""
    assert argo.drift(respecting) == ""
    assert guards(site.cluster.api)


def ignoring_differences(site: Site, manifest: Json) -> Json:
    """What Argo CD makes of a manifest by the Application of docs/gitops.md: what it is to ignore is taken from what lives."""
    [block] = page("docs/gitops.md").blocks("yaml")
    application = yaml.safe_load(block.text)["spec"]
    assert "RespectIgnoreDifferences=true" in application["syncPolicy"]["syncOptions"]
    [ignored] = application["ignoreDifferences"]
    if ignored["kind"] != manifest["kind"]:
        return manifest
    live, copy = site.cluster.api.get(site.url(manifest)), json.loads(json.dumps(manifest))
    for expression in ignored["jqPathExpressions"]:
        *way, last = [step.strip('"') for step in re.findall(r'\.("[^"]+"|\w+)', expression)]
        source, target = live, copy
        for step in way:
            source, target = source[step], target[step]
        target[last] = source[last]
    return dict(copy)


def test_8_what_gitops_prunes_leaves_the_definitions(site: Site) -> None:
    """By their own annotations; and were they not heeded, the guards refuse."""
    for each in site.manifests():
        if each["kind"] == "CustomResourceDefinition":
            assert each["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false,Delete=false"
            assert each["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
            answer = site.cluster.api_as(site.user).request("DELETE", site.url(each), params={"dryRun": "All"})
            assert not answer.ok
