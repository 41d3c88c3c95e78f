"""One authorization review, from question to opinion: a denial or none. Whatever fails is an error, and the API server then denies.

1. who asks   2. the rule   3. record a denial   4. answer
"""

from typing import Protocol

from countersign.domain.authorize import Access, Deny, Opinion, authorize
from countersign.domain.errors import UnableError
from countersign.domain.identify import Agent
from countersign.domain.names import EXTRA_QUESTION
from countersign.domain.record import denial
from countersign.domain.request import UserInfo
from countersign.service.ports import Clock, DecisionLog, State


class AccessMetrics(Protocol):
    def authorized(self, *, denied: bool, ground: str) -> None:
        """An opinion was given."""

    def questioned(self) -> None:
        """One was given to a question of our own, which is no attempt of anybody's."""


class Authorizing:
    """The service behind /authorize. It never waits: what it goes by is in memory."""

    def __init__(self, state: State, clock: Clock, log: DecisionLog, metrics: AccessMetrics, *, our_namespace: str) -> None:
        self._state = state
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._our_namespace = our_namespace

    def authorize(self, user: UserInfo, access: Access) -> Opinion:
        """What the operator only wonders about an agent (its posture) is answered alike, and is no attempt of the agent's: it is not recorded.

        An agent cannot say so of itself: `extra` comes from the authenticator. Raises UnableError while the cluster is not known, and where a denial cannot be recorded.
        """
        who = self._state.snapshot().directory.identify(user)  # 1
        opinion = authorize(access, who, self._our_namespace)  # 2
        if EXTRA_QUESTION in user.extra:
            self._metrics.questioned()
            return opinion
        match opinion, who:
            case Deny(), Agent():
                self._record(user, who, access, opinion)  # 3
            case _:
                pass
        self._metrics.authorized(denied=isinstance(opinion, Deny), ground=opinion.ground.value)
        return opinion

    def _record(self, user: UserInfo, who: Agent, access: Access, opinion: Deny) -> None:
        try:
            self._log.append(denial(user, who, access, opinion, now=self._clock.now()))
        except OSError as error:
            raise UnableError(f"the denial could not be recorded: {error}.") from error
