"""What lockdown and broken glass have in common: who asks, and what is written into the environment `default`."""

from collections.abc import Callable
from datetime import timedelta

from tests.support.objects import MINUTE, user
from tests.support.replicas import Story
from tests.support.world import Json

ADMIN = user("erin@example.com", "system:authenticated")
INCIDENT = "3f9a1c2e"


def lock(story: Story, incident: str = INCIDENT) -> None:
    """As the operator does."""
    lockdown = {"incident": incident, "since": "2026-11-22T12:00:00Z", "guard": "countersign-guards", "what": "changed"}
    story.world.update("protectedenvironments", "default", lambda document: document.update(status={"lockdown": lockdown}))


def lifted(incident: str) -> Callable[[Json], None]:
    return lambda document: document["spec"].update(lockdownLifted=incident)


def glass(
    story: Story, ahead: timedelta = 5 * MINUTE, by: str = ADMIN.username, why: str = "all reviewers have left"
) -> Callable[[Json], None]:
    since = (story.world.now + ahead).strftime("%Y-%m-%dT%H:%M:%SZ")
    return lambda document: document["spec"].update(glass={"from": since, "by": by, "why": why})
