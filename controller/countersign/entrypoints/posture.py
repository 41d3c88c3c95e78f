"""`countersign posture [--output markdown|json] [--agent NAME] [FILE|-]`: what agents could do, and which ways round they have."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from countersign.adapters.inventory import Inventory, load, read
from countersign.bootstrap import open_cluster
from countersign.domain.document import parse
from countersign.domain.errors import CountersignError
from countersign.domain.posture import Posture, Terms, assess
from countersign.domain.posturereport import Findings, as_json, as_markdown
from countersign.domain.rbac import Rbac
from countersign.service.ports import ApiError
from countersign.service.posture import Access, assess_asking

_NOT_HELD: Final = 1
_UNUSABLE: Final = 2


def posture_command(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """0: every agent is held. 1: at least one is not. 2: it could not be found out, with a sentence that says why."""
    parser = argparse.ArgumentParser(
        prog="countersign posture",
        description="What each agent could delete and become by its rights, and which ways round Countersign they leave open. "
        "Reads the cluster of your kubeconfig (or of COUNTERSIGN_API_SERVER), or a file that kubectl wrote.",
    )
    parser.add_argument("file", nargs="?", default="", metavar="FILE", help="a List from `kubectl get … -o json`; - for standard input")
    parser.add_argument("--output", choices=("markdown", "json"), default="markdown", help="for people, or for machines")
    parser.add_argument("--agent", default="", metavar="NAME", help="only this AgentIdentity")
    options = parser.parse_args(arguments)
    namespace = environment.get("COUNTERSIGN_NAMESPACE") or "countersign"
    try:
        if options.file:
            findings = asyncio.run(_reckon(_loaded(options.file), namespace, options.agent, environment, None))
        else:
            findings = asyncio.run(_look(namespace, options.agent, environment))
    except (CountersignError, ValueError, OSError) as error:
        sys.stderr.write(f"The agents' posture could not be found out: {error}\n")
        return _UNUSABLE
    if options.agent and not findings.postures:
        sys.stderr.write(f"There is no AgentIdentity {options.agent!r}; see `kubectl get agentidentities`.\n")
        return _UNUSABLE
    sys.stdout.write(json.dumps(as_json(findings), indent=2) + "\n" if options.output == "json" else as_markdown(findings))
    return 0 if findings.all_held else _NOT_HELD


def _loaded(file: str) -> Inventory:
    """Raises OSError, ValueError where it is no JSON, WireError where something is missing."""
    raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    return load(parse(raw))


async def _look(namespace: str, only: str, environment: Mapping[str, str]) -> Findings:
    """Raises ApiError, WireError."""
    async with open_cluster(environment) as (reader, access):
        return await _reckon(await read(reader), namespace, only, environment, access)


async def _reckon(inventory: Inventory, namespace: str, only: str, environment: Mapping[str, str], access: Access | None) -> Findings:
    """Without `access` from RBAC alone: a file knows of no other authorizer."""
    rbac = Rbac(inventory.roles, inventory.bindings)
    terms = Terms(namespace, inventory.profile, frozenset(inventory.listed), inventory.jailed)
    postures: list[Posture] = []
    for identity in sorted(inventory.identities, key=lambda identity: identity.meta.name):
        if only not in ("", identity.meta.name):
            continue
        try:
            postures.append(await assess_asking(identity, rbac, terms, access) if access else assess(identity, rbac, terms))
        except ApiError as error:
            sys.stderr.write(f"Only RBAC is looked at: {error}\n")
            access = None
            postures.append(assess(identity, rbac, terms))
    cluster = environment.get("COUNTERSIGN_CLUSTER_NAME", "")
    return Findings(cluster, inventory.profile, asked=access is not None, postures=tuple(postures))
