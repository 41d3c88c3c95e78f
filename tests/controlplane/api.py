"""The raw API of a cluster, as any user: JSON in, JSON out, no client library between a test and what the server says."""

from __future__ import annotations

import json
import ssl
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx

from tests.controlplane.errors import HarnessError
from tests.controlplane.kubeconfig import Credentials

OURS = "kube-countersign.dev"
_GROUPS = {
    "v1": (
        "namespaces",
        "pods",
        "configmaps",
        "secrets",
        "services",
        "serviceaccounts",
        "events",
        "persistentvolumes",
        "persistentvolumeclaims",
        "nodes",
    ),
    f"{OURS}/v1alpha1": ("agentidentities", "reviewers", "protectedenvironments", "changerequests", "approvals"),
    "apps/v1": ("deployments", "statefulsets", "daemonsets", "replicasets"),
    "rbac.authorization.k8s.io/v1": ("clusterroles", "clusterrolebindings", "roles", "rolebindings"),
    "admissionregistration.k8s.io/v1": (
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    ),
    "apiextensions.k8s.io/v1": ("customresourcedefinitions",),
    "coordination.k8s.io/v1": ("leases",),
    "authorization.k8s.io/v1": ("selfsubjectaccessreviews", "subjectaccessreviews"),
}
_VERSIONS = {resource: version for version, resources in _GROUPS.items() for resource in resources}
_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_APPLY = "application/apply-patch+yaml"


def path(resource: str, name: str | None = None, *, namespace: str | None = None, subresource: str | None = None) -> str:
    """The URL path of a resource by its plural: path("pods", "x", namespace="n"), path("changerequests", name).

    Raises:
        KeyError: a plural that is not listed above; write its path out.
    """
    version = _VERSIONS[resource]
    parts = ["apis" if "/" in version else "api", version]
    parts += ["namespaces", namespace] if namespace else []
    parts += [resource, *([urllib.parse.quote(name, safe=":")] if name else []), *([subresource] if subresource else [])]
    return "/" + "/".join(parts)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said."""

    status: int
    body: dict[str, Any]
    warnings: list[str]

    @property
    def ok(self) -> bool:
        return self.status < httpx.codes.BAD_REQUEST


class ApiError(HarnessError):
    """The API server said no. `body` is its Status, whole."""

    def __init__(self, answer: Answer, what: str) -> None:
        self.status = answer.status
        self.body = answer.body
        self.reason = str(answer.body.get("reason", ""))
        self.message = str(answer.body.get("message", ""))
        super().__init__(f"{what}: {self.status} {self.reason}: {self.message}")


def _tls(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=credentials.server.authority.decode())
    if credentials.pair is not None:
        # OpenSSL reads certificates from files only.
        with tempfile.NamedTemporaryFile() as file:
            file.write(credentials.pair.certificate + credentials.pair.key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


class Api:
    """One user's connection. Close it, or use it as a context manager."""

    def __init__(self, credentials: Credentials, *, timeout: float = 30) -> None:
        headers = {"Authorization": f"Bearer {credentials.token}"} if credentials.token else {}
        self.user = credentials.user
        self._client = httpx.Client(
            base_url=credentials.server.url, verify=_tls(credentials), headers=headers, timeout=timeout, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        params: dict[str, Any] | None = None,
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Any request; a refusal is an answer like another. A body of bytes is sent as it is, everything else as JSON."""
        sent = {"Content-Type": content_type or "application/json"} if body is not None else {}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body)
        response = self._client.request(method, url, content=content, params=params, headers=sent | (headers or {}))
        return Answer(response.status_code, _decoded(response), [_warning(text) for text in response.headers.get_list("warning")])

    def text(self, url: str) -> str:
        """GET of something that is not JSON.

        Raises:
            httpx.HTTPStatusError
        """
        return self._client.get(url).raise_for_status().text

    def _demand(self, method: str, url: str, body: Any, params: dict[str, Any], content_type: str | None = None) -> dict[str, Any]:
        answer = self.request(method, url, body, params, content_type)
        if not answer.ok:
            raise ApiError(answer, f"{method} {url} as {self.user}")
        return answer.body

    def get(self, url: str, **params: Any) -> dict[str, Any]:
        return self._demand("GET", url, None, params)

    def list(self, url: str, **params: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get(url, **params)["items"]
        return items

    def create(self, url: str, body: dict[str, Any], **params: Any) -> dict[str, Any]:
        """POST to a collection: path("namespaces"), not the object's own path."""
        return self._demand("POST", url, body, params)

    def replace(self, url: str, body: dict[str, Any], **params: Any) -> dict[str, Any]:
        return self._demand("PUT", url, body, params)

    def patch(self, url: str, body: Any, *, kind: str = "merge", **params: Any) -> dict[str, Any]:
        return self._demand("PATCH", url, body, params, _PATCHES[kind])

    def apply(self, url: str, body: dict[str, Any], **params: Any) -> dict[str, Any]:
        """Server-side apply of one object, as the field manager `harness`, conflicts overruled."""
        return self._demand("PATCH", url, body, {"fieldManager": "harness", "force": "true", **params}, _APPLY)

    def delete(self, url: str, body: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
        return self._demand("DELETE", url, body, params)

    def watch(self, url: str, version: str) -> Iterator[dict[str, Any]]:
        """The events after a version, until the connection ends.

        Raises:
            httpx.HTTPError
        """
        with self._client.stream("GET", url, params={"watch": "true", "resourceVersion": version}) as response:
            for line in response.iter_lines():
                yield json.loads(line)

    def exists(self, url: str) -> bool:
        answer = self.request("GET", url)
        if answer.status == httpx.codes.NOT_FOUND:
            return False
        if not answer.ok:
            raise ApiError(answer, f"GET {url} as {self.user}")
        return True


def _decoded(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {"message": response.text}
    return body if isinstance(body, dict) else {"message": response.text}


def _warning(header: str) -> str:
    """The text of `299 - "text"`."""
    text = header.partition('"')[2].rpartition('"')[0]
    return text.replace('\\"', '"').replace("\\\\", "\\")
