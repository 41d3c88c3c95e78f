"""Guards of very many environments and agents: they stay within what the API server compiles, and hold as surely."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from countersign.domain.names import GROUP
from countersign.domain.resources import AgentIdentity, Meta, Subject, SubjectKind
from countersign.wire.guards import guards
from countersign.wire.shards import MAX_SHARDS, SHARD_LETTERS, SHARD_NAMES, deal
from tests.support.admission import Ask, annotations, reached, refusals
from tests.wire._cluster import (
    ALICE,
    COLLECTOR,
    DEFAULT,
    DEPLOYER,
    GOLD,
    IDENTITIES,
    KIRO,
    MANY,
    NAMESPACE_CONTROLLER,
    SITE,
    configuration,
    deleting,
    namespace,
    thing,
)


class TestVeryManyEnvironments:
    """Past some room a condition is wider, never narrower: the webhook judges each request by itself anyway."""

    def test_what_the_api_server_would_refuse_or_take_seconds_to_compile_is_not_written(self) -> None:
        found = configuration(guards(SITE, IDENTITIES, MANY))
        lengths = [len(each["expression"]) for entry in found.body["webhooks"] for each in entry["matchConditions"]]
        assert max(lengths) < 20_000

    @pytest.mark.parametrize(
        ("user", "after", "entries"),
        [
            (KIRO, {}, ["agents-0"]),
            (KIRO, {"team": "t7", "a": "1"}, ["agents-0"]),
            (KIRO, {"team": "t7"}, []),
            (KIRO, {"team": "t7", "kube-countersign.dev/agent": "kiro"}, []),
            (KIRO, None, ["agents-0"]),
            (ALICE, {"team": "t8"}, ["people"]),
            (ALICE, {}, ["people"]),
            (DEPLOYER, {}, ["everyone"]),
            (NAMESPACE_CONTROLLER, {}, []),
        ],
    )
    def test_every_other_label_is_asked_about(self, user: str, after: Mapping[str, str] | None, entries: list[str]) -> None:
        ask = Ask(user, "UPDATE", "namespaces", object=namespace(labels=after), old=namespace(labels={"team": "t7"}))
        assert reached(configuration(guards(SITE, IDENTITIES, MANY)), ask) == entries

    @pytest.mark.parametrize(("user", "entries"), [(KIRO, ["agents-0"]), (ALICE, ["people"]), (DEPLOYER, ["everyone"]), (COLLECTOR, [])])
    def test_every_deletion_is_asked_about(self, user: str, entries: list[str]) -> None:
        ask = deleting(user, "namespaces", namespace(labels={"team": "t20"}))
        assert reached(configuration(guards(SITE, IDENTITIES, MANY)), ask) == entries


def crowd(count: int, length: int = 10) -> list[AgentIdentity]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        AgentIdentity(
            Meta(f"a{index:06}", created=start + timedelta(seconds=index)),
            (Subject(SubjectKind.SERVICE_ACCOUNT, f"{index:0{length}}", "ns"),),
            ("s",),
        )
        for index in range(count)
    ]


class TestShards:
    def test_so_many_names_each(self) -> None:
        dealt = deal(crowd(SHARD_NAMES * 2 + 1))
        assert [len(shard.named) for shard in dealt.shards] == [SHARD_NAMES, SHARD_NAMES, 1]
        assert dealt.left_out == ()

    def test_long_names_fill_one_sooner(self) -> None:
        dealt = deal(crowd(1_000, length=200))
        assert len(dealt.shards) > 1
        assert all(len(shard.matches) < SHARD_LETTERS * 1.2 for shard in dealt.shards)

    def test_past_the_last_the_newest_are_left_out(self) -> None:
        many = crowd(SHARD_NAMES * MAX_SHARDS + 2)
        dealt = deal(reversed(many))
        assert len(dealt.shards) == MAX_SHARDS
        assert dealt.left_out == tuple(identity.meta.name for identity in many[-2:])

    def test_one_that_does_not_fit_as_a_whole_is_left_out_as_a_whole(self) -> None:
        huge = AgentIdentity(Meta("huge"), tuple(Subject(SubjectKind.USER, f"{index}*{'x' * 500}") for index in range(256)), ("s",))
        dealt = deal([huge, *crowd(3)])
        assert dealt.left_out == ("huge",)
        assert all("huge" not in str(shard) for shard in dealt.shards)

    def test_a_new_identity_changes_the_last_shard_only(self) -> None:
        before, after = deal(crowd(SHARD_NAMES + 5)), deal(crowd(SHARD_NAMES + 6))
        assert before.shards[0] == after.shards[0]
        assert before.shards[1] != after.shards[1]

    def test_every_shard_has_its_entry_and_its_policy(self) -> None:
        built = guards(SITE, crowd(SHARD_NAMES + 1), (DEFAULT,))
        names = [entry["name"].partition(".")[0] for entry in configuration(built).body["webhooks"]]
        assert names[:2] == ["agents-0", "agents-1"]
        assert {guard.name for guard in built if "label" in guard.name} == {"countersign-label", "countersign-label-1"}
        last = f"system:serviceaccount:ns:{SHARD_NAMES:010}"
        assert reached(configuration(built), deleting(last, "namespaces", namespace())) == ["agents-1"]
        assert refusals(built, Ask(last, "DELETE", "reviewers", old=thing(), group=GROUP))
        assert annotations(built, Ask(last, "CREATE", "pods", object=thing()))["agent"] == f"a{SHARD_NAMES:06}"

    def test_agents_of_many_shards_are_asked_about_twice_rather_than_never(self) -> None:
        built = guards(SITE, crowd(SHARD_NAMES + 1), (DEFAULT, GOLD))
        ask = deleting("system:serviceaccount:ns:0000000001", "namespaces", namespace("x", {"tier": "gold"}))
        assert reached(configuration(built), ask) == ["agents-0", "everyone"]

    def test_two_identities_of_one_name(self) -> None:
        both = [AgentIdentity(Meta(name), (Subject(SubjectKind.USER, "u"),), ("s",)) for name in ("b", "a")]
        assert deal(both).shards[0].named == {"u": ("a", "b")}
