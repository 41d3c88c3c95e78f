"""What the tests of whole reviews have in common."""

from datetime import timedelta

from countersign.domain.request import UserInfo
from tests.support.replicas import KIRO_USER, Story, request_in

SECOND = timedelta(seconds=1)
PROD = {"tier": "prod"}


def approved(story: Story, name: str = "payments", by: UserInfo = KIRO_USER) -> str:
    """A deletion that has been asked for and signed by bob; its change request."""
    request = request_in(story.delete(name, by=by))
    assert story.sign(request).allowed
    return request
