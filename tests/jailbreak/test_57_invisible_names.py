"""A human is given a manifest to apply that registers a Reviewer whose username reads like a colleague's, but holds a character that nobody can see, and so is somebody else's.

Source: Trojan Source, CVE-2021-42574 (https://trojansource.codes); Unicode Technical Standard 39, Security Mechanisms.
"""

from tests.controlplane.api import path
from tests.e2e.people import reviewer
from tests.jailbreak._attack import Attack, Elsewhere, away, entry
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=57,
    title="Register a name with invisible characters",
    guards=away(entry("own")),
    elsewhere=Elsewhere.NOT,
    because="registers people",
)
HIDDEN = {"zero width": "bo\u200bb@example.com", "right to left": "\u202emoc.elpmaxe@bob\u202c", "a newline": "bob@example.com\n"}


def test_in_a_reviewers_username(stage: Stage) -> None:
    for how, username in HIDDEN.items():
        name = stage.name("twin")
        url = path("reviewers", name)
        stage.clean(url)
        body = reviewer(name, [username], {"main": stage.cluster.paths.ssh / "bob"})
        body["spec"]["keys"] = []
        reply = stage.strike("POST", path("reviewers"), body, by=stage.admin)
        assert stage.control or "nobody can see" in reply.message, how
        stage.judge(reply, harm=lambda url=url: stage.admin.exists(url))  # type: ignore[misc]  # bound at once, as it has to be
