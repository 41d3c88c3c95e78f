"""Every console block of README and docs, typed by the people that it names, on a real cluster: it says what the page shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.controlplane import waiting
from tests.controlplane.cluster import Cluster
from tests.demo.person import Person
from tests.demo.reading import change_request_in
from tests.docs.comparing import difference
from tests.docs.pages import Page, pages

_REQUEST = re.compile(r"delete-namespace-([a-z]+)-[0-9a-f]{8}")
_TOLD = [page for page in pages() if page.commands()]

_LIVING = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Service
metadata: {name: front}
spec: {type: LoadBalancer, ports: [{port: 443}], selector: {app: front}}
"""


def test_there_are_pages_with_commands() -> None:
    assert {page.name for page in _TOLD} >= {"README.md", "docs/signing.md", "docs/agents.md"}


@pytest.fixture
def requests(cluster: Cluster, page: Page) -> Iterator[Mapping[str, str]]:
    """For each change request that the page names, the namespace is there and kiro has asked: page's name → real name."""
    named = {match.group(0): match.group(1) for match in _REQUEST.finditer(page.text)}
    real: dict[str, str] = {}
    for name, namespace in named.items():
        _remove(cluster, namespace)
        cluster.kubectl("alice", "create", "namespace", namespace).check_returncode()
        cluster.kubectl("alice", "apply", "-n", namespace, "-f", "-", stdin=_LIVING).check_returncode()
        refused = cluster.kubectl("kiro", "delete", "namespace", namespace)
        real[name] = change_request_in(refused.stderr)
        waiting.until(
            lambda request=real[name]: bool(_outcome(cluster, request)),  # type: ignore[misc]  # bound now, not in the end
            f"the operator was to write the status of {real[name]}",
            timeout=30,
        )
    yield real
    for namespace in named.values():
        _remove(cluster, namespace)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", _TOLD, ids=lambda page: page.name)
def test_the_commands_say_what_the_page_shows(cluster: Cluster, page: Page, requests: Mapping[str, str], tmp_path: Path) -> None:
    people: dict[str, Person] = {}
    for command in page.commands():
        person = people.setdefault(command.user, Person.at(cluster.paths, command.user, tmp_path / command.user))
        ran = person.run(_real(command.text, requests))
        where = f"{page.name}:{command.line}: {command.user}$ {command.text.splitlines()[0]}"
        refused = any(line.startswith("Error from server") for line in command.shown)
        assert (ran.code != 0) == refused, f"{where}\nexit code {ran.code}:\n{ran.text}"
        wrong = difference([_real(line, requests) for line in command.shown], ran.text.splitlines())
        assert not wrong, f"{where}\n{wrong}"


def _real(text: str, requests: Mapping[str, str]) -> str:
    for name, real in requests.items():
        text = text.replace(name, real)
    return text


def _outcome(cluster: Cluster, request: str) -> str:
    kind = "changerequests.kube-countersign.dev"
    return cluster.kubectl("admin", "get", kind, request, "-o", "jsonpath={.status.outcome}").stdout


def _remove(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("admin", "delete", "namespace", namespace, "--ignore-not-found", timeout=180).check_returncode()
