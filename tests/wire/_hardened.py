"""The hardened profile's policies, and what is asked of them: by the simulation of tests/support/admission.py."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from countersign.domain.profile import Profile
from countersign.domain.resources import AgentIdentity, Meta, ProtectedEnvironment, ProtectFrom, Subject, SubjectKind
from countersign.wire.guards import Guard, Site, guards
from tests.support.admission import Ask, refusals

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SITE = Site("uid-of-the-role", "countersign", "", b"PEM", mutating=True, profile=Profile.HARDENED, now=NOW)
KIRO, ALICE, DEPLOYER = "system:serviceaccount:agents:kiro", "alice@example.com", "system:serviceaccount:ci:deployer"
GARDENER = "system:serviceaccount:kube-system:deployment-controller"


IDENTITIES = (
    AgentIdentity(Meta("kiro"), (Subject(SubjectKind.SERVICE_ACCOUNT, "kiro", "agents"),), ("alice",)),
    AgentIdentity(Meta("robots"), (Subject(SubjectKind.SERVICE_ACCOUNT, "*", "robots"), Subject(SubjectKind.GROUP, "ai-agents")), ("bob",)),
)


DEFAULT = ProtectedEnvironment(Meta("default"), ProtectFrom.AGENTS, exclude=("kube-system",), own_work=timedelta(hours=24))
ALL = guards(SITE, IDENTITIES, (DEFAULT,))
STANDARD = guards(replace(SITE, profile=Profile.STANDARD), IDENTITIES, (DEFAULT,))
OTHERS = (ALICE, DEPLOYER, GARDENER)


def thing(name: str = "x", spec: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **({"spec": dict(spec)} if spec is not None else {}), **more}


def ask(operation: str, resource: str, new: Any = None, old: Any = None, *, user: str = KIRO, place: str = "shop", **more: Any) -> Ask:
    name = more.pop("name", "x")
    return Ask(user, operation, resource, object=new, old=old, namespace=place, name=name, **more)


def is_refused(asked: Ask, *words: str, built: tuple[Guard, ...] = ALL) -> None:
    """To the agent with these words, by nothing of the standard profile; to nobody else."""
    said = refusals(built, asked)
    assert said, asked
    assert all(word in " ".join(said) for word in words), said
    assert "ERROR" not in " ".join(said), said
    assert refusals(STANDARD, asked) == []
    for user in OTHERS:
        assert refusals(built, replace(asked, user=user)) == []


def passes(asked: Ask, *, built: tuple[Guard, ...] = ALL) -> None:
    assert refusals(built, asked) == []


def deployment(replicas: int | None = 3, **pod: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"template": {"spec": {"containers": [{"name": "a", "image": "b"}], **pod}}}
    return thing(spec=spec | ({"replicas": replicas} if replicas is not None else {}))
