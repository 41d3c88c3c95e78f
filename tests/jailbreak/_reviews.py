"""Reviews as the API server would send them, written by somebody who only reaches the webhook's port; and the webhook with other settings."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.jailbreak._stage import Stage


def deletion(target: dict[str, Any], username: str) -> dict[str, Any]:
    """An AdmissionReview for the deletion of a namespace, by whoever is claimed to have asked."""
    request = {
        "uid": secrets.token_hex(8),
        "resource": {"group": "", "version": "v1", "resource": "namespaces"},
        "operation": "DELETE",
        "name": target["metadata"]["name"],
        "userInfo": {"username": username, "groups": ["system:serviceaccounts", "system:authenticated"]},
        "oldObject": target,
        "dryRun": False,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


@contextmanager
def webhook_with(stage: Stage, **environment: str) -> Iterator[None]:
    """The webhook that is registered, started anew with these variables for a while."""
    stage.cluster.stop_webhook()
    stage.cluster.start_webhook(**environment)
    try:
        yield
    finally:
        stage.cluster.restart_webhook()


def opened(stage: Stage, *namespaces: str) -> int:
    """How many change requests there are about these namespaces."""
    return sum(len(stage.story.requests_for(namespace)) for namespace in namespaces)
