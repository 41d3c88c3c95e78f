"""Countersign's chart, installed as anybody would."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import httpx

from tests.controlplane import kubeconfig, waiting
from tests.controlplane.api import Api, path
from tests.controlplane.errors import BuildFailed, HarnessError, last_lines
from tests.controlplane.files import write_json
from tests.controlplane.paths import ROOT, Layout
from tests.controlplane.people import AGENTS

RELEASE = NAMESPACE = "countersign"
CHART = ROOT / "charts" / "countersign"
CONFIGURATION = "countersign"
Process = Literal["webhook", "operator"]
PROCESSES: tuple[Process, ...] = ("operator", "webhook")
IN_FORCE_WITHIN = 60.0
# The suites ask for hundreds of things as the same few agents, and wait for notes.
ROOMY: Mapping[str, Any] = {"maxOpenRequests": 1000, "noteEvery": "5s"}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """As helm merges values: maps are merged, all else is replaced."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def values(layout: Layout) -> dict[str, Any]:
    """The values of the last installation, none before the first."""
    try:
        read: dict[str, Any] = json.loads(layout.values_file.read_text())
    except FileNotFoundError:
        return {}
    return read


def install(layout: Layout, helm: Path, wanted: Mapping[str, Any]) -> None:
    """`helm upgrade --install` with these values, which are remembered.

    Raises:
        BuildFailed: helm refused; with its last lines
    """
    _forget_interrupted(layout)
    write_json(layout.values_file, wanted)
    command: list[str | Path] = [helm, "upgrade", "--install", RELEASE, CHART, "--namespace", NAMESPACE, "--create-namespace"]
    homes = {f"HELM_{name}_HOME": str(layout.state / "helm") for name in ("CACHE", "CONFIG", "DATA")}
    answer = subprocess.run(
        [*command, "--kubeconfig", layout.kubeconfig, "--values", layout.values_file],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(layout.state), **homes},
        check=False,
    )
    if answer.returncode != 0:
        raise BuildFailed(f"helm upgrade --install {RELEASE} failed:\n{last_lines(answer.stdout + answer.stderr)}")


def _forget_interrupted(layout: Layout) -> None:
    """Helm refuses to go on from an installation that was killed half-way; without its note of that it starts anew and adopts what is there."""
    secrets = path("secrets", namespace=NAMESPACE)
    with Api(kubeconfig.load(layout.kubeconfig)) as admin:
        for secret in admin.list(secrets, labelSelector=f"owner=helm,name={RELEASE},status in (pending-install,pending-upgrade)"):
            admin.delete(f"{secrets}/{secret['metadata']['name']}")


def wait_in_force(admin: Api, agent: Api, *, timeout: float = IN_FORCE_WITHIN) -> None:
    """Until the webhook is registered everywhere and holds an agent's deletion back.

    The probe is a dry run on the agents' own namespace: it leaves nothing behind, and would delete nothing if it passed.

    Raises:
        StartFailed: with what stands in the way
    """
    obstacle = ""

    def in_force() -> bool:
        nonlocal obstacle
        obstacle = _unregistered(admin) or _unguarded(agent)
        return not obstacle

    waiting.until(in_force, "Countersign was to come into force", timeout=timeout, pause=0.2, explain=lambda: f"    {obstacle}")


def wait_held(agent: Api, *, timeout: float = 15) -> None:
    """Until a new agent's deletions are held back, which takes the operator and the API server a second.

    Returns at once for one whom RBAC lets delete no namespace: there is nothing to see.

    Raises:
        StartFailed
    """
    obstacle = ""

    def held() -> bool:
        nonlocal obstacle
        obstacle = _unguarded(agent)
        return not obstacle or "cannot delete resource" in obstacle

    waiting.until(held, f"the agent {agent.user} was to be held", timeout=timeout, explain=lambda: f"    {obstacle}")


def registered(admin: Api) -> list[dict[str, Any]]:
    """The webhook entries of our configuration, none while there is no configuration."""
    answer = admin.request("GET", path("validatingwebhookconfigurations", CONFIGURATION))
    webhooks: list[dict[str, Any]] = answer.body.get("webhooks") or [] if answer.ok else []
    return webhooks


def _unregistered(admin: Api) -> str:
    webhooks = registered(admin)
    if not webhooks:
        return f"the ValidatingWebhookConfiguration {CONFIGURATION} is missing or empty: see the operator's log"
    bare = [webhook["name"] for webhook in webhooks if not webhook["clientConfig"].get("caBundle")]
    return f"no caBundle yet in {', '.join(bare)}: see the operator's log" if bare else ""


def _unguarded(agent: Api) -> str:
    try:
        answer = agent.request("DELETE", path("namespaces", AGENTS), params={"dryRun": "All"})
    except httpx.TransportError as error:
        return f"the API server does not answer: {error}"
    message = str(answer.body.get("message", ""))
    if answer.ok:
        return f"a dry run of deleting the namespace {AGENTS} as {agent.user} is let through"
    if answer.status != httpx.codes.FORBIDDEN or "admission webhook" not in message:
        return f"a dry run of deleting the namespace {AGENTS} as {agent.user} is answered: {answer.status} {message}"
    return ""


def require_chart() -> None:
    """
    Raises:
        HarnessError: this checkout has no chart
    """
    if not (CHART / "Chart.yaml").exists():
        raise HarnessError(f"{CHART} holds no Helm chart: the checkout is incomplete (git status)")
