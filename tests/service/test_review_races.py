"""Replicas whose memory is behind, and what happens between memory and the live look."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest

from countersign.domain.answer import Reason
from countersign.domain.statement import act_of, names, render
from countersign.wire.resources import render_change_request
from tests.support.objects import HOUR, MINUTE, key_of, user
from tests.support.replicas import KIRO_USER, Replica, Story, request_in, reviewer_spec

ADMIN = user("erin@example.com")


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def behind(story: Story) -> Replica:
    """A replica that will not hear of anything any more, from the moment `freeze` is called on its state."""
    return story.replica()


def approved(story: Story) -> str:
    request = request_in(story.delete())
    assert story.sign(request).allowed
    return request


# ── a frozen replica never allows what is not so any more ───────────────────────────────────────────────────────────────────────────

Change = Callable[[Story, str], object]


def rules(**approvals: object) -> Change:
    return lambda story, _: story.change("protectedenvironments", "default", approvals=approvals)


def later(change: Change) -> Change:
    """Five minutes later."""

    def wait_first(story: Story, request: str) -> None:
        story.wait(5 * MINUTE)
        change(story, request)

    return wait_first


EVERY_AGENT = [{"kind": "ServiceAccount", "namespace": "agents", "name": "*"}]
UNDOINGS: list[tuple[str, Change]] = [
    ("a key is revoked", lambda story, _: story.change("reviewers", "bob", keys=[])),
    ("the reviewer is removed", lambda story, _: story.world.delete("reviewers", "bob")),
    ("the signature is withdrawn", lambda story, request: story.sign(request, "carol", verdict="Reject")),
    ("the signer becomes a sponsor", lambda story, _: story.change("agentidentities", "kiro", sponsors=["alice", "bob"])),
    ("a second identity is sponsored by the signer", lambda story, _: story.agent("second", sponsors=("bob",), subjects=EVERY_AGENT)),
    ("the environment asks for two", rules(required=2)),
    ("an environment is added", lambda story, _: story.environment("strict", approvals={"required": 2})),
    ("hardware keys only", rules(hardwareKeysOnly=True)),
    ("the window shrinks", later(rules(useWithin="1m"))),
    ("a volume appears", lambda story, _: story.world.create("persistentvolumeclaims", "late", namespace="payments", spec={})),
    ("the operator has cleaned up", later(lambda story, request: story.world.delete("changerequests", request))),
]


@pytest.mark.parametrize("undo", [pytest.param(row[1], id=row[0]) for row in UNDOINGS])
def test_what_a_frozen_replica_has_not_heard(story: Story, behind: Replica, undo: Change) -> None:
    request = approved(story)
    behind.state.freeze()
    assert story.delete(at=behind).allowed
    undo(story, request)
    assert not story.delete(at=behind).allowed
    assert not story.delete().allowed


def own_work(story: Story, _: str) -> None:
    marks = {"kube-countersign.dev/created-by": KIRO_USER.username}
    story.change("protectedenvironments", "default", ownWork="1h")
    story.world.update("namespaces", "payments", lambda doc: doc["metadata"].update(annotations=marks))


LOOSER: list[tuple[str, Change]] = [
    ("an agent was no agent", lambda story, _: story.world.delete("agentidentities", "kiro")),
    ("a namespace was not protected", lambda story, _: story.change("protectedenvironments", "default", mode="Audit")),
    ("it was excluded", lambda story, _: story.change("protectedenvironments", "default", namespaces={"exclude": ["payments"]})),
    ("it was the agent's own", own_work),
]


@pytest.mark.parametrize("loosen", [pytest.param(row[1], id=row[0]) for row in LOOSER])
def test_protection_that_a_frozen_replica_has_not_heard_of(story: Story, behind: Replica, loosen: Change) -> None:
    strict = deepcopy(story.world.documents)
    loosen(story, "")
    behind.state.freeze()
    assert story.delete(at=behind).allowed
    for key, document in strict.items():
        if key[0] in ("agentidentities", "protectedenvironments"):
            story.world.documents[key] = document
            document["metadata"]["resourceVersion"] = story.world.version
    story.world.create("persistentvolumeclaims", "data", namespace="payments", spec={})
    assert not story.delete(at=behind).allowed


def test_a_namespace_relabelled_into_protection(story: Story, behind: Replica) -> None:
    story.change("protectedenvironments", "default", namespaces={"selector": {"matchLabels": {"tier": "prod"}}})
    story.world.create("persistentvolumeclaims", "data", namespace="payments", spec={})
    behind.state.freeze()
    asked = story.world.deletion(KIRO_USER, "persistentvolumeclaims", "data", namespace="payments")
    assert behind.ask(asked).allowed
    story.world.update("namespaces", "payments", lambda doc: doc["metadata"].update(labels={"tier": "prod"}))
    assert not behind.ask(asked).allowed


# ── a frozen replica is no dead end ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_frozen_replica_hears_of_a_signature_all_the_same(story: Story, behind: Replica) -> None:
    request = request_in(story.delete())
    behind.state.freeze()
    assert story.sign(request).allowed
    assert story.delete(at=behind).reason is Reason.APPROVED


def test_a_frozen_replica_finds_the_request_that_another_opened(story: Story, behind: Replica) -> None:
    behind.state.freeze()
    request = request_in(story.delete())
    answer = story.delete(at=behind)
    assert (answer.reason, request_in(answer)) == (Reason.PENDING, request)
    story.sign(request)
    assert story.delete(at=behind).reason is Reason.APPROVED
    assert len(story.world.requests()) == 1


def test_a_frozen_replica_answers_from_the_last_round_whatever_number_it_has(story: Story, behind: Replica) -> None:
    behind.state.freeze()
    for _ in range(2):
        story.delete()
        story.wait(24 * HOUR)
    last = request_in(story.delete())
    assert [each.round for each in story.world.requests()] == [1, 2, 3]
    assert request_in(story.delete(at=behind)) == last
    assert len(story.world.requests()) == 3


def test_an_earlier_round_does_not_count_where_a_later_one_exists(story: Story, behind: Replica) -> None:
    """Round 2 was opened since more would have been lost, and rejected; what was too much has gone again."""
    approved(story)
    behind.state.freeze()
    story.world.create("persistentvolumeclaims", "late", namespace="payments", spec={})
    second = request_in(story.delete())
    assert story.sign(second, "carol", verdict="Reject").allowed
    story.world.delete("persistentvolumeclaims", "late", namespace="payments")
    assert story.delete().reason is Reason.REJECTED
    assert story.delete(at=behind).reason is Reason.REJECTED


def test_nor_does_the_last_but_one_of_three(story: Story, behind: Replica) -> None:
    behind.state.freeze()
    approved(story)
    rounds = []
    for number in range(2):
        story.world.create("persistentvolumeclaims", f"late-{number}", namespace="payments", spec={})
        rounds.append(request_in(story.delete()))
        if number == 0:
            story.sign(rounds[0])
    story.sign(rounds[1], "carol", verdict="Reject")
    for number in range(2):
        story.world.delete("persistentvolumeclaims", f"late-{number}", namespace="payments")
    assert story.delete(at=behind).reason is Reason.REJECTED


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def occupy(story: Story, digits: int) -> list[str]:
    """Other acts hold the first names that the request of this act could bear."""
    probe = Story()
    probe.delete()
    (request,) = probe.world.requests()
    held = list(
        names(operation="DELETE", resource="namespaces", namespace="", name="payments", act=act_of(request), round_=1)
    )[:digits]  # fmt: skip
    other = replace(request, requester=replace(request.requester, key="another"))
    other = replace(other, statement=render(other))
    for name in held:
        story.world.create("changerequests", name, spec=render_change_request(other)["spec"])
    return held


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_an_occupied_name_does_not_stop_us(story: Story, behind: Replica, taken: int) -> None:
    held = occupy(story, taken)
    behind.state.freeze()
    answer = story.delete()
    request = request_in(answer)
    assert request not in held
    assert len(request.rpartition("-")[2]) == (16, 32, 64)[taken - 1]
    assert story.sign(request).allowed
    assert story.delete().reason is Reason.APPROVED
    assert story.delete(at=behind).reason is Reason.APPROVED
    assert len(story.world.requests()) == taken + 1


def test_a_later_round_under_a_longer_name_is_found(story: Story, behind: Replica) -> None:
    first = approved(story)
    behind.state.freeze()
    (request,) = story.world.requests()
    other = replace(request, requester=replace(request.requester, key="another"))
    second = next(names(operation="DELETE", resource="namespaces", namespace="", name="payments", act=act_of(request), round_=2))
    story.world.create("changerequests", second, spec=render_change_request(replace(other, statement=render(other)))["spec"])
    story.world.create("persistentvolumeclaims", "late", namespace="payments", spec={})
    longer = request_in(story.delete())
    assert longer not in (first, second)
    story.sign(longer, "carol", verdict="Reject")
    story.world.delete("persistentvolumeclaims", "late", namespace="payments")
    assert story.delete(at=behind).reason is Reason.REJECTED


def test_when_all_names_are_taken_we_say_so(story: Story) -> None:
    occupy(story, 4)
    answer = story.delete()
    assert answer.reason is Reason.UNABLE
    assert "Every name" in answer.message


# ── in between ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_replicas_at_once_write_one_request(story: Story) -> None:
    other = story.replica()
    raced: list[str] = []

    def first(_: str) -> None:
        if not raced:
            raced.append("")
            raced[0] = request_in(story.delete(at=other))

    story.main.requests.meanwhile = first
    assert request_in(story.delete()) == raced[0]
    assert len(story.world.requests()) == 1


@pytest.mark.parametrize("undo", [pytest.param(row[1], id=row[0]) for row in UNDOINGS[:5]])
def test_what_changes_just_before_the_look_counts(story: Story, undo: Change) -> None:
    request = approved(story)
    done: list[str] = []

    def meanwhile(what: str) -> None:
        if what == "look" and not done:
            done.append(what)
            undo(story, request)

    story.main.live.meanwhile = meanwhile
    assert not story.delete().allowed


def test_a_cover_that_no_look_has_read_does_not_count(story: Story, behind: Replica) -> None:
    """Memory learns of the approved namespace only while the look for the claim's own request is under way."""
    story.world.create("persistentvolumeclaims", "data", namespace="payments", spec={})
    asked = story.world.deletion(KIRO_USER, "persistentvolumeclaims", "data", namespace="payments")
    own = request_in(story.main.ask(asked))
    story.sign(own)
    behind.state.freeze()
    whole = approved(story)
    with_cover = story.world.snapshot()
    story.sign(whole, "carol", verdict="Reject")
    story.sign(own, "carol", verdict="Reject")
    behind.live.meanwhile = lambda what: setattr(behind.state, "_frozen", with_cover) if what == "look" else None
    assert behind.ask(asked).reason is Reason.REJECTED


def test_a_world_that_never_stands_still_is_unable(story: Story) -> None:
    """Each look finds a further round: at some point we give up, with a refusal."""
    approved(story)

    def meanwhile(what: str) -> None:
        if what == "look":
            story.wait(24 * HOUR)
            story.delete(at=story.replica())

    story.main.live.meanwhile = meanwhile
    assert story.delete().reason is Reason.UNABLE


# ── registration ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_frozen_replica_knows_that_registration_has_closed(story: Story, behind: Replica) -> None:
    behind.state.freeze()
    assert story.write("reviewers", "dave", reviewer_spec("dave"), by=ADMIN, at=behind).allowed
    approved(story)
    assert story.write("reviewers", "mallory", reviewer_spec("mallory"), by=ADMIN, at=behind).reason is Reason.PENDING


def test_a_frozen_replica_sees_a_key_that_two_would_have(story: Story, behind: Replica) -> None:
    behind.state.freeze()
    story.world.create("reviewers", "dave", spec=reviewer_spec("dave"))
    twin = {"usernames": ["twin"], "keys": [{"name": "k", "publicKey": key_of("dave").public_key}]}
    assert story.write("reviewers", "twin", twin, by=ADMIN, at=behind).reason is Reason.INVALID


def test_approvals_are_checked_against_what_is_live(story: Story, behind: Replica) -> None:
    behind.state.freeze()
    request = request_in(story.delete())
    assert story.sign(request, at=behind).allowed
    story.change("reviewers", "carol", keys=[])
    assert not story.sign(request, "carol", at=behind).allowed
