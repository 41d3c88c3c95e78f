"""Kubeconfig files that need no other file beside them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.controlplane.files import write
from tests.controlplane.pki import Pair


@dataclass(frozen=True, slots=True)
class Server:
    """An API server as a client knows it. `authority` is the CA's certificate, PEM."""

    name: str
    url: str
    authority: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where a client goes and as whom: with a certificate or with a token."""

    server: Server
    user: str
    pair: Pair | None = None
    token: str | None = None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def save(file: Path, credentials: Credentials) -> None:
    server = credentials.server
    user: dict[str, Any] = {}
    if credentials.pair is not None:
        user["client-certificate-data"] = _base64(credentials.pair.certificate)
        user["client-key-data"] = _base64(credentials.pair.key)
    if credentials.token is not None:
        user["token"] = credentials.token
    context = {"cluster": server.name, "user": credentials.user}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": server.name,
        "clusters": [{"name": server.name, "cluster": {"server": server.url, "certificate-authority-data": _base64(server.authority)}}],
        "users": [{"name": credentials.user, "user": user}],
        "contexts": [{"name": server.name, "context": context}],
    }
    write(file, yaml.safe_dump(config, sort_keys=False))


def load(file: Path) -> Credentials:
    """What the current context of a kubeconfig says, ours or kind's (data embedded, no exec plugins)."""
    config = yaml.safe_load(file.read_text())

    def named(kind: str, name: str) -> Any:
        return next(entry[kind] for entry in config[f"{kind}s"] if entry["name"] == name)

    context = named("context", config["current-context"])
    cluster, user = named("cluster", context["cluster"]), named("user", context["user"])
    pair = None
    if "client-certificate-data" in user:
        pair = Pair(base64.b64decode(user["client-certificate-data"]), base64.b64decode(user["client-key-data"]))
    server = Server(context["cluster"], cluster["server"], base64.b64decode(cluster["certificate-authority-data"]))
    return Credentials(server, context["user"], pair, user.get("token"))
