"""The rules that concern one document: who somebody is, what a change says, what an environment covers. Part of the oracle."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from countersign.domain.request import Operation, Request, UserInfo
from tests.fuzz.choices import USERS
from tests.support.world import GROUP, Json

BUILTIN = frozenset({"system:serviceaccount:kube-system:namespace-controller", "system:kube-controller-manager"})
_SERVER_SET = (
    "uid resourceVersion generation creationTimestamp managedFields selfLink deletionTimestamp deletionGracePeriodSeconds".split()  # noqa: SIM905  # as rules.md lists them
)
_STRICTNESS = ("Agents", "People", "Everyone")
_UNITS = {"h": 3600, "m": 60, "s": 1}
# Every namespace that a selector of the fuzzer can tell from another.
_UNIVERSE = [
    (name, {key: value for key, value in (("team", team), ("tier", tier)) if value})
    for name in ("payments", "orders", "elsewhere")
    for team in ("", "orders", "payments", "other")
    for tier in ("", "prod", "test")
]


@dataclass(frozen=True)
class Act:
    """Exactly one change, its content spelt out."""

    operation: str
    kind: tuple[str, str]
    namespace: str
    name: str
    uid: str
    old: str
    new: str


@dataclass(frozen=True)
class Who:
    user: UserInfo
    agents: tuple[str, ...]
    sponsors: frozenset[str]
    key: str

    @property
    def is_agent(self) -> bool:
        return bool(self.agents)

    @property
    def is_machine(self) -> bool:
        return not self.agents and self.user.username.startswith("system:")


def identify(user: UserInfo, identities: Iterable[Json]) -> Who:
    found = [(identity, subject) for identity in identities for subject in identity["spec"]["subjects"] if is_subject(subject, user)]
    sponsors = {sponsor for identity, _ in found for sponsor in identity["spec"].get("sponsors", [])}
    if any(identity["spec"].get("sponsorFrom") == "Username" for identity, _ in found):
        sponsors.add(user.username)
    exact = not found or any(
        subject["kind"] == "ServiceAccount" or (subject["kind"] == "User" and not re.search(r"[*?]", subject["name"]))
        for _, subject in found
    )
    matched = sorted({f"{identity['metadata']['name']}/{subject['kind']}:{subject['name']}" for identity, subject in found})
    key = user.username if exact else json.dumps(matched)
    return Who(user, tuple(sorted({identity["metadata"]["name"] for identity, _ in found})), frozenset(sponsors), key)


def act_of(request: Request) -> Act:
    old, new = plain(request.old_object), plain(request.object)
    name = request.name or (old or new)["metadata"]["name"]
    ours = request.group == GROUP
    match request.operation:
        case Operation.DELETE:
            before, after = deleted(old, generation=ours), ""
        case Operation.UPDATE:
            before, after = written(old, generation=ours), written(new)
        case _:
            before, after = "", written(new)
    namespace = "" if request.resource == "namespaces" else request.namespace
    uid = old["metadata"]["uid"] if old else ""
    return Act(request.operation.value, (request.group, request.resource), namespace, name, uid, before, after)


def deleted(document: Json, *, generation: bool = False) -> str:
    metadata = document["metadata"]
    bound = [
        document.get("spec"),
        metadata.get("finalizers"),
        metadata.get("ownerReferences"),
        metadata.get("generation") if generation else None,
    ]
    return json.dumps(bound, sort_keys=True)


def written(document: Json, *, generation: bool = False) -> str:
    metadata = {key: value for key, value in document["metadata"].items() if key not in _SERVER_SET}
    for marks in ("labels", "annotations"):
        metadata[marks] = {key: value for key, value in metadata.get(marks, {}).items() if not key.startswith(f"{GROUP}/")}
    rest = {key: value for key, value in document.items() if key not in ("status", "metadata")}
    return json.dumps([rest, metadata, document["metadata"].get("generation") if generation else None], sort_keys=True)


def plain(document: Mapping[str, Any] | None) -> Json:
    return dict(document) if document is not None else {}


def labels(document: Json) -> dict[str, str]:
    return dict(document["metadata"].get("labels", {}))


def is_subject(subject: Json, user: UserInfo) -> bool:
    match subject["kind"]:
        case "ServiceAccount":
            named = user.username.split(":")[:3] == ["system", "serviceaccount", subject["namespace"]]
            matched = named and subject["name"] in ("*", user.username.split(":")[3])
        case "User":
            matched = bool(_glob(subject["name"]).fullmatch(user.username))
        case _:
            matched = subject["name"] in user.groups
    extra = all(
        any(_glob(pattern).fullmatch(value) for pattern in globs for value in user.extra.get(key, ()))
        for key, globs in subject.get("extra", {}).items()
    )
    return matched and extra and set(subject.get("groups", [])) <= user.groups


def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in pattern), re.DOTALL)


def covers(environment: Json, name: str, labels: Mapping[str, str]) -> bool:
    spaces = environment["spec"].get("namespaces", {})
    selector = spaces.get("selector", {})
    if name in spaces.get("exclude", []):
        return False
    wanted = selector.get("matchLabels", {}).items()
    return all(labels.get(key) == value for key, value in wanted) and all(
        _holds(each, labels) for each in selector.get("matchExpressions", [])
    )


def _holds(term: Json, labels: Mapping[str, str]) -> bool:
    present, value = term["key"] in labels, labels.get(term["key"])
    match term["operator"]:
        case "In":
            return present and value in term["values"]
        case "NotIn":
            return not present or value not in term["values"]
        case "Exists":
            return present
        case _:
            return not present


def bars(environment: Json, who: Who) -> bool:
    scope = environment["spec"]["protectFrom"]
    if who.is_agent:
        return True
    if who.is_machine:
        return scope == "Everyone" and who.user.username not in BUILTIN
    return scope in ("People", "Everyone")


def excepts(environment: Json, who: Who) -> bool:
    return not who.is_agent and any(is_subject(subject, who.user) for subject in environment["spec"].get("except", []))


def rules(environment: Json) -> Json:
    rules: Json = environment["spec"].get("approvals", {})
    return rules


def required(environment: Json) -> int:
    return int(rules(environment).get("required", 1))


def mode(environment: Json) -> str:
    return str(environment["spec"].get("mode", "Enforce"))


def listed(environment: Json) -> list[str]:
    return [f"{each['resource']}.{each['group']}" for each in environment["spec"].get("resources", [])]


def weaker(old: Json, new: Json) -> bool:
    before, after = ({"spec": spec} for spec in (old, new))
    teams, more = set(rules(before).get("teams", [])), set(rules(after).get("teams", []))
    return any(
        (
            any(covers(before, name, labels) and not covers(after, name, labels) for name, labels in _UNIVERSE),
            _STRICTNESS.index(new["protectFrom"]) < _STRICTNESS.index(old["protectFrom"]),
            widens(before, after),
            span(new.get("ownWork", "0s")) > span(old.get("ownWork", "0s")),
            (mode(before), mode(after)) == ("Enforce", "Audit"),
            required(after) < required(before),
            bool(teams) and (not more or bool(more - teams)),
            rules(before).get("hardwareKeysOnly", False) and not rules(after).get("hardwareKeysOnly", False),
            span(rules(after).get("useWithin", "1h")) > span(rules(before).get("useWithin", "1h")),
            bool(set(listed(before)) - set(listed(after))),
            old.get("registration") == "Closed" and new.get("registration") != "Closed",
        )
    )


def widens(before: Json, after: Json) -> bool:
    """Whether anybody is excepted who was not; `before` may be nothing."""
    return any(excepts(after, each) and not (before and excepts(before, each)) for each in _anybody())


def forgets(old: Json, new: Json) -> bool:
    sponsors = set(old.get("sponsors", [])) != set(new.get("sponsors", [])) or old.get("sponsorFrom") != new.get("sponsorFrom")
    before, after = ([{"metadata": {"name": "it"}, "spec": spec}] for spec in (old, new))
    return sponsors or any(identify(each.user, before).is_agent and not identify(each.user, after).is_agent for each in _anybody())


def _anybody() -> list[Who]:
    return [Who(each, (), frozenset(), "") for each in USERS.values()]


def registers(old: Json, new: Json) -> bool:
    if not old:
        return True
    lives = {each["publicKey"]: each.get("notAfter") for each in old.get("keys", [])}
    return (
        any(set(new.get(part, [])) - set(old.get(part, [])) for part in ("usernames", "teams"))
        or any(each["publicKey"] not in lives for each in new.get("keys", []))
        or any(_outlives(each.get("notAfter"), lives.get(each["publicKey"])) for each in new.get("keys", []))
    )


def _outlives(new: str | None, old: str | None) -> bool:
    return old is not None and (new is None or time(new) > time(old))


def time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def span(text: str) -> timedelta:
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in _parts(text)))


def _parts(text: str) -> Iterator[tuple[str, str]]:
    yield from re.findall(r"([0-9.]+)([hms])", text)
