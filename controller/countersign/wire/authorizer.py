"""The two files by which an API server asks us: its AuthorizationConfiguration and the kubeconfig of our webhook (docs/authorizer.md).

Written as text, since people read them, and JSON strings, which are YAML's too. Nothing in them is secret. Only fields that every
Kubernetes with `apiserver.config.k8s.io/v1` knows (1.32): it reads the file strictly, and does not start with one that it cannot read.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from countersign.domain.resources import AgentIdentity
from countersign.wire.access import is_asked_about
from countersign.wire.cel import ACCESS, literal
from countersign.wire.shards import Shard, deal

CONFIGURATION_FILE: Final = "authorization.yaml"
KUBECONFIG_FILE: Final = "kubeconfig"
_NAME: Final = "countersign"
_TIMEOUT: Final = "3s"
_REMEMBERED: Final = "1s"
"""How long the API server goes by an answer that it has: each attempt is to be recorded, and a flood of one and the same costs one call a second."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API server finds /authorize. `server_name` is what the certificate says, where that is not the host."""

    url: str
    server_name: str = ""

    @classmethod
    def of_service(cls, cluster_ip: str, namespace: str) -> "Endpoint":
        """By the Service's address: a control plane's host does not resolve the cluster's names."""
        host = f"[{cluster_ip}]" if ":" in cluster_ip else cluster_ip
        return cls(f"https://{host}/authorize", f"countersign-webhook.{namespace}.svc")

    @classmethod
    def beside(cls, webhook_url: str) -> "Endpoint":
        """On the server that answers at `webhook_url` (https://HOST:PORT/validate)."""
        return cls(f"https://{urlsplit(webhook_url).netloc}/authorize")


@dataclass(frozen=True, slots=True)
class Site:
    """`folder` is where the files lie on the API server's host; `ca_bundle` is PEM.

    `shows_certificate`: whether the API server has to show a client certificate, which then lies in the folder too.
    """

    namespace: str
    folder: str
    endpoint: Endpoint
    ca_bundle: bytes
    shows_certificate: bool = False


def files(site: Site, identities: Iterable[AgentIdentity]) -> dict[str, str]:
    """Both files, by name."""
    kubeconfig = _kubeconfig(site)
    return {CONFIGURATION_FILE: _configuration(site, deal(identities, ACCESS).shards, kubeconfig), KUBECONFIG_FILE: kubeconfig}


def _kubeconfig(site: Site) -> str:
    shown = {"client-certificate": f"{site.folder}/client.crt", "client-key": f"{site.folder}/client.key"} if site.shows_certificate else {}
    name = f"    tls-server-name: {json.dumps(site.endpoint.server_name)}\n" if site.endpoint.server_name else ""
    return (
        "# Where kube-apiserver asks Countersign's authorizer. Written by Countersign's operator.\n"
        "apiVersion: v1\n"
        "kind: Config\n"
        "clusters:\n"
        "- name: countersign\n"
        "  cluster:\n"
        f"    server: {json.dumps(site.endpoint.url)}\n"
        f"{name}"
        f"    certificate-authority-data: {b64encode(site.ca_bundle).decode('ascii')}\n"
        "users:\n"
        f"- {{name: kube-apiserver, user: {json.dumps(shown)}}}\n"
        "contexts:\n"
        "- {name: countersign, context: {cluster: countersign, user: kube-apiserver}}\n"
        "current-context: countersign\n"
    )


def _configuration(site: Site, shards: Sequence[Shard], kubeconfig: str) -> str:
    """Node first, as kubeadm has it: most requests of a cluster are kubelets' and end there. Ours before RBAC. One entry for each shard."""
    digest = hashlib.sha256(kubeconfig.encode()).hexdigest()
    webhooks = "".join(_webhook(site, _NAME if index == 0 else f"{_NAME}-{index}", shard, digest) for index, shard in enumerate(shards))
    return (
        "# kube-apiserver --authorization-config. Written by Countersign's operator from the AgentIdentities.\n"
        "apiVersion: apiserver.config.k8s.io/v1\n"
        "kind: AuthorizationConfiguration\n"
        "authorizers:\n"
        "- {type: Node, name: node}\n"
        f"{webhooks}"
        "- {type: RBAC, name: rbac}\n"
    )


def _webhook(site: Site, name: str, shard: Shard, digest: str) -> str:
    """The last condition is always true. The kubeconfig is read again only when something here changes (reload.go): so its digest is here."""
    conditions = (is_asked_about(site.namespace), shard.matches, f'{literal(digest)} != ""')
    return (
        f"- type: Webhook\n"
        f"  name: {name}\n"
        "  webhook:\n"
        "    subjectAccessReviewVersion: v1\n"
        "    matchConditionSubjectAccessReviewVersion: v1\n"
        "    failurePolicy: Deny\n"
        f"    timeout: {_TIMEOUT}\n"
        f"    authorizedTTL: {_REMEMBERED}\n"
        f"    unauthorizedTTL: {_REMEMBERED}\n"
        "    connectionInfo:\n"
        "      type: KubeConfigFile\n"
        f"      kubeConfigFile: {json.dumps(f'{site.folder}/{KUBECONFIG_FILE}')}\n"
        "    matchConditions:\n" + "".join(f"    - expression: {json.dumps(condition)}\n" for condition in conditions)
    )
