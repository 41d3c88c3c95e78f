from datetime import UTC, datetime, timedelta

import pytest

from countersign.adapters.parsers import WireParsers
from countersign.domain.classify import Setting, classify
from countersign.domain.document import JsonObject
from countersign.domain.request import Operation, Request, UserInfo
from countersign.domain.resources import AgentIdentity, Cluster, Meta, Subject, SubjectKind
from countersign.domain.snapshot import Snapshot
from countersign.service.judging import Judge, Terms
from countersign.wire.shards import MAX_SHARDS, SHARD_NAMES

NOW = datetime(2026, 11, 22, tzinfo=UTC)
JUDGE = Judge(WireParsers(), Terms(cool_off=timedelta(hours=1), our_namespace="countersign"))
PER_IDENTITY = 250
FULL = SHARD_NAMES * MAX_SHARDS // PER_IDENTITY


def crowd(count: int) -> Snapshot:
    """So many identities of 250 names each."""
    identities = {
        f"crowd-{index}": AgentIdentity(
            Meta(f"crowd-{index}", created=NOW + timedelta(seconds=index)),
            tuple(Subject(SubjectKind.SERVICE_ACCOUNT, f"a{index}-{number}", "ci") for number in range(PER_IDENTITY)),
            ("alice",),
        )
        for index in range(count)
    }
    return Snapshot(Cluster("prod", "uid"), identities=identities)


def errors(snapshot: Snapshot, name: str, subjects: list[JsonObject]) -> tuple[str, ...]:
    document = {"metadata": {"name": name}, "spec": {"sponsors": ["alice"], "subjects": subjects}}
    request = Request(
        uid="1",
        operation=Operation.CREATE,
        group="kube-countersign.dev",
        version="v1alpha1",
        resource="agentidentities",
        subresource="",
        namespace="",
        name=name,
        user=UserInfo("admin"),
        object=document,
        old_object=None,
        dry_run=False,
    )
    change = classify(request, frozenset())
    assert isinstance(change, Setting)
    return JUDGE.judge(request, change, snapshot, NOW, None).findings.errors


ONE: list[JsonObject] = [{"kind": "ServiceAccount", "namespace": "agents", "name": "kiro"}]


def test_an_identity_past_the_last_shard_is_refused_with_the_remedy() -> None:
    (error,) = errors(crowd(FULL), "one-too-many", ONE)
    assert "no room" in error
    assert "group" in error


@pytest.mark.parametrize("count", [0, 1, FULL - 1])
def test_one_for_which_there_is_room_is_taken(count: int) -> None:
    assert errors(crowd(count), "another", ONE) == ()
