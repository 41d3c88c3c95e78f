"""The store that watches feed says at any moment what a fresh list would say."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from countersign.adapters.store import ClusterStore
from countersign.domain.snapshot import Snapshot
from countersign.wire.resources import render_change_request
from tests.support.contracts import ENVIRONMENT, IDENTITY
from tests.support.objects import change_request
from tests.support.replicas import reviewer_spec
from tests.support.world import OURS, World

NAMES = ("a", "b", "c")


def spec_of(plural: str, name: str, variant: int) -> Mapping[str, Any]:
    match plural:
        case "agentidentities":
            return {**IDENTITY, "subjects": [{"kind": "User", "name": f"{name}-{variant}"}]}
        case "reviewers":
            return reviewer_spec(f"{name}{variant}")
        case "protectedenvironments":
            return {**ENVIRONMENT, "protectFrom": ("Agents", "People", "Everyone")[variant]}
        case "changerequests":
            body: Mapping[str, Any] = render_change_request(change_request(round=variant + 1))["spec"]
            return body
        case _:
            return {"changeRequest": NAMES[variant], "reviewer": name, "decision": "Approve", "signature": "any"}


def shape(snapshot: Snapshot) -> tuple[object, ...]:
    """All of it, with the order in which things of one key came left out; what is derived is asked for."""
    grouped = ({key: sorted(each.meta.name for each in group) for key, group in by.items()} for by in (snapshot.rounds, snapshot.approvals))
    people = {f"{name}-{variant}": type(snapshot.directory.named(f"{name}-{variant}")) for name in NAMES for variant in range(3)}
    return (
        snapshot.cluster,
        dict(snapshot.identities),
        dict(snapshot.reviewers),
        dict(snapshot.environments),
        dict(snapshot.requests),
        dict(snapshot.namespaces),
        *grouped,
        people,
        snapshot.strictest,
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from((*OURS, "namespaces")), st.sampled_from(NAMES), st.integers(0, 2), st.booleans()), max_size=25))
def test_events_and_lists_come_to_the_same(steps: list[tuple[str, str, int, bool]]) -> None:
    world, followed = World(), ClusterStore("prod-eu-1")
    for plural in ClusterStore.plurals():
        followed.replace(plural, world.listed(plural))
    for plural, name, variant, remove in steps:
        told = len(world.events)
        there = world.get(plural, name) is not None
        if there and remove:
            world.delete(plural, name)
        elif there:
            spec = spec_of(plural, name, variant)
            world.update(plural, name, lambda document, spec=spec: document.update(spec=dict(spec)))  # type: ignore[misc]  # mypy infers no type for a default argument of a lambda
        elif plural == "namespaces":
            world.create(plural, name, labels={"variant": str(variant)})
        else:
            world.create(plural, name, spec=spec_of(plural, name, variant))
        for kind, what, document in world.events[told:]:
            followed.apply(what, kind, document)
        assert shape(followed.snapshot()) == shape(world.snapshot())
    listed = ClusterStore("prod-eu-1")
    for plural in ClusterStore.plurals():
        listed.replace(plural, world.listed(plural))
        listed.replace(plural, world.listed(plural))
    assert shape(listed.snapshot()) == shape(world.snapshot())
