"""`countersign posture`: exit status, the two forms, and what it says when it cannot tell."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from countersign.__main__ import main
from countersign.entrypoints.posture import posture_command

OURS, RBAC = "kube-countersign.dev/v1alpha1", "rbac.authorization.k8s.io/v1"


def agent(name: str) -> dict[str, Any]:
    subjects = [{"kind": "ServiceAccount", "namespace": "agents", "name": name}]
    return {"apiVersion": OURS, "kind": "AgentIdentity", "metadata": {"name": name}, "spec": {"sponsors": ["alice"], "subjects": subjects}}


def bound(name: str, *verbs: str) -> list[dict[str, Any]]:
    rules = [{"verbs": list(verbs), "apiGroups": [""], "resources": ["users", "pods"]}]
    subjects = [{"kind": "ServiceAccount", "namespace": "agents", "name": name}]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    return [
        {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {"apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": reference, "subjects": subjects},
    ]


HELD = [agent("kiro"), *bound("kiro", "get")]
LOOSE = [*HELD, agent("rogue"), *bound("rogue", "impersonate")]


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(objects: list[dict[str, Any]]) -> str:
        file = tmp_path / "dump.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        return str(file)

    return write


def test_all_are_held(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["posture", written(HELD)]) == 0
    assert "All 1 agents are held" in capsys.readouterr().out


def test_one_is_not(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert posture_command([written(LOOSE)], {}) == 1
    said = capsys.readouterr().out
    assert "**NOT HELD: rogue** (1 of 2 agents)" in said
    assert "Only RBAC was looked at" in said


def test_only_one_agent(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert posture_command(["--agent", "kiro", written(LOOSE)], {}) == 0
    assert "rogue" not in capsys.readouterr().out


def test_for_machines_from_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps({"items": LOOSE}).encode())))
    assert posture_command(["--output", "json", "-"], {"COUNTERSIGN_CLUSTER_NAME": "prod-eu-1"}) == 1
    tree = json.loads(capsys.readouterr().out)
    assert (tree["cluster"], tree["held"], tree["authorizersAsked"]) == ("prod-eu-1", False, False)
    assert {each["name"]: each["held"] for each in tree["agents"]} == {"kiro": True, "rogue": False}


def test_an_agent_that_there_is_not(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert posture_command(["--agent", "nobody", written(HELD)], {}) == 2
    assert "no AgentIdentity 'nobody'" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "not json", "[]", '{"items": []}', '{"items": [{"kind": "AgentIdentity"}]}'])
def test_a_file_that_is_of_no_use(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "dump.json"
    file.write_text(content)
    assert posture_command([str(file)], {}) == 2
    assert "could not be found out" in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert posture_command(["/nowhere/dump.json"], {}) == 2
    assert "could not be found out" in capsys.readouterr().err


def test_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert posture_command([], {}) == 2
    assert "kubeconfig" in capsys.readouterr().err


def test_an_api_server_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert posture_command([], {"COUNTERSIGN_API_SERVER": "http://plain"}) == 2
    assert "https://" in capsys.readouterr().err
