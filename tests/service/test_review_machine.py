"""No allow without a valid quorum for exactly that act; and no dead end: where there is one, a healthy replica allows.

Random interleavings of requests, signatures, rejections, revocations, expiring keys, rounds, losses, frozen replicas and steps of the
clock. The book that `Signing` keeps is not made with the code under test: it notes who did what when, and counts for itself.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from countersign.domain.answer import Reason
from countersign.domain.request import UserInfo
from countersign.domain.resources import ChangeRequest
from tests.support.objects import MINUTE, key_of
from tests.support.replicas import KIRO_USER, Replica, Story, request_in

PEOPLE = ("alice", "bob", "carol", "dave")
SPACES = ("payments", "orders")
AGENTS = ("kiro", "rogue")
KEYS = ("own", "spare")
COOL_OFF, TTL, WINDOW = 20 * MINUTE, 120 * MINUTE, 30 * MINUTE


@dataclass
class Signature:
    """One Approval that was stored: what is true about it, whatever anybody computes."""

    person: str
    key: str
    at: datetime
    rejects: bool


@dataclass
class Book:
    """What the act is allowed by, counted by hand."""

    signatures: dict[str, list[Signature]] = field(default_factory=dict)
    keys: dict[str, dict[str, datetime | None]] = field(default_factory=dict)
    sponsors: dict[str, set[str]] = field(default_factory=dict)
    required: dict[str, int] = field(default_factory=dict)

    def allows(self, request: ChangeRequest, agent: str, volumes: int, now: datetime) -> bool:
        signed = self.signatures.get(request.meta.name, [])
        if any(each.rejects for each in signed) or now >= request.expires_at or volumes > (request.losses.volumes or 0):
            return False
        barred = self.sponsors[agent] | set(request.requester.sponsors)
        times: dict[str, datetime] = {}
        for each in sorted(signed, key=lambda signature: signature.at):
            ends = self.keys[each.person].get(each.key, datetime.min.replace(tzinfo=now.tzinfo))
            if (ends is None or now < ends) and each.person not in barred:
                times.setdefault(each.person, each.at)
        needed = max(request.required, *self.required.values())
        return len(times) >= needed and now < sorted(times.values())[needed - 1] + WINDOW


class Signing(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        story = self.story = Story()
        self.book = Book()
        window = {"useWithin": "30m"}
        story.change("protectedenvironments", "default", approvals=window)
        story.environment("orders", namespaces={"selector": {"matchLabels": {"team": "orders"}}}, approvals=window)
        story.reviewer("dave")
        story.namespace("orders", labels={"team": "orders"}, claims=1)
        self.agents: dict[str, UserInfo] = {"kiro": KIRO_USER, "rogue": story.agent("rogue", sponsors=("alice", "bob"))}
        self.book.sponsors = {"kiro": {"alice"}, "rogue": {"alice", "bob"}}
        self.required = {"default": 1, "orders": 1}
        self.healthy, self.stale = (story.replica(cool_off=COOL_OFF, ttl=TTL) for _ in range(2))
        for person in PEOPLE:
            self.book.keys[person] = {}
            self.set_keys(person, {"own": None})

    def set_keys(self, person: str, keys: dict[str, datetime | None]) -> None:
        self.book.keys[person] = keys
        listed: list[dict[str, Any]] = []
        for name, ends in keys.items():
            entry = {"name": name, "publicKey": key_of(f"{person}-{name}").public_key}
            listed.append(entry | ({"notAfter": ends.strftime("%Y-%m-%dT%H:%M:%SZ")} if ends else {}))
        self.story.change("reviewers", person, keys=listed)

    @property
    def now(self) -> datetime:
        return self.story.world.now

    def volumes(self, space: str) -> int:
        return len(self.story.world.listed("persistentvolumeclaims", namespace=space))

    def last_round(self, space: str, agent: str) -> ChangeRequest | None:
        """Of the namespace as it is now and of this agent."""
        namespace = self.story.world.get("namespaces", space)
        assert namespace is not None
        found = [
            request
            for request in self.story.world.requests()
            if request.target.uid == namespace["metadata"]["uid"] and request.requester.username == self.agents[agent].username
        ]
        return max(found, key=lambda request: request.round, default=None)

    # ── what the agents do ──

    @rule(space=st.sampled_from(SPACES), agent=st.sampled_from(AGENTS), stale=st.booleans(), dry=st.booleans())
    def delete(self, space: str, agent: str, stale: bool, dry: bool) -> None:
        replica: Replica = self.stale if stale else self.healthy
        before = self.last_round(space, agent)
        self.book.required = {name: number for name, number in self.required.items() if name in ("default", space)}
        allowed = before is not None and self.book.allows(before, agent, self.volumes(space), self.now)
        count = len(self.story.world.requests())
        answer = self.story.delete(space, by=self.agents[agent], at=replica, dry_run=dry)
        assert not answer.allowed or allowed, f"allowed without a quorum: {answer.chain}"
        assert answer.allowed or not allowed or replica.state.is_frozen, f"a dead end: {answer.message}"
        assert answer.reason in (Reason.APPROVED, Reason.PENDING, Reason.REJECTED, Reason.DRY_RUN), answer.message
        written = len(self.story.world.requests()) - count
        assert written <= (0 if dry or answer.allowed else 1)
        if answer.reason is Reason.PENDING:
            last = self.last_round(space, agent)
            assert last is not None
            if not replica.state.is_frozen:
                assert request_in(answer) == last.meta.name
                assert self.now < last.expires_at
                assert not any(each.rejects for each in self.book.signatures.get(last.meta.name, []))

    @rule(
        space=st.sampled_from(SPACES),
        agent=st.sampled_from(AGENTS),
        people=st.permutations(PEOPLE),
        count=st.integers(1, 3),
        stale=st.booleans(),
        turn=st.sampled_from(["", "", "withdrawn", "a sponsor"]),
    )
    def the_whole_way(self, space: str, agent: str, people: list[str], count: int, stale: bool, turn: str) -> None:
        """Left to chance alone, most runs would never see a quorum, nor one that is lost again."""
        self.delete(space=space, agent=agent, stale=False, dry=False)
        last = self.last_round(space, agent)
        if last is not None:
            for person in people[:count]:
                self.put_signature(last.meta.name, person, "own", self.healthy, rejects=False)
        self.delete(space=space, agent=agent, stale=stale, dry=False)
        if last is not None and turn:
            if turn == "withdrawn":
                self.put_signature(last.meta.name, people[-1], "own", self.healthy, rejects=True)
            else:
                self.change_sponsors(agent=agent, sponsors={people[0], people[1]})
            self.delete(space=space, agent=agent, stale=stale, dry=False)

    # ── what people do ──

    @precondition(lambda self: self.story.world.requests())
    @rule(data=st.data(), person=st.sampled_from(PEOPLE), key=st.sampled_from(KEYS), rejects=st.sampled_from([False] * 4 + [True]))
    def sign(self, data: st.DataObject, person: str, key: str, rejects: bool) -> None:
        current = [last.meta.name for space in SPACES for agent in AGENTS if (last := self.last_round(space, agent))]
        name = data.draw(st.sampled_from(current + [request.meta.name for request in self.story.world.requests()]))
        self.put_signature(name, person, key, data.draw(st.sampled_from([self.healthy, self.stale])), rejects=rejects)

    def put_signature(self, name: str, person: str, key: str, replica: Replica, *, rejects: bool) -> None:
        verdict = "Reject" if rejects else "Approve"
        answer = self.story.sign(name, person, verdict=verdict, key=key_of(f"{person}-{key}"), at=replica)
        if not answer.allowed:
            return
        ends = self.book.keys[person].get(key, self.now)
        assert ends is None or self.now < ends, "taken though the key is not registered, or has expired"
        self.book.signatures.setdefault(name, []).append(Signature(person, key, self.now, rejects))

    @rule(person=st.sampled_from(PEOPLE), minutes=st.sampled_from([None, 1, 10]), keys=st.sets(st.sampled_from(KEYS)))
    def register_keys(self, person: str, minutes: int | None, keys: set[str]) -> None:
        ends = self.now + minutes * MINUTE if minutes else None
        self.set_keys(person, dict.fromkeys(sorted(keys), ends))

    # ── what else happens ──

    @rule(agent=st.sampled_from(AGENTS), sponsors=st.sets(st.sampled_from(PEOPLE), min_size=1, max_size=2))
    def change_sponsors(self, agent: str, sponsors: set[str]) -> None:
        self.book.sponsors[agent] = sponsors
        self.story.change("agentidentities", agent, sponsors=sorted(sponsors))

    @rule(name=st.sampled_from(["default", "orders"]), number=st.integers(1, 2))
    def require(self, name: str, number: int) -> None:
        self.required[name] = number
        self.story.change("protectedenvironments", name, approvals={"required": number, "useWithin": "30m"})

    @rule(minutes=st.sampled_from([0.5, 1, 5, 19, 20, 29.5, 30, 119, 120]))
    def wait(self, minutes: float) -> None:
        self.story.wait(timedelta(minutes=minutes))

    @rule(space=st.sampled_from(SPACES))
    def more_to_lose(self, space: str) -> None:
        self.story.world.create("persistentvolumeclaims", f"c{self.story.world.version}", namespace=space, spec={})

    @rule(space=st.sampled_from(SPACES))
    def less_to_lose(self, space: str) -> None:
        for claim in self.story.world.listed("persistentvolumeclaims", namespace=space)[:1]:
            self.story.world.delete("persistentvolumeclaims", claim["metadata"]["name"], namespace=space)

    @rule(space=st.sampled_from(SPACES))
    def make_anew(self, space: str) -> None:
        labels = (self.story.world.get("namespaces", space) or {})["metadata"].get("labels", {})
        self.story.world.delete("namespaces", space)
        self.story.namespace(space, labels=labels)

    @rule(freeze=st.booleans())
    def freeze(self, freeze: bool) -> None:
        if freeze:
            self.stale.state.freeze()
        else:
            self.stale.state.thaw()

    @invariant()
    def one_request_for_each_act_and_round(self) -> None:
        rounds = [(each.target.uid, each.requester.username, each.round) for each in self.story.world.requests()]
        assert len(set(rounds)) == len(rounds)


TestSigning = Signing.TestCase
TestSigning.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
