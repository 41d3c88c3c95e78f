"""What the random lives are made of: few names, so that they meet; every setting, so that each is turned both ways."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from hypothesis import strategies as st

from countersign.domain.request import UserInfo
from tests.support.authenticator import SoftwareAuthenticator
from tests.support.objects import MINUTE, key_of, user
from tests.support.replicas import Story
from tests.support.signing import Key
from tests.support.world import Json

PEOPLE: Final = ("alice", "bob", "carol", "dave")
SPACES: Final = ("payments", "orders")
TARGETS: Final = ("namespace", "namespace", "namespace", "claim", "volume", "definition", "thing")
KEYS: Final = ("own", "spare", "hard")
FLAWS: Final = ("rejection as approval", "other purpose", "other text", "replayed")
AGENTS: Final = ("kiro", "rogue", "bot-1", "bot-2")
HUMANS: Final = ("carol", "eve")
_EVERYBODY: Final = "system:authenticated"
USERS: Final = {
    "kiro": user("system:serviceaccount:agents:kiro", "system:serviceaccounts", _EVERYBODY),
    "rogue": user("system:serviceaccount:agents:rogue", "system:serviceaccounts", _EVERYBODY),
    "bot-1": user("bot-1", "bots", _EVERYBODY),
    "bot-2": user("bot-2", "bots", _EVERYBODY),
    "bot without its group": user("bot-1", _EVERYBODY),
    "carol": user("carol@example.com", _EVERYBODY),
    "eve": user("eve@example.com", _EVERYBODY),
    "deployer": user("system:serviceaccount:ci:deployer", "system:serviceaccounts", _EVERYBODY),
    "controller": user("system:serviceaccount:kube-system:namespace-controller", "system:serviceaccounts", _EVERYBODY),
}
IDENTITIES: Final[dict[str, Json]] = {
    "kiro": {"kind": "ServiceAccount", "namespace": "agents", "name": "kiro"},
    "rogue": {"kind": "ServiceAccount", "namespace": "agents", "name": "rogue"},
    "bots": {"kind": "User", "name": "bot-*", "groups": ["bots"]},
    "all": {"kind": "Group", "name": "bots"},
}
NAMES: Final = ("default", "orders", "extra")


@cache
def key_for(name: str) -> Key:
    """`alice-own`, `alice-spare`, `alice-hard`: the last on a hardware key."""
    return SoftwareAuthenticator() if name.endswith("-hard") else key_of(name)


def when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def target(what: str, space: str) -> tuple[str, str, str, str]:
    """Plural, name, namespace, group."""
    return {
        "namespace": ("namespaces", space, "", ""),
        "claim": ("persistentvolumeclaims", "data", space, ""),
        "volume": ("persistentvolumes", f"volume-of-{space}", "", ""),
        "definition": ("customresourcedefinitions", "things.example.com", "", "apiextensions.k8s.io"),
        "thing": ("things", "thing", space, "example.com"),
    }[what]


def furnish(story: Story) -> None:
    """Four people with keys, agents of each kind, two environments, and something to lose in each namespace."""
    story.change("protectedenvironments", "default", approvals={"useWithin": "30m"}, ownWork="1h")
    # From people as well, so that their acts, too, are judged from the first step on.
    orders = {"selector": {"matchLabels": {"team": "orders"}}}
    story.environment("orders", protectFrom="People", namespaces=orders, resources=[{"group": "example.com", "resource": "things"}])
    story.reviewer("dave")
    for person in PEOPLE:
        keys = [{"name": name, "publicKey": key_for(f"{person}-{name}").public_key.strip()} for name in ("own", "hard")]
        story.change("reviewers", person, keys=keys, teams=["sre"] if person in ("bob", "carol") else [])
    story.agent("rogue", sponsors=("alice", "bob"))
    story.world.create("agentidentities", "bots", spec={"sponsors": ["alice@example.com"], "subjects": [IDENTITIES["bots"]]})
    story.namespace("orders", labels={"team": "orders"})
    story.world.create("customresourcedefinitions", "things.example.com", spec={"group": "example.com"})
    for space in SPACES:
        furnish_space(story, space)


def furnish_space(story: Story, space: str) -> None:
    story.world.create("persistentvolumeclaims", "data", namespace=space, spec={})
    story.world.create("things", "thing", namespace=space, spec={"size": 1.50})
    if story.world.get("persistentvolumes", f"volume-of-{space}") is None:
        story.world.create("persistentvolumes", f"volume-of-{space}", spec={"claimRef": {"namespace": space, "name": "data"}})


# ── settings, at random ──


@dataclass(frozen=True)
class SettingChange:
    """`spec` None: deleted."""

    plural: str
    name: str
    spec: Any


@dataclass(frozen=True)
class Turn:
    what: str
    span: timedelta
    change: SettingChange


LABELS: Final = st.fixed_dictionaries(
    {}, optional={"team": st.sampled_from(["orders", "payments", "other"]), "tier": st.sampled_from(["prod", "test"])}
)
_TERMS = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {
                "key": st.sampled_from(["team", "tier"]),
                "operator": st.sampled_from(["In", "NotIn"]),
                "values": st.lists(st.sampled_from(["orders", "payments", "prod"]), min_size=1, max_size=2, unique=True),
            }
        ),
        st.fixed_dictionaries({"key": st.sampled_from(["team", "tier"]), "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
    ),
    max_size=2,
)
_SELECTORS: st.SearchStrategy[Json] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"matchLabels": LABELS}),
    st.fixed_dictionaries({"matchExpressions": _TERMS}),
    st.fixed_dictionaries({"matchLabels": LABELS, "matchExpressions": _TERMS}),
)
_EXCEPTIONS = st.lists(
    st.sampled_from(
        [
            {"kind": "User", "name": "eve@example.com"},
            {"kind": "User", "name": "*@example.com"},
            {"kind": "ServiceAccount", "namespace": "ci", "name": "*"},
            {"kind": "Group", "name": "system:authenticated"},
        ]
    ),
    max_size=2,
    unique_by=str,
)
_APPROVALS = st.fixed_dictionaries(
    {},
    optional={
        "required": st.integers(1, 3),
        "teams": st.lists(st.sampled_from(["sre", "data"]), max_size=2, unique=True),
        "hardwareKeysOnly": st.booleans(),
        "useWithin": st.sampled_from(["10m", "30m", "1h", "90m"]),
    },
)
_ENVIRONMENT = st.fixed_dictionaries(
    {"protectFrom": st.sampled_from(["Agents", "Agents", "People", "Everyone"])},
    optional={
        "namespaces": st.fixed_dictionaries(
            {}, optional={"selector": _SELECTORS, "exclude": st.lists(st.sampled_from(SPACES), max_size=1)}
        ),
        "except": _EXCEPTIONS,
        "ownWork": st.sampled_from(["30m", "1h", "24h"]),
        "mode": st.sampled_from(["Enforce", "Enforce", "Audit"]),
        "approvals": _APPROVALS,
        "resources": st.just([{"group": "example.com", "resource": "things"}]),
    },
)


_GLASS: Final = [
    {"from": since, "by": by, "why": "nobody who could sign is left"}
    for since in ("2026-11-22T12:15:00Z", "2026-11-22T13:00:00Z")
    for by in ("eve@example.com", "carol@example.com")
]


@st.composite
def _environments(draw: st.DrawFn) -> SettingChange:
    name = draw(st.sampled_from(NAMES))
    spec = draw(st.one_of(_ENVIRONMENT, _ENVIRONMENT, _ENVIRONMENT, st.none()))
    if spec is not None and name == "default":
        spec = spec | draw(st.sampled_from([{}, {}, {"registration": "Open"}, {"registration": "Closed"}]))
        spec = spec | draw(st.sampled_from([{}, {}, {"lockdownLifted": "one"}, {"lockdownLifted": "two"}]))
        spec = spec | draw(st.sampled_from([{}, {}, *({"glass": each} for each in _GLASS)]))
    return SettingChange("protectedenvironments", name, spec)


@st.composite
def _identities(draw: st.DrawFn) -> SettingChange:
    name = draw(st.sampled_from(["kiro", "rogue", "bots"]))
    subjects = draw(st.lists(st.sampled_from(sorted(IDENTITIES)), min_size=1, max_size=2, unique=True))
    sponsors = draw(st.lists(st.sampled_from(["alice", "bob", "carol@example.com", "nobody"]), min_size=1, max_size=2, unique=True))
    spec = {"sponsors": sponsors, "subjects": [IDENTITIES[each] for each in subjects]}
    if draw(st.sampled_from([0, 0, 0, 1])):
        spec["sponsorFrom"] = "Username"
    return SettingChange("agentidentities", name, draw(st.sampled_from([spec, spec, spec, None])))


@st.composite
def _reviewers(draw: st.DrawFn) -> SettingChange:
    person = draw(st.sampled_from([*PEOPLE, "mallory"]))
    keys = draw(st.lists(st.sampled_from(KEYS), max_size=2, unique=True))
    username = draw(st.sampled_from([f"{person}@example.com"] * 3 + ["bot-1", "eve@example.com"]))
    spec: Json = {
        "usernames": [username, *draw(st.sampled_from([[], [], [f"{person}@old.example.com"]]))],
        "keys": [{"name": name, "publicKey": key_for(f"{person}-{name}").public_key.strip()} for name in keys],
        "teams": draw(st.lists(st.sampled_from(["sre", "data"]), max_size=2, unique=True)),
    }
    for key in spec["keys"]:
        if draw(st.sampled_from([0, 0, 1])):
            key["notAfter"] = draw(st.sampled_from(["2026-11-22T12:30:00Z", "2026-11-22T14:00:00Z"]))
    return SettingChange("reviewers", person, draw(st.sampled_from([spec, spec, spec, None])))


ONE_THING: Final[st.SearchStrategy[Json]] = st.one_of(
    st.fixed_dictionaries({"exclude": st.lists(st.sampled_from(SPACES), max_size=2, unique=True)}),
    st.fixed_dictionaries({"selector": _SELECTORS}),
    st.fixed_dictionaries({"protectFrom": st.sampled_from(["Agents", "People", "Everyone"])}),
    st.fixed_dictionaries({"except": _EXCEPTIONS}),
    st.fixed_dictionaries({"ownWork": st.sampled_from(["30m", "1h", "24h"])}),
    st.fixed_dictionaries({"mode": st.sampled_from(["Enforce", "Audit"])}),
    st.fixed_dictionaries({"approvals": _APPROVALS}),
)
"""Of an environment: of a spec that is new in all its parts, several nearly always take protection away at once."""


def with_one_thing_else(spec: Json, thing: Json) -> Json:
    inside = {key: value for key, value in thing.items() if key in ("exclude", "selector")}
    return {**spec, **({"namespaces": {**spec.get("namespaces", {}), **inside}} if inside else thing)}


SETTING_CHANGES: Final = st.one_of(_environments(), _identities(), _reviewers())
TURNS: Final = st.builds(
    Turn,
    what=st.sampled_from(
        [
            "",
            "",
            "",
            "",
            "withdrawn",
            "sponsor",
            "time",
            "more to lose",
            "no reviewer",
            "no keys",
            "expired keys",
            "setting",
            "anew",
            "another cascade",
            "one environment more",
            "restart",
            "tampered",
            "glass",
        ]
    ),
    span=st.sampled_from([MINUTE, 10 * MINUTE, 30 * MINUTE, 120 * MINUTE, -10 * MINUTE]),
    change=SETTING_CHANGES,
)


def user_named(name: str) -> UserInfo:
    return USERS[name]
