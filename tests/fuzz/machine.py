"""Random lives of a cluster: everything that people, agents, machines and bad luck can do around a decision, in any order.

The property: whatever is allowed, the oracle has a ground for, the same one; nothing errs inside; and where nothing stands in the way
(memory up to date, no fault), what the oracle has a ground for is allowed.
"""

from datetime import datetime, timedelta
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from countersign.domain.answer import Answer
from countersign.domain.request import Operation, Request, UserInfo
from tests.fuzz import choices
from tests.fuzz.asking import COOL_OFF, Asking, LosingRequests
from tests.fuzz.choices import AGENTS, HUMANS, PEOPLE, SPACES, USERS, key_for
from tests.fuzz.documents import act_of, identify
from tests.fuzz.lagging import KINDS, LaggingState
from tests.fuzz.oracle import Made
from tests.support.objects import MINUTE
from tests.support.replicas import Replica
from tests.support.world import GROUP, Json

APPROVE: Final = f"approve@{GROUP}"
REJECT: Final = f"reject@{GROUP}"


class Life(Asking):
    """Everything that may happen, in any order."""

    # ── what is asked for ──

    def deletion(self, user: UserInfo, what: str, space: str, *, dry_run: bool = False) -> Request | None:
        plural, name, namespace, group = choices.target(what, space)
        if self.world.get(plural, name, namespace=namespace) is None:
            return None
        return self.world.deletion(user, plural, name, namespace=namespace, group=group, dry_run=dry_run)

    @rule(
        who=st.sampled_from(sorted(USERS)),
        what=st.sampled_from(choices.TARGETS),
        space=st.sampled_from(SPACES),
        late=st.booleans(),
        dry=st.sampled_from([False, False, False, True]),
    )
    def delete(self, who: str, what: str, space: str, late: bool, dry: bool) -> None:
        if (request := self.deletion(USERS[who], what, space, dry_run=dry)) is not None:
            self.ask(request, self.replica(late))

    @rule(who=st.sampled_from(sorted(USERS)), space=st.sampled_from(SPACES), labels=choices.LABELS, late=st.booleans())
    def relabel(self, who: str, space: str, labels: dict[str, str], late: bool) -> None:
        request = self.relabelling(USERS[who], space, labels)
        if self.ask(request, self.replica(late)).allowed:
            self.world.update("namespaces", space, lambda document: document["metadata"].update(labels=labels))

    def relabelling(self, user: UserInfo, space: str, labels: dict[str, str]) -> Request:
        old, new = self.world.get("namespaces", space), self.world.get("namespaces", space)
        assert old is not None
        assert new is not None
        new["metadata"]["labels"] = labels
        return self.world.review(user, Operation.UPDATE, "namespaces", space, namespace=space, old=old, new=new)

    @rule(who=st.sampled_from(sorted(USERS)), change=choices.SETTING_CHANGES, late=st.booleans())
    def change_setting(self, who: str, change: choices.SettingChange, late: bool) -> None:
        self.ask_for_setting(USERS[who], change, self.replica(late))

    def ask_for_setting(self, user: UserInfo, change: choices.SettingChange, replica: Replica) -> Answer | None:
        request = self.setting_request(user, change)
        if request is None:
            return None
        answer = self.ask(request, replica)
        if answer.allowed:
            self.write_setting(change)
        return answer

    def setting_request(self, user: UserInfo, change: choices.SettingChange) -> Request | None:
        old = self.world.get(change.plural, change.name)
        if change.spec is None:
            return self.world.deletion(user, change.plural, change.name) if old else None
        if old is None:
            new: Json = {"metadata": {"name": change.name}, "spec": change.spec}
            return self.world.review(user, Operation.CREATE, change.plural, change.name, new=new)
        return self.world.review(user, Operation.UPDATE, change.plural, change.name, old=old, new={**old, "spec": change.spec})

    def write_setting(self, change: choices.SettingChange) -> None:
        if change.spec is None:
            self.world.delete(change.plural, change.name)
        elif self.world.get(change.plural, change.name) is None:
            self.world.create(change.plural, change.name, spec=change.spec)
        else:
            spec = change.spec
            self.world.update(change.plural, change.name, lambda document: document.update(spec=spec))

    @rule(who=st.sampled_from([*HUMANS, "deployer"]), name=st.sampled_from(choices.NAMES), thing=choices.ONE_THING, late=st.booleans())
    def change_one_thing(self, who: str, name: str, thing: Json, late: bool) -> None:
        current = self.world.get("protectedenvironments", name)
        if current is not None:
            spec = choices.with_one_thing_else(current["spec"], thing)
            self.ask_for_setting(USERS[who], choices.SettingChange("protectedenvironments", name, spec), self.replica(late))

    @rule(change=choices.SETTING_CHANGES)
    def setting_changes(self, change: choices.SettingChange) -> None:
        """By somebody who may, or with the webhook deleted for a moment: nothing about it is asked."""
        if change.spec is not None or self.world.get(change.plural, change.name) is not None:
            self.write_setting(change)

    # ── what is signed ──

    def put(self, request: Json, person: str, key: str, *, verdict: str = "Approve", text: str = "", purpose: str = "") -> None:
        """Stored, whatever the webhook would have said: at every decision the signature is the proof, not its creation."""
        purpose = purpose or (APPROVE if verdict == "Approve" else REJECT)
        signing = key_for(key)
        text = text or request["spec"]["statement"]
        signature = signing.sign(text.encode(), purpose)
        self.oracle.note_signature(signature, Made(signing.public_key, key.endswith("-hard"), text, purpose))
        name = f"{request['metadata']['name']}-{person}-{self.world.latest}"[-253:]
        spec = {"changeRequest": request["metadata"]["name"], "reviewer": person, "decision": verdict, "signature": signature}
        self.world.create("approvals", name, spec=spec)

    def requests(self) -> list[Json]:
        return self.world.listed("changerequests")

    @precondition(lambda self: self.requests())
    @rule(
        data=st.data(),
        person=st.sampled_from(PEOPLE),
        signer=st.sampled_from([*PEOPLE, "mallory"]),
        key=st.sampled_from(choices.KEYS),
        flaw=st.sampled_from(["", "", "reject", *choices.FLAWS]),
    )
    def smuggle(self, data: st.DataObject, person: str, signer: str, key: str, flaw: str) -> None:
        requests = self.requests()
        request = data.draw(st.sampled_from(requests[-6:]))
        self.forge(request, person, f"{signer}-{key}", flaw)

    def forge(self, request: Json, person: str, key: str, flaw: str) -> None:
        statement = request["spec"]["statement"]
        match flaw:
            case "reject":
                self.put(request, person, key, verdict="Reject")
            case "rejection as approval":
                self.put(request, person, key, purpose=REJECT)
            case "other purpose":
                self.put(request, person, key, purpose=f"{APPROVE}.evil")
            case "other text":
                self.put(request, person, key, text=statement.replace("required: ", "required: 1"))
            case "replayed":
                others = [each["spec"]["statement"] for each in self.requests()]
                self.put(request, person, key, text=next((each for each in others if each != statement), "nothing"))
            case _:
                self.put(request, person, key)

    @precondition(lambda self: self.requests())
    @rule(
        data=st.data(), person=st.sampled_from(PEOPLE), key=st.sampled_from(choices.KEYS), late=st.booleans(), no=st.sampled_from([0, 0, 1])
    )
    def sign(self, data: st.DataObject, person: str, key: str, late: bool, no: int) -> None:
        """Through the webhook, as people do. It must not err, and what it lets in was in order at that moment."""
        request = data.draw(st.sampled_from(self.requests()[-6:]))
        verdict = "Reject" if no else "Approve"
        signing = key_for(f"{person}-{key}")
        replica = self.replica(late)
        text = request["spec"]["statement"]
        answer = self.story.sign(request["metadata"]["name"], person, verdict=verdict, key=signing, at=replica)
        assert not self.alarm.heard, str(self.alarm.heard[0].exc_info)
        if answer.allowed:
            stored = max(self.world.listed("approvals"), key=lambda each: int(each["metadata"]["resourceVersion"]))
            purpose = REJECT if no else APPROVE
            self.oracle.note_signature(stored["spec"]["signature"], Made(signing.public_key, key == "hard", text, purpose))

    @rule(
        who=st.sampled_from([*AGENTS, *AGENTS, *HUMANS]),
        what=st.sampled_from(choices.TARGETS),
        space=st.sampled_from(SPACES),
        people=st.permutations(PEOPLE),
        count=st.integers(1, 3),
        keys=st.sampled_from([("own",), ("own", "hard"), ("hard",)]),
        turn=choices.TURNS,
        late=st.booleans(),
        inside=st.booleans(),
        flaw=st.sampled_from(["", "", "", "", "", "", *choices.FLAWS]),
    )
    def the_whole_way(
        self,
        who: str,
        what: str,
        space: str,
        people: list[str],
        count: int,
        keys: tuple[str, ...],
        turn: choices.Turn,
        late: bool,
        inside: bool,
        flaw: str,
    ) -> None:
        """Asked, signed, a turn of events, asked again: left to chance alone, few lives would see a quorum, or lose one."""
        user = USERS[who]
        request = self.deletion(user, what, space)
        if request is None:
            return
        self.signed(request, people[:count], keys, flaw)
        if not inside:
            self.take_turn(turn, request, people)
        replica = self.replica(late)
        again = self.deletion(user, what, space)
        if again is not None:
            self.ask(again, replica, meanwhile=(lambda: self.take_turn(turn, request, people)) if inside else None)
        if what == "namespace":
            for other in ("claim", "volume", "thing"):
                self.delete(who=who, what=other, space=space, late=late, dry=False)

    @rule(
        who=st.sampled_from(HUMANS),
        change=choices.SETTING_CHANGES,
        people=st.permutations(PEOPLE),
        count=st.integers(1, 3),
        late=st.booleans(),
    )
    def change_setting_signed(self, who: str, change: choices.SettingChange, people: list[str], count: int, late: bool) -> None:
        request = self.setting_request(USERS[who], change)
        if request is not None:
            self.signed(request, people[:count], ("own",))
            self.ask_for_setting(USERS[who], change, self.replica(late))

    @rule(
        who=st.sampled_from(sorted(USERS)),
        space=st.sampled_from(SPACES),
        labels=choices.LABELS,
        people=st.permutations(PEOPLE),
        late=st.booleans(),
    )
    def relabel_signed(self, who: str, space: str, labels: dict[str, str], people: list[str], late: bool) -> None:
        self.signed(self.relabelling(USERS[who], space, labels), people[:3], ("own",))
        self.relabel(who=who, space=space, labels=labels, late=late)

    def signed(self, request: Request, people: list[str], keys: tuple[str, ...], flaw: str = "") -> None:
        self.ask(request, self.healthy)
        key = identify(request.user, self.world.listed("agentidentities")).key
        opened = self.oracle.last_round(act_of(request), key)
        if opened is not None:
            for person in people:
                for each in keys:
                    self.forge(opened, person, f"{person}-{each}", flaw)

    def take_turn(self, turn: choices.Turn, request: Request, people: list[str]) -> None:
        """Something that may undo a quorum, or seem to make one."""
        key = identify(request.user, self.world.listed("agentidentities")).key
        opened = self.oracle.last_round(act_of(request), key)
        match turn.what:
            case "withdrawn" if opened is not None:
                self.put(opened, people[-1], f"{people[-1]}-own", verdict="Reject")
            case "sponsor":
                for agent in ("kiro", "rogue", "bots"):
                    self.sponsor(agent, people[0])
            case "time":
                self.step(turn.span)
            case "more to lose":
                self.more_to_lose(SPACES[0])
                self.more_to_lose(SPACES[1])
            case "no reviewer" if self.world.get("reviewers", people[0]) is not None:
                self.world.delete("reviewers", people[0])
            case "no keys":
                self.keys(people[0], {})
            case "expired keys":
                for person in people:
                    self.keys(person, {"own": self.world.now.replace(microsecond=0) - MINUTE})
            case "setting":
                self.setting_changes(change=turn.change)
            case "anew":
                self.make_anew(SPACES[0])
                self.make_anew(SPACES[1])
            case "another cascade" if self.world.get("namespaces", request.name) is not None:
                owners = [{"kind": "Node", "name": "gone", "uid": "x"}]
                self.world.update("namespaces", request.name, lambda document: document["metadata"].update(ownerReferences=owners))
            case "one environment more":
                spec: Json = {"protectFrom": "People", "approvals": {"required": 3}}
                self.setting_changes(change=choices.SettingChange("protectedenvironments", "extra", spec))
            case "restart":
                self.restart()
            case "tampered":
                self.tamper("one")
            case "glass":
                self.break_glass(1)
            case _:
                pass

    # ── what else happens ──

    def sponsor(self, agent: str, person: str) -> None:
        if self.world.get("agentidentities", agent) is not None:
            self.world.update("agentidentities", agent, lambda document: document["spec"].update(sponsors=[person]))

    def keys(self, person: str, keys: dict[str, datetime | None]) -> None:
        listed: list[Json] = [
            {"name": name, "publicKey": key_for(f"{person}-{name}").public_key.strip()} | ({"notAfter": choices.when(ends)} if ends else {})
            for name, ends in keys.items()
        ]
        if self.world.get("reviewers", person) is not None:
            self.world.update("reviewers", person, lambda document: document["spec"].update(keys=listed))

    @rule(person=st.sampled_from(PEOPLE), names=st.sets(st.sampled_from(choices.KEYS)), minutes=st.sampled_from([None, None, 1, 10, 45]))
    def register_keys(self, person: str, names: set[str], minutes: int | None) -> None:
        ends = self.world.now.replace(microsecond=0) + minutes * MINUTE if minutes else None
        self.keys(person, dict.fromkeys(sorted(names), ends))

    @rule(person=st.sampled_from(PEOPLE))
    def lose_reviewer(self, person: str) -> None:
        if self.world.get("reviewers", person) is not None:
            self.world.delete("reviewers", person)

    @rule(minutes=st.sampled_from([0.5, 1, 5, 19, 20, 29.5, 30, 60, 119, 120, 500, -1, -10, -60]))
    def clock(self, minutes: float) -> None:
        """Time goes on, or the API server's clock is set back."""
        if minutes > 0:
            self.world.now += timedelta(minutes=minutes)
        else:
            self.step(timedelta(minutes=minutes))

    def step(self, span: timedelta) -> None:
        """The clocks on the wall are set; those that only count seconds do not notice."""
        self.world.now += span
        for replica in (self.healthy, self.late):
            replica.clock.waited -= span.total_seconds()

    @rule(minutes=st.sampled_from([0, 0, 0, 1, 10, 60, -1, -10, -60]))
    def skew(self, minutes: int) -> None:
        self.late.clock.skew = timedelta(minutes=minutes)

    @rule(kind=st.sampled_from(KINDS), behind=st.booleans())
    def lag(self, kind: str, behind: bool) -> None:
        state = self.late.state
        assert isinstance(state, LaggingState)
        if behind:
            state.hold(kind)
        else:
            state.catch_up(kind)

    @rule(who=st.sampled_from(sorted(USERS)), space=st.sampled_from(SPACES), fault=st.sampled_from(["before", "after"]))
    def lost_write(self, who: str, space: str, fault: str) -> None:
        """A replica that cannot write, or does not hear that it has; the one after it finds what is there."""
        request = self.deletion(USERS[who], "namespace", space)
        assert request is not None
        losing = self.new_replica()
        losing.requests.broken = ""
        requests = LosingRequests(self.world, fault=fault)
        losing.review._opening._requests = requests
        losing.requests = requests
        self.ask(request, losing)
        self.ask(request, self.healthy)

    @rule(
        broken=st.sampled_from(["look", "losses", "target", "count_approvals", "unsynced"]),
        who=st.sampled_from(sorted(USERS)),
        space=st.sampled_from(SPACES),
    )
    def fault(self, broken: str, who: str, space: str) -> None:
        replica = self.new_replica()
        if broken == "unsynced":
            replica.state.unable = "told to be unable"
        else:
            replica.live.broken = broken
        request = self.deletion(USERS[who], "namespace", space)
        assert request is not None
        answer = self.ask(request, replica)
        assert not answer.allowed or broken not in ("look", "unsynced"), "allowed without a look"

    @rule(incident=st.sampled_from(["one", "two", "", "", ""]))
    def tamper(self, incident: str) -> None:
        """The operator saw a guard tampered with, and put agents under lockdown; or an old status comes back."""
        status = {"lockdown": {"incident": incident, "since": "2026-11-22T12:00:00Z", "guard": "ours", "what": "gone"}} if incident else {}
        if self.world.get("protectedenvironments", "default") is not None:
            self.world.update("protectedenvironments", "default", lambda document: document.update(status=status))

    @rule(minutes=st.sampled_from([-5, 0, 1, 59, 60, 61]))
    def break_glass(self, minutes: int) -> None:
        """Announced for that many minutes ago."""
        glass = {"from": choices.when(self.world.now - minutes * MINUTE), "by": "eve@example.com", "why": "nobody who could sign is left"}
        if self.world.get("protectedenvironments", "default") is not None:
            self.world.update("protectedenvironments", "default", lambda document: document["spec"].update(glass=glass))

    @rule(space=st.sampled_from(SPACES))
    def more_to_lose(self, space: str) -> None:
        self.world.create("persistentvolumeclaims", f"c{self.world.version}", namespace=space, spec={})

    @rule(space=st.sampled_from(SPACES))
    def more_addresses(self, space: str) -> None:
        self.world.create("services", f"s{self.world.version}", namespace=space, spec={"type": "LoadBalancer"})

    @rule(space=st.sampled_from(SPACES))
    def less_to_lose(self, space: str) -> None:
        for plural in ("persistentvolumeclaims", "services"):
            for document in self.world.listed(plural, namespace=space):
                self.world.delete(plural, document["metadata"]["name"], namespace=space)

    @rule(space=st.sampled_from(SPACES), creator=st.sampled_from(["", *AGENTS]))
    def make_anew(self, space: str, creator: str = "") -> None:
        labels = (self.world.get("namespaces", space) or {})["metadata"].get("labels", {})
        self.world.delete("namespaces", space)
        notes = {f"{GROUP}/created-by": USERS[creator].username} if creator else {}
        self.story.namespace(space, labels=labels, annotations=notes, claims=0 if creator else 1)
        choices.furnish_space(self.story, space)

    @rule(data=st.data(), orphans=st.booleans())
    def clean_up(self, data: st.DataObject, orphans: bool) -> None:
        """The operator deletes what has long ended: the request first, its approvals after it, or, for now, not at all."""
        old = [each for each in self.requests() if choices.moment(each["spec"]["expiresAt"]) + COOL_OFF < self.world.now]
        if not old:
            return
        name = data.draw(st.sampled_from(old))["metadata"]["name"]
        self.world.delete("changerequests", name)
        for approval in [] if orphans else self.world.listed("approvals"):
            if approval["spec"]["changeRequest"] == name:
                self.world.delete("approvals", approval["metadata"]["name"])

    @invariant()
    def one_request_for_each_act_and_round(self) -> None:
        rounds = [(self.oracle.opened.get(each["metadata"]["uid"]), each["spec"]["round"]) for each in self.requests()]
        known = [(opened.act, opened.keys, number) for opened, number in rounds if opened is not None]
        assert len(set(known)) == len(known), "two change requests for one act and round"
