"""A limit for each requester is worth little to an agent that makes ServiceAccounts: each new name has room of its own, and opens requests that people have to read.

Source: follows from the limit on open requests; Kubernetes RBAC good practices (creating workloads and tokens).
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Elsewhere
from tests.jailbreak._reviews import opened, webhook_with
from tests.jailbreak._stage import Stage

# All of a namespace's accounts are one identity (`*`), which has five times the room of one. The control is a limit so high that it is none.
ATTACK = Attack(
    number=55,
    title="Ask under many minted names",
    elsewhere=Elsewhere.NOT,
    because="sets the limit of open requests",
    local_only="starts the webhook with settings of its own",
)
BOUND, NAMES = 5, 8


def test_many_names(stage: Stage) -> None:
    targets = [stage.namespace() for _ in range(NAMES)]
    minted = [stage.another() for _ in range(NAMES)]
    with webhook_with(stage, COUNTERSIGN_MAX_OPEN_REQUESTS="1000" if stage.control else "1"):
        replies = [stage.strike("DELETE", path("namespaces", target), by=agent) for agent, target in zip(minted, targets, strict=True)]
    assert not any(reply.ok for reply in replies)
    stage.done(
        lambda: opened(stage, *targets) > BOUND, f"{NAMES} requests wait for signatures", evidence=replies[-1].message.split("\n")[0]
    )
