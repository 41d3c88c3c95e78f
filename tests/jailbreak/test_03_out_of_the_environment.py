"""Removing the label that an environment selects by, or editing the selector, leaves a namespace that nothing strict holds any more.

Source: Gardener's docs on deletion protection; OpenKruise's deletion protection by label; Karmada's resource deletion protection.
"""

from contextlib import ExitStack

from tests.controlplane.api import path
from tests.e2e.story import label_of, manifest
from tests.jailbreak._attack import AGENTS, WEBHOOK, Attack, Elsewhere, away
from tests.jailbreak._sentinel import settle
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=3,
    title="Take the namespace out of its environment",
    guards=away(WEBHOOK, AGENTS),
    elsewhere=Elsewhere.NOT,
    because="sets up an environment, and waits until it is in force",
)
MERGE = "application/merge-patch+json"


def _set_up(stage: Stage, stack: ExitStack) -> tuple[str, str, str]:
    """An environment, a namespace in it, and the label that puts it there. In a control nothing of it need be in force."""
    if not stage.control:
        environment = stack.enter_context(stage.story.environment("strict", required=2))
        settle(stage.admin, stage.name("known"))
        return environment, path("namespaces", stage.story.in_environment(environment)), label_of(environment)
    name = stage.name("strict")
    selector = {"selector": {"matchLabels": {label_of(name): "yes"}}}
    stage.make(path("protectedenvironments"), manifest("ProtectedEnvironment", name, {"namespaces": selector, "protectFrom": "Agents"}))
    return name, path("namespaces", stage.namespace(labels={label_of(name): "yes"})), label_of(name)


def _is_out(stage: Stage, namespace: str, label: str) -> bool:
    return label not in stage.admin.get(namespace)["metadata"]["labels"]


def test_the_label_by_a_patch(stage: Stage) -> None:
    with ExitStack() as stack:
        _, namespace, label = _set_up(stage, stack)
        reply = stage.strike("PATCH", namespace, {"metadata": {"labels": {label: None}}}, content_type=MERGE)
        stage.judge(reply, harm=lambda: _is_out(stage, namespace, label))


def test_the_label_by_the_status_subresource(stage: Stage) -> None:
    with ExitStack() as stack:
        _, namespace, label = _set_up(stage, stack)
        reply = stage.strike("PATCH", f"{namespace}/status", {"metadata": {"labels": {label: None}}}, content_type=MERGE)
        stage.judge(reply, harm=lambda: _is_out(stage, namespace, label))


def test_the_selector(stage: Stage) -> None:
    with ExitStack() as stack:
        name, _, _ = _set_up(stage, stack)
        url = path("protectedenvironments", name)
        narrower = {"spec": {"namespaces": {"selector": {"matchLabels": {"no": "such"}}}}}
        reply = stage.strike("PATCH", url, narrower, content_type=MERGE)
        stage.judge(reply, harm=lambda: "no" in stage.admin.get(url)["spec"]["namespaces"]["selector"]["matchLabels"])


def test_the_environment(stage: Stage) -> None:
    with ExitStack() as stack:
        url = path("protectedenvironments", _set_up(stage, stack)[0])
        stage.judge(stage.strike("DELETE", url), harm=lambda: not stage.admin.exists(url))
