"""`python -m tests.bench posture`: how long the postures of a hundred agents take, of 1,000 roles and 10,000 bindings, and how much memory.

Two clusters: one as they are, where nine bindings of ten have nothing to do with agents, and one where every binding is an agent's.
"""

from __future__ import annotations

import gc
import random
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

from countersign.domain.document import JsonObject
from countersign.domain.posture import Terms, assess
from countersign.domain.rbac import Rbac
from countersign.domain.resources import AgentIdentity, Meta, Subject, SubjectKind
from countersign.wire.rbac import parse_binding, parse_role

ROLES, BINDINGS, AGENTS = 1_000, 10_000, 100
GOAL = 5.0  # seconds
_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")
_KINDS = (
    "pods",
    "configmaps",
    "secrets",
    "services",
    "deployments",
    "jobs",
    "persistentvolumeclaims",
    "ingresses",
    "serviceaccounts/token",
)


@dataclass(frozen=True, slots=True)
class Timing:
    parsing: float
    reckoning: float
    slowest: float
    kept: float
    peak: float
    not_held: int


def main() -> int:
    sys.stdout.write(f"Postures of {AGENTS} agents, {ROLES:,} roles, {BINDINGS:,} bindings (goal: {GOAL:g} s)\n")
    late = False
    for name, share in (("a tenth of the bindings are agents'", 0.1), ("all of the bindings are agents'", 1.0)):
        found = measure(share)
        late |= found.parsing + found.reckoning > GOAL
        sys.stdout.write(
            f"  {name}: read {found.parsing:.2f} s, reckoned {found.reckoning:.2f} s (the slowest agent {found.slowest * 1000:.0f} ms), "
            f"kept {found.kept:.1f} MB, at most {found.peak:.1f} MB; {found.not_held} agents are not held\n"
        )
    return 1 if late else 0


def measure(share: float) -> Timing:
    dice = random.Random(1)
    identities = [
        AgentIdentity(Meta(f"agent-{number}"), (Subject(SubjectKind.SERVICE_ACCOUNT, f"agent-{number}", "agents"),), ("alice",))
        for number in range(AGENTS)
    ]
    gc.collect()
    tracemalloc.start()
    kept_alive = Rbac(dict(map(parse_role, roles(dice))), [parse_binding(document) for document in bindings(dice, share)])
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept_alive
    started = time.perf_counter()
    rbac = Rbac(dict(map(parse_role, roles(dice))), [parse_binding(document) for document in bindings(dice, share)])
    parsing = time.perf_counter() - started
    times, not_held = [], 0
    for identity in identities:
        begun = time.perf_counter()
        not_held += not assess(identity, rbac, Terms("countersign")).held
        times.append(time.perf_counter() - begun)
    return Timing(parsing, sum(times), max(times), kept / 1e6, peak / 1e6, not_held)


def roles(dice: random.Random) -> Iterator[JsonObject]:
    """One at a time, as pages of a list bring them."""
    for number in range(ROLES):
        rules = [
            {
                "verbs": dice.sample(_VERBS, dice.randint(2, 5)),
                "apiGroups": [dice.choice(["", "apps", "batch"])],
                "resources": dice.sample(_KINDS[:-1], 3) + (["serviceaccounts/token"] if dice.random() < 0.02 else []),
            }
            for _ in range(dice.randint(1, 6))
        ]
        yield {"metadata": {"name": f"role-{number}"}, "rules": rules}


def bindings(dice: random.Random, share: float) -> Iterator[JsonObject]:
    for number in range(BINDINGS):
        namespace = f"ns-{number % 500}"
        if dice.random() < share:
            subject = {"kind": "ServiceAccount", "name": f"agent-{dice.randrange(AGENTS)}", "namespace": "agents"}
        else:
            subject = {"kind": "ServiceAccount", "name": f"app-{number % 20}", "namespace": namespace}
        yield {
            "metadata": {"name": f"binding-{number}", "namespace": namespace},
            "roleRef": {"kind": "ClusterRole", "name": f"role-{dice.randrange(ROLES)}"},
            "subjects": [subject, {"kind": "User", "name": f"user-{number % 300}@example.com"}],
        }
