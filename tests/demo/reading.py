"""What the demo reads out of real output. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.demo.stage import Surprise

_NAME = re.compile(r"changerequests\.kube-countersign\.dev[ /]([a-z0-9][-a-z0-9]*)")
_PHRASES_FOR_AGENTS = (
    "WAITING FOR HUMAN SIGNATURES, nothing was deleted",
    "This is not a permission problem",
    "signatures by agents or their sponsors do not count",
    "Next step: give this name to the person you work for and end this task here.",
    "(at most once a minute)",
    "Approved: send this same request again.",
)


def change_request_in(text: str) -> str:
    """The name of the change request that a refusal gives.

    Raises:
        Surprise
    """
    found = _NAME.search(text)
    if found is None:
        raise Surprise(f"the refusal names no change request; it said:\n{text.strip()}")
    return found.group(1)


def missing_from_refusal(text: str) -> list[str]:
    """What an agent's refusal must say and does not; and what it must not say and does."""
    faults = [f"it does not say: {phrase}" for phrase in _PHRASES_FOR_AGENTS if phrase not in text]
    faults += [f"it hands the agent a way to sign: {word}" for word in ("ssh-keygen", "kubectl create", "approve@") if word in text]
    return faults


def short(record: Mapping[str, Any]) -> str:
    """One decision on one line (and who stood behind it on the same): for people."""
    time = str(record.get("time", ""))[11:19]
    if "start" in record:
        return f"{time}  (a webhook process starts, version {record['start']['version']})"
    target = record["target"]
    # Of a Namespace the API server gives its own name as its namespace.
    where = f"{target['namespace']}/" if target.get("namespace") and target["resource"] != "namespaces" else ""
    what = f"{record['operation']} {target['resource']} {where}{target['name']}"
    dry = " (dry run)" if record.get("dryRun") else ""
    return f"{time}  {record['decision']:<6} {record.get('fault') or record['reason']:<10} {_who(record):<24} {what}{dry}{_signed(record)}"


def _who(record: Mapping[str, Any]) -> str:
    if record.get("agents"):
        return f"{', '.join(record['agents'])} (run by {', '.join(record['sponsors'])})"
    return str(record["user"])


def _signed(record: Mapping[str, Any]) -> str:
    if record["decision"] == "Allow" and record.get("reviewers"):
        return f"  signed by {', '.join(record['reviewers'])}"
    return ""
