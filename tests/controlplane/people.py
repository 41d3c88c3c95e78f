"""Who there is in a test cluster: three humans, two agents; and how more of them are made."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.controlplane import kubeconfig
from tests.controlplane.api import OURS, Api, ApiError, path
from tests.controlplane.errors import HarnessError, StartFailed, ToolMissing
from tests.controlplane.kubeconfig import Credentials, Server
from tests.controlplane.paths import Layout
from tests.controlplane.pki import Authority

TOKEN_SECONDS = 24 * 3600
REVIEWER_ROLE, AGENT_ROLE, ADMIN_ROLE = "countersign-reviewer", "countersign-agent", "cluster-admin"
AGENT_SECRETS_ROLE = "countersign-agent-secrets"
AGENTS = "agents"
ADMISSION_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Human:
    name: str
    username: str
    groups: tuple[str, ...]
    role: str
    teams: tuple[str, ...] = ()


HUMANS = (
    Human("alice", "alice@example.com", ("platform",), ADMIN_ROLE),
    Human("bob", "bob@example.com", ("sre",), REVIEWER_ROLE, ("sre",)),
    Human("carol", "carol@example.com", ("sre",), REVIEWER_ROLE, ("sre",)),
)
AGENT_ROLES = {"kiro": AGENT_ROLE, "rogue": ADMIN_ROLE}
SPONSORS = ("alice",)


# --- manifests --------------------------------------------------------------------------------


def reviewer(name: str, usernames: Sequence[str], keys: Mapping[str, Path], teams: Sequence[str] = ()) -> dict[str, Any]:
    """A Reviewer; `keys` maps a key's name to the file of the private key, beside which the `.pub` lies."""
    listed = [{"name": key, "publicKey": public_key(file)} for key, file in keys.items()]
    spec: dict[str, Any] = {"usernames": list(usernames), "keys": listed}
    if teams:
        spec["teams"] = list(teams)
    return {"apiVersion": f"{OURS}/v1alpha1", "kind": "Reviewer", "metadata": {"name": name}, "spec": spec}


def identity(name: str, subjects: Sequence[Mapping[str, Any]], sponsors: Sequence[str] = SPONSORS) -> dict[str, Any]:
    spec = {"sponsors": list(sponsors), "subjects": [dict(subject) for subject in subjects]}
    return {"apiVersion": f"{OURS}/v1alpha1", "kind": "AgentIdentity", "metadata": {"name": name}, "spec": spec}


def service_account(namespace: str, name: str) -> dict[str, str]:
    """The subject, in the shape of RBAC's and of an AgentIdentity's."""
    return {"kind": "ServiceAccount", "namespace": namespace, "name": name}


def binding(role: str, subject: Mapping[str, str], name: str) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [dict(subject)],
    }


# --- keys -------------------------------------------------------------------------------------


def _ssh_keygen(*arguments: str | Path) -> None:
    try:
        answer = subprocess.run(["ssh-keygen", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError as error:
        raise ToolMissing("ssh-keygen is not in the PATH: install OpenSSH's client (openssh-client, openssh)") from error
    if answer.returncode != 0:
        raise HarnessError(f"ssh-keygen {' '.join(map(str, arguments))}: {answer.stderr.strip() or answer.stdout.strip()}")


def new_key(file: Path, key_type: str = "ed25519", bits: int | None = None) -> Path:
    """A key pair without a passphrase; kept if it is there."""
    if not file.exists():
        size = ["-b", str(bits)] if bits else []
        _ssh_keygen("-q", "-t", key_type, *size, "-N", "", "-C", file.name, "-f", file)
    return file


def public_key(file: Path) -> str:
    """Type and data of the `.pub` beside a private key, without its comment."""
    return " ".join(file.with_name(f"{file.name}.pub").read_text().split()[:2])


def sign(key: Path, text: str, namespace: str, folder: Path) -> str:
    """An armored SSHSIG of the text, by ssh-keygen. `folder` is for its two files."""
    statement = folder / "statement.txt"
    statement.write_bytes(text.encode())
    _ssh_keygen("-Y", "sign", "-n", namespace, "-f", key, statement)
    return statement.with_name(f"{statement.name}.sig").read_text()


# --- accounts ---------------------------------------------------------------------------------


def create_if_absent(api: Api, collection: str, manifest: dict[str, Any]) -> None:
    """Creates an object unless there is one of that name. What a person has changed since is left alone.

    Waits while admission is unable to answer (a webhook that has just started); a refusal is an error at once.
    """
    deadline = time.monotonic() + ADMISSION_PATIENCE
    # Admission is asked before the API server sees that the name is taken: what is there must not wait for signatures.
    if api.exists(f"{collection}/{manifest['metadata']['name']}"):
        return
    while True:
        answer = api.request("POST", collection, manifest)
        if answer.ok or answer.body.get("reason") == "AlreadyExists":
            return
        failure = ApiError(answer, f"POST {collection} ({manifest['metadata']['name']})")
        unable = answer.status >= httpx.codes.INTERNAL_SERVER_ERROR or answer.status == httpx.codes.TOO_MANY_REQUESTS
        if not unable or time.monotonic() > deadline:
            raise StartFailed(str(failure)) from failure
        time.sleep(0.2)


def create_namespace(api: Api, name: str) -> None:
    create_if_absent(api, path("namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def create_service_account(api: Api, namespace: str, name: str, role: str | None) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    create_if_absent(api, path("serviceaccounts", namespace=namespace), account)
    if role:
        # Everywhere, as a careless team would: the suites' agents install with Helm, and reach for what lies in Secrets.
        for each in (role, AGENT_SECRETS_ROLE) if role == AGENT_ROLE else (role,):
            bind(api, each, service_account(namespace, name), f"harness:{namespace}:{name}:{each}")


def bind(api: Api, role: str, subject: Mapping[str, str], name: str) -> None:
    create_if_absent(api, path("clusterrolebindings"), binding(role, subject, name))


def token(api: Api, namespace: str, name: str) -> str:
    """A TokenRequest token of 24 hours."""
    url = path("serviceaccounts", name, namespace=namespace, subresource="token")
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": TOKEN_SECONDS}}
    return str(api.create(url, body)["status"]["token"])


@dataclass(frozen=True, slots=True)
class People:
    """Makes accounts in one cluster: admin's API, the server as clients see it, the CA that signs humans' certificates."""

    layout: Layout
    api: Api
    server: Server
    authority: Authority

    def human(self, name: str, username: str, groups: Sequence[str], role: str | None) -> None:
        file = self.layout.user(name)
        if not file.exists():
            kubeconfig.save(file, Credentials(self.server, name, pair=self.authority.client(username, groups)))
        if role:
            subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": username}
            bind(self.api, role, subject, f"harness:{username}:{role}")

    def account(self, name: str, namespace: str, role: str | None) -> None:
        """A ServiceAccount with a kubeconfig of a fresh token."""
        create_service_account(self.api, namespace, name, role)
        kubeconfig.save(self.layout.user(name), Credentials(self.server, name, token=token(self.api, namespace, name)))

    def accounts_of_the_story(self) -> None:
        """Credentials and RBAC of everybody in the tables above; needs the chart's roles only by name."""
        create_namespace(self.api, AGENTS)
        for human in HUMANS:
            new_key(self.layout.ssh / human.name)
            if human.role == ADMIN_ROLE:
                self.human(human.name, human.username, human.groups, None)
                group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": human.groups[0]}
                bind(self.api, ADMIN_ROLE, group, f"harness:{human.groups[0]}:{ADMIN_ROLE}")
            else:
                self.human(human.name, human.username, human.groups, human.role)
        for agent, role in AGENT_ROLES.items():
            self.account(agent, AGENTS, role)

    def register(self) -> None:
        """The Reviewers and AgentIdentities; needs our CRDs, and registration to be open the first time."""
        for human in HUMANS:
            keys = {"main": self.layout.ssh / human.name}
            create_if_absent(self.api, path("reviewers"), reviewer(human.name, [human.username], keys, human.teams))
        for agent in AGENT_ROLES:
            create_if_absent(self.api, path("agentidentities"), identity(agent, [service_account(AGENTS, agent)]))
