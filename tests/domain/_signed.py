"""Change requests, and people who sign them."""

from datetime import datetime
from typing import Any

from countersign.domain.approval import Standing, standing
from countersign.domain.resources import (
    ChangeRequest,
)
from tests.support.objects import (
    MINUTE,
    NOW,
    change_request,
    environment,
    person,
    snapshot,
)

LATER = NOW + 30 * MINUTE
TWO = change_request(required=2)
ONE = change_request()
PEOPLE = tuple(person(name) for name in ("alice", "bob", "carol", "dave"))


def state(request: ChangeRequest, *objects: object, now: datetime = LATER, **options: Any) -> Standing:
    return standing(request, snapshot(request, *objects), now, **options)


BOTH = change_request(environments=("a", "b"), required=1)
SRE, WEB = environment("a", teams=("sre",)), environment("b", teams=("web",))
TEAMS = (person("bob", teams=("sre",)), person("carol", teams=("web",)), person("dave", teams=("sre", "web")))
