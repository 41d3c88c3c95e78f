"""The people and agents of the end-to-end suites, registered as a platform team would: signed for, once registration is closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.controlplane.api import path
from tests.controlplane.people import REVIEWER_ROLE, public_key
from tests.e2e.story import Key, Person, Story, manifest
from tests.support.authenticator import SoftwareAuthenticator

PLAIN_TYPES: Final[Mapping[str, tuple[str, int | None]]] = {
    "ed25519": ("ed25519", None),
    "ecdsa-256": ("ecdsa", 256),
    "ecdsa-384": ("ecdsa", 384),
    "ecdsa-521": ("ecdsa", 521),
    "rsa-3072": ("rsa", 3072),
}
TYPES: Final = (*PLAIN_TYPES, "sk-ed25519", "sk-ecdsa")
LONG_AGO: Final = "2020-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class People:
    """alice is the harness's sponsor of kiro and rogue; bob and carol are its reviewers."""

    alice: Person
    bob: Person
    carol: Person
    dave: Person
    """In the team `team`; has two usernames, `dave.user` and `dave_again`."""
    dave_again: Person
    erin: Person
    """Of the keys `main` and `old`, the second expired long ago."""
    frank: Person
    """A key of every type that is accepted."""
    grace: Person
    """Loses the key `main` to a revocation."""
    ivan: Person
    """Whose key is made to expire."""
    judy: Person
    """Who rejects, and then loses her key."""
    heidi: Person
    """Sponsor of kira, by a username other than the one she signs with."""
    mallory: Person
    """A human with the reviewer role who is nobody's Reviewer."""
    team: str
    kira: str
    """An agent of heidi's."""


def register_everybody(story: Story) -> People:
    cluster, run = story.cluster, story.run

    def harness(name: str) -> Person:
        return Person(name, name, {"main": cluster.paths.ssh / name})

    def human(name: str) -> str:
        return cluster.new_human(f"{name}-{run}@example.com", role=REVIEWER_ROLE)

    def key(name: str, kind: str = "ed25519", bits: int | None = None) -> Key:
        return cluster.new_key(f"{name}-{run}", kind, bits)

    def person(name: str, keys: Mapping[str, Key], *, teams: Sequence[str] = (), also: Sequence[str] = (), old: str = "") -> Person:
        user = human(name)
        usernames = [f"{user}@example.com", *also]
        register(story, reviewer(user, usernames, keys, teams=teams, expired=old))
        return Person(user, user, keys)

    team = f"payments-{run}"
    every_type: dict[str, Key] = {name: key(f"frank-{name}", *made) for name, made in PLAIN_TYPES.items()}
    every_type |= {"sk-ed25519": SoftwareAuthenticator("ed25519"), "sk-ecdsa": SoftwareAuthenticator("ecdsa")}
    dave_again = human("dave-again")
    dave = person("dave", {"main": key("dave"), "second": key("dave-second")}, teams=[team], also=[f"{dave_again}@example.com"])
    other_name = f"oidc:heidi-{run}"
    return People(
        alice=harness("alice"),
        bob=harness("bob"),
        carol=harness("carol"),
        dave=dave,
        dave_again=Person(dave.name, dave_again, dave.keys),
        erin=person("erin", {"main": key("erin"), "old": key("erin-old")}, old="old"),
        frank=person("frank", every_type),
        grace=person("grace", {"main": key("grace"), "other": key("grace-other")}),
        ivan=person("ivan", {"main": key("ivan")}),
        judy=person("judy", {"main": key("judy")}),
        heidi=person("heidi", {"main": key("heidi")}, also=[other_name]),
        mallory=Person(f"mallory-{run}", human("mallory"), {"main": key("mallory")}),
        team=team,
        kira=story.agent("kira", sponsors=(other_name,)),
    )


def reviewer(
    name: str, usernames: Sequence[str], keys: Mapping[str, Key], *, teams: Sequence[str] = (), expired: str = ""
) -> dict[str, Any]:
    """A Reviewer; the key named `expired` has its end long ago."""
    listed = [
        {"name": each, "publicKey": public_line(key), **({"notAfter": LONG_AGO} if each == expired else {})} for each, key in keys.items()
    ]
    return manifest("Reviewer", name, {"usernames": list(usernames), "teams": list(teams), "keys": listed})


def public_line(key: Key) -> str:
    return key.public_key.strip() if isinstance(key, SoftwareAuthenticator) else public_key(key)


def register(story: Story, wanted: dict[str, Any]) -> None:
    """Free until registration closes; from then on as any guarded change: alice asks, the others sign, alice asks again."""
    reply = story.send("alice", "POST", path("reviewers"), wanted)
    if reply.outcome == "Pending":
        required = story.request(reply.request)["spec"]["required"]
        story.signed(reply.request, *story.harness_reviewers()[:required])
        reply = story.send("alice", "POST", path("reviewers"), wanted)
    assert reply.ok, str(reply)
