"""Who may do what, counted by hand: docs/rules.md once more, over the plain documents of the world.

It shares no code with what it judges: no parser, digest or signature check of ours. What was signed by which key it does not verify but
knows, since the fuzzer made each signature; which act a change request is for it notes when the request appears.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from countersign.domain.request import Operation, Request, UserInfo
from tests.fuzz.documents import (
    Act,
    Who,
    act_of,
    bars,
    covers,
    deleted,
    excepts,
    forgets,
    identify,
    labels,
    listed,
    mode,
    plain,
    registers,
    required,
    rules,
    span,
    time,
    weaker,
    widens,
)
from tests.support.world import GROUP, Json, World

_SETTINGS = ("agentidentities", "reviewers", "protectedenvironments")


@dataclass(frozen=True)
class Made:
    """A signature as it was really made."""

    public_key: str
    hardware: bool
    text: str
    namespace: str


@dataclass(frozen=True)
class Opened:
    act: Act
    keys: frozenset[str]
    statement: str


@dataclass
class Oracle:
    world: World
    made: dict[str, Made] = field(default_factory=dict)
    opened: dict[str, Opened] = field(default_factory=dict)
    """By the UID of the ChangeRequest."""

    # ── what the fuzzer tells it ──

    def note_signature(self, signature: str, made: Made) -> None:
        self.made[signature] = made

    def note_requests(self, request: Request, views: Iterable[Iterable[Json]]) -> None:
        """Whatever change requests are new belong to this act; `views` are the identities as somebody may have seen them."""
        for document in self.world.listed("changerequests"):
            uid = document["metadata"]["uid"]
            if uid not in self.opened:
                keys = frozenset(identify(request.user, view).key for view in views)
                self.opened[uid] = Opened(act_of(request), keys, document["spec"]["statement"])

    # ── the question ──

    def grounds(self, request: Request, now: datetime) -> set[str]:
        """Why this may be allowed now; empty: it may not."""
        who = identify(request.user, self.world.listed("agentidentities"))
        if request.resource in _SETTINGS:
            if who.is_agent:
                return set()
            held, excepted, free = self._holding_setting(request, who)
        else:
            held, excepted, free = *self._holding(request, who), False
        if free:
            return {"not held"}
        if not held:
            return {"excepted"} if excepted else {"not held"}
        if who.is_agent and self._is_locked() and any(mode(environment) == "Enforce" for environment in held):
            return set()
        if not who.is_agent and not who.is_machine and self._glass_is_broken(now):
            return {"glass"}
        remaining = [environment for environment in held if not self._is_own_work(environment, request, now)]
        if not remaining:
            return {"own work"}
        enforced = [environment for environment in remaining if mode(environment) == "Enforce"]
        found = {"approved"} if self._is_signed(act_of(request), who, enforced, now) else set()
        if (home := self._act_of_home(request)) is not None and self._is_signed(home, who, enforced, now):
            found.add("covered")
        return found if enforced else found | {"audit"}

    def last_round(self, act: Act, key: str) -> Json | None:
        rounds = [
            document
            for document in self.world.listed("changerequests")
            if (known := self.opened.get(document["metadata"]["uid"])) and known.act == act and key in known.keys
        ]
        return max(rounds, key=lambda document: int(document["spec"]["round"]), default=None)

    def _is_locked(self) -> bool:
        """A guard was tampered with, and nobody has said since that this incident is over."""
        default = self.world.get("protectedenvironments", "default")
        incident = (default or {}).get("status", {}).get("lockdown", {}).get("incident")
        return default is not None and incident is not None and incident != default["spec"].get("lockdownLifted")

    def _glass_is_broken(self, now: datetime) -> bool:
        default = self.world.get("protectedenvironments", "default")
        announced = default["spec"].get("glass") if default is not None else None
        return announced is not None and time(announced["from"]) <= now < time(announced["from"]) + timedelta(hours=1)

    # ── who is held back by what ──

    def _holding(self, request: Request, who: Who) -> tuple[list[Json], list[Json]]:
        barring = [environment for environment in self._matching(request) if bars(environment, who)]
        excepted = [environment for environment in barring if excepts(environment, who)]
        return [environment for environment in barring if environment not in excepted], excepted

    def _matching(self, request: Request) -> list[Json]:
        environments = self.world.listed("protectedenvironments")
        old = plain(request.old_object)
        if request.operation is Operation.UPDATE:
            before, after = labels(old), labels(plain(request.object))
            return [each for each in environments if covers(each, request.name, before) and not covers(each, request.name, after)]
        default = [each for each in environments if each["metadata"]["name"] == "default"]
        match request.resource:
            case "namespaces":
                return [each for each in environments if covers(each, request.name, labels(old))]
            case "persistentvolumeclaims":
                return self._at_home(environments, request.namespace)
            case "persistentvolumes":
                home = old.get("spec", {}).get("claimRef", {}).get("namespace", "")
                held = self._at_home(environments, home) if self.world.get("namespaces", home) else []
                return held + [each for each in default if each not in held]
            case "customresourcedefinitions":
                listing = [each for each in environments if request.name in listed(each)]
                return listing + [each for each in default if each not in listing]
            case plural:
                listing = [each for each in environments if f"{plural}.{request.group}" in listed(each)]
                return self._at_home(listing, request.namespace) if request.namespace else listing

    def _at_home(self, environments: list[Json], namespace: str) -> list[Json]:
        home = self.world.get("namespaces", namespace)
        return [each for each in environments if home is not None and covers(each, namespace, labels(home))]

    def _holding_setting(self, request: Request, who: Who) -> tuple[list[Json], list[Json], bool]:
        """Held, excepted, and whether nothing is taken away by it."""
        environments = self.world.listed("protectedenvironments")
        old, new = plain(request.old_object), plain(request.object)
        match request.resource, request.operation:
            case "protectedenvironments", Operation.DELETE:
                concerned = [old]
            case "protectedenvironments", Operation.UPDATE if new["spec"].get("lockdownLifted") not in (
                None,
                old["spec"].get("lockdownLifted"),
            ):
                return [old], [], False
            case "protectedenvironments", (Operation.CREATE | Operation.UPDATE) if request.name == "default" and widens(old, new):
                concerned = environments  # who is excepted there registers people, who sign everywhere
            case "protectedenvironments", Operation.UPDATE if weaker(old["spec"], new["spec"]):
                concerned = [old]
            case "agentidentities", Operation.DELETE:
                concerned = environments
            case "agentidentities", Operation.UPDATE if forgets(old["spec"], new["spec"]):
                concerned = environments
            case "reviewers", (Operation.CREATE | Operation.UPDATE):
                before = old.get("spec", {})
                if registers(before, new["spec"]) and self.registration_is_closed():
                    return self._registration(new["spec"], who)
                if not self._frees_a_sponsor(request.name, before, new["spec"]):
                    return [], [], True
                concerned = environments
            case _:
                return [], [], True
        barring = [environment for environment in concerned if bars(environment, who)]
        excepted = [environment for environment in barring if excepts(environment, who)]
        return [environment for environment in barring if environment not in excepted], excepted, False

    def _registration(self, new: Json, who: Who) -> tuple[list[Json], list[Json], bool]:
        default = self.world.get("protectedenvironments", "default")
        if default is None:
            return [{"metadata": {"name": "default"}, "spec": {"approvals": {"required": 1000}}}], [], False  # nobody could sign for it
        if excepts(default, who):
            return [], [default], False
        heard = [
            each
            for each in self.world.listed("protectedenvironments")
            if each == default or not rules(each).get("teams") or set(rules(each)["teams"]) & set(new.get("teams", []))
        ]
        return heard, [], False

    def registration_is_closed(self) -> bool:
        default = self.world.get("protectedenvironments", "default")
        if default is None or default["spec"].get("registration") == "Closed":
            return True
        return any(
            len({each["spec"]["reviewer"] for each in self._approvals(request) if each["spec"]["decision"] == "Approve"})
            >= request["spec"]["required"]
            for request in self.world.listed("changerequests")
        )

    def _frees_a_sponsor(self, name: str, old: Json, new: Json) -> bool:
        gone = set(old.get("usernames", [])) - set(new["usernames"])
        return bool(new.get("keys")) and any(
            gone & (sponsors := set(identity["spec"].get("sponsors", []))) and not {name, *new["usernames"]} & sponsors
            for identity in self.world.listed("agentidentities")
        )

    def _is_own_work(self, environment: Json, request: Request, now: datetime) -> bool:
        if request.resource != "namespaces" or request.operation is not Operation.DELETE or not environment["spec"].get("ownWork"):
            return False
        metadata = plain(request.old_object)["metadata"]
        young = now - time(metadata["creationTimestamp"]) <= span(environment["spec"]["ownWork"])
        mine = metadata.get("annotations", {}).get(f"{GROUP}/created-by") == request.user.username
        return young and mine and not self.world.listed("persistentvolumeclaims", namespace=request.name)

    # ── what is signed for ──

    def _act_of_home(self, request: Request) -> Act | None:
        home = self.world.get("namespaces", request.namespace) if request.namespace and request.resource != "namespaces" else None
        if home is None or request.operation is not Operation.DELETE:
            return None
        return Act("DELETE", ("", "namespaces"), "", request.namespace, home["metadata"]["uid"], deleted(home), "")

    def _approvals(self, request: Json) -> list[Json]:
        return [each for each in self.world.listed("approvals") if each["spec"]["changeRequest"] == request["metadata"]["name"]]

    def _is_signed(self, act: Act, who: Who, held: list[Json], now: datetime) -> bool:
        request = self.last_round(act, who.key)
        if request is None or now >= time(request["spec"]["expiresAt"]):
            return False
        approvals = sorted(
            self._approvals(request), key=lambda each: (time(each["metadata"]["creationTimestamp"]), each["metadata"]["name"])
        )
        if any(each["spec"]["decision"] == "Reject" for each in approvals) or self._more_is_lost(act, request):
            return False
        by_name = {each["metadata"]["name"]: each for each in held}
        for name in request["spec"]["environments"]:
            if (environment := self.world.get("protectedenvironments", name)) is not None:
                by_name.setdefault(name, environment)
        judging = list(by_name.values())
        votes: dict[str, tuple[datetime, bool]] = {}
        keys: set[str] = set()
        for each in approvals:
            person, made = each["spec"]["reviewer"], self.made.get(each["spec"]["signature"])
            if made is None or person in votes or not self._counts(each, made, request, who, now):
                continue
            vote = (time(each["metadata"]["creationTimestamp"]), made.hardware)
            if judging and not any(self._counts_for(environment, person, made.hardware) for environment in judging):
                continue
            if made.public_key in keys:
                continue
            keys.add(made.public_key)
            votes[person] = vote
        return self._is_quorum(request, judging, votes, self._more_needed(request, who), now)

    def _is_quorum(self, request: Json, judging: list[Json], votes: dict[str, tuple[datetime, bool]], more: int, now: datetime) -> bool:
        moments: list[datetime] = []
        needed = max([request["spec"]["required"], *(required(each) + more for each in judging)])
        tallies = [(needed, [at for at, _ in votes.values()])]
        for environment in judging:
            counting = [at for person, (at, hardware) in votes.items() if self._counts_for(environment, person, hardware)]
            tallies.append((required(environment) + more, counting))
        for number, times in tallies:
            if len(times) < number:
                return False
            moments.append(sorted(times)[number - 1])
        window = min((span(rules(each).get("useWithin", "1h")) for each in judging), default=timedelta(hours=1))
        return now < max(moments) + window

    def _counts(self, approval: Json, made: Made, request: Json, who: Who, now: datetime) -> bool:
        person = self.world.get("reviewers", approval["spec"]["reviewer"])
        known = self.opened[request["metadata"]["uid"]]
        if person is None or made.text != known.statement or made.namespace != f"approve@{GROUP}":
            return False
        if time(approval["metadata"]["creationTimestamp"]) > time(request["spec"]["expiresAt"]):
            return False
        key = next((each for each in person["spec"].get("keys", []) if each["publicKey"].split()[:2] == made.public_key.split()[:2]), None)
        if key is None or ("notAfter" in key and now >= time(key["notAfter"])):
            return False
        names = {person["metadata"]["name"], *person["spec"]["usernames"]}
        if names & self._barred(request, who):
            return False
        identities = self.world.listed("agentidentities")
        return not any(name.startswith("system:") or identify(UserInfo(name), identities).is_agent for name in person["spec"]["usernames"])

    def _barred(self, request: Json, who: Who) -> set[str]:
        asked = request["spec"]["requester"]
        identities = self.world.listed("agentidentities")
        named = [each for each in identities if each["metadata"]["name"] in asked.get("agents", [])]
        return {
            asked["username"],
            who.user.username,
            *asked.get("sponsors", []),
            *(sponsor for each in named for sponsor in each["spec"].get("sponsors", [])),
            *identify(UserInfo(asked["username"]), identities).sponsors,
            *who.sponsors,
        }

    def _counts_for(self, environment: Json, person: str, hardware: bool) -> bool:
        asked, reviewer = rules(environment), self.world.get("reviewers", person)
        teams = asked.get("teams", [])
        in_team = not teams or (reviewer is not None and bool(set(teams) & set(reviewer["spec"].get("teams", []))))
        return in_team and (hardware or not asked.get("hardwareKeysOnly", False))

    def _more_needed(self, request: Json, who: Who) -> int:
        """A human who is nobody registered needs one signature more."""
        registered = {name for each in self.world.listed("reviewers") for name in each["spec"]["usernames"]}
        if not who.is_agent and not who.is_machine and who.user.username not in registered:
            return 1
        asked = request["spec"]["requester"]
        nobody = not asked.get("agents") and not asked["username"].startswith("system:") and asked["username"] not in registered
        return 1 if nobody else 0

    def _more_is_lost(self, act: Act, request: Json) -> bool:
        if act.operation != "DELETE" or act.kind != ("", "namespaces"):
            return False
        balancers = [each for each in self.world.listed("services", namespace=act.name) if each["spec"].get("type") == "LoadBalancer"]
        signed = request["spec"]["losses"]
        claims = self.world.listed("persistentvolumeclaims", namespace=act.name)
        return len(claims) > int(signed.get("volumes", 0)) or len(balancers) > int(signed.get("loadBalancers", 0))
