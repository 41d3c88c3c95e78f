"""A cluster that a team names by its kubeconfig: nothing of it is touched but what the run makes itself, and that is taken away again."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import ssl
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.controlplane import binaries, waiting
from tests.controlplane.api import Answer, Api, ApiError, path
from tests.controlplane.errors import HarnessError
from tests.controlplane.files import write
from tests.controlplane.progress import Progress
from tests.jailbreak._attack import Profile
from tests.jailbreak._ground import CHARTS, Address
from tests.jailbreak._preflight import Survey, survey

_RBAC: Final = "rbac.authorization.k8s.io"
# All that can be done with objects; none of the verbs by which one becomes somebody else.
_VERBS: Final = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")


class ProxiedApi(Api):
    """Through `kubectl proxy` on a socket of this run's own: so every way of logging in that the team's kubectl knows is good enough."""

    def __init__(self, socket: Path) -> None:
        self.user = "the kubeconfig's user"
        self._client = httpx.Client(base_url="http://localhost", transport=httpx.HTTPTransport(uds=str(socket)), timeout=60)


class BearerApi(Api):
    """With a token of the run's own."""

    def __init__(self, server: Server, user: str, token: str) -> None:
        self.user = user
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(
            base_url=server.url, verify=server.context(), headers=headers, timeout=60, trust_env=False, proxy=server.proxy or None
        )
        if server.tls_name:
            self._client.event_hooks = {"request": [lambda request: request.extensions.update(sni_hostname=server.tls_name)]}


@dataclass(frozen=True, slots=True)
class Server:
    """The `cluster` of a kubeconfig, read in full: `entry` is its JSON."""

    entry: Mapping[str, Any]

    @property
    def url(self) -> str:
        return str(self.entry["server"])

    @property
    def proxy(self) -> str:
        return str(self.entry.get("proxy-url", ""))

    @property
    def tls_name(self) -> str:
        return str(self.entry.get("tls-server-name", ""))

    def context(self) -> ssl.SSLContext:
        data = self.entry.get("certificate-authority-data")
        context = ssl.create_default_context(cadata=base64.b64decode(data).decode() if data else None)
        if self.entry.get("insecure-skip-tls-verify"):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def address(self) -> Address:
        parts = urllib.parse.urlsplit(self.url)
        direct = parts.scheme == "https" and not self.proxy and not self.tls_name
        return Address(parts.hostname or "", parts.port or 443, self.context(), parts.path.rstrip("/"), direct=direct)


@dataclass
class ForeignGround:
    program: Path
    context: str
    server: Server
    admin: Api
    found: Survey
    role: str
    own: None = None

    @property
    def title(self) -> str:
        return f"{self.context} ({self.server.url})"

    @property
    def sponsor(self) -> str:
        return self.found.username

    @property
    def waits_for_signatures(self) -> bool:
        return self.found.signed

    @property
    def labels(self) -> Mapping[str, str]:
        return self.found.labels

    @cached_property
    def address(self) -> Address:
        return self.server.address()

    def as_bearer(self, name: str, token: str) -> Api:
        return BearerApi(self.server, name, token)

    def kubectl(self) -> Path:
        return self.program

    def write_kubeconfig(self, file: Path, name: str, token: str) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "jailbreak",
            "clusters": [{"name": "jailbreak", "cluster": dict(self.server.entry)}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "jailbreak", "context": {"cluster": "jailbreak", "user": name}}],
        }
        write(file, yaml.safe_dump(config))

    def obstacle(self, profile: Profile) -> str:
        return self.found.missing.get(profile, "")


@contextmanager
def foreign_ground(kubeconfig: str) -> Iterator[ForeignGround]:
    """
    Raises:
        HarnessError: with what is missing, and the remedy
    """
    found = shutil.which("kubectl")
    program = Path(found) if found else binaries.ensure(binaries.KIND_CLUSTER, Progress())["kubectl"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jailbreak-")))
        server, context = _read(program, kubeconfig)
        admin = stack.enter_context(_proxied(program, kubeconfig, folder))
        surveyed = survey(admin, context)
        print(
            f"\njailbreak: {context} ({server.url}) as {surveyed.username}; Countersign in the namespace {surveyed.namespace}"
        )  # people must see whose cluster it is
        role = surveyed.role or stack.enter_context(_role(admin))
        yield ForeignGround(program, context, server, admin, surveyed, role)


def _environment(kubeconfig: str) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": kubeconfig}


def _read(program: Path, kubeconfig: str) -> tuple[Server, str]:
    command: list[str | Path] = [program, "config", "view", "--minify", "--raw", "--flatten", "-o", "json"]
    answer = subprocess.run(command, env=_environment(kubeconfig), capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise HarnessError(f"KUBECONFIG={kubeconfig} cannot be read: {answer.stderr.strip()}")
    config = json.loads(answer.stdout)
    return Server(config["clusters"][0]["cluster"]), str(config["current-context"])


@contextmanager
def _proxied(program: Path, kubeconfig: str, folder: Path) -> Iterator[Api]:
    socket, errors = folder / "api", folder / "errors"
    command: list[str | Path] = [program, "proxy", f"--unix-socket={socket}", "--accept-paths=.*", "--reject-paths=^$"]
    with errors.open("wb") as log:
        # In a session of its own: Ctrl-C goes to everybody in the terminal's, and this one is still needed to clean up.
        process = subprocess.Popen(
            command, env=_environment(kubeconfig), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        waiting.until(
            socket.exists,
            "`kubectl proxy` was to begin",
            timeout=30,
            explain=errors.read_text,
            give_up=lambda: process.poll() is not None,
        )
        with ProxiedApi(socket) as admin:
            _demand_answer(admin, errors)
            yield admin
    finally:
        process.terminate()
        process.wait(10)


def _demand_answer(admin: Api, errors: Path) -> None:
    """A first question: whether the cluster can be reached, and the user can log in."""
    answer = admin.request("GET", "/version")
    if not answer.ok:
        raise HarnessError(
            f"the cluster does not answer: {answer.status} {answer.body.get('message')} {errors.read_text().strip()}".strip()
        )


@contextmanager
def _role(admin: Api) -> Iterator[str]:
    """What the attackers may do: everything but to become somebody else."""
    name = f"jailbreak-{secrets.token_hex(3)}"
    rules = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": list(_VERBS)},
        {"nonResourceURLs": ["*"], "verbs": ["get"]},
    ]
    url = path("clusterroles", name)
    try:
        admin.create(path("clusterroles"), {"metadata": {"name": name}, "rules": rules})
        yield name
    except ApiError as error:
        if "clusterroles" not in str(error):
            raise
        raise HarnessError(
            "this kubeconfig's user may not give the attackers their role. Run it as a cluster administrator, or name a role that is "
            f"there already: JAILBREAK_ROLE={CHARTS}.\n    {error}"
        ) from error
    finally:
        answer: Answer = admin.request("DELETE", url)
        if not answer.ok and answer.status != httpx.codes.NOT_FOUND:
            print(f"jailbreak: LEFT BEHIND: clusterrole {name}: {answer.body.get('message')}")
