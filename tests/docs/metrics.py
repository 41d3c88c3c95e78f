"""Every metric that the processes show, as the table of docs/operations.md: `python -m tests.docs.metrics` writes it there."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import certifi
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from countersign.adapters.upkeep import UpkeepMetrics
from countersign.bootstrap import build_webhook
from countersign.settings import read
from tests.controlplane.paths import ROOT

PAGE = ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- metrics: make generate -->\n", "<!-- end of metrics -->\n"
# Nothing is asked of this server; any authority will do.
_ENVIRONMENT = {
    "COUNTERSIGN_CLUSTER_NAME": "c",
    "COUNTERSIGN_API_SERVER": "https://127.0.0.1:1",
    "COUNTERSIGN_API_CA_FILE": certifi.where(),
    "COUNTERSIGN_AUTHORIZER": "true",
}


def families() -> dict[str, tuple[str, str, str]]:
    """Name → process, type, help; of our own metrics, not of the process itself."""
    found: dict[str, tuple[str, str, str]] = {}
    for process, name, family in _shown():
        both = f"{found[name][0]}, {process}" if name in found else process
        found[name] = (both, family.type, family.documentation)
    return dict(sorted(found.items()))


def silent_at_first() -> set[str]:
    """Counters that a new process does not show: their first rise is from nothing, which Prometheus' increase() does not see."""
    return {name for _, name, family in _shown() if family.type == "counter" and not family.samples}


def _shown() -> Iterator[tuple[str, str, Metric]]:
    for process, collectors in (("webhook", asyncio.run(_webhook())), ("operator", _collectors(UpkeepMetrics(version="0")))):
        for collector in collectors:
            for family in collector.collect():
                name = f"{family.name}_total" if family.type == "counter" else family.name
                if name.startswith("countersign_"):
                    yield process, name, family


def table() -> str:
    rows = [f"| `{name}` | {kind} | {process} | {text} |" for name, (process, kind, text) in families().items()]
    return "\n".join(["| metric | type | of | what it says |", "|---|---|---|---|", *rows]) + "\n"


def written(page: str) -> str:
    """The page with the table as it has to be."""
    return re.sub(f"(?s)({re.escape(BEGIN)}).*({re.escape(END)})", lambda match: match[1] + table() + match[2], page)


async def _webhook() -> list[Collector]:
    with _quiet():
        parts = build_webhook(read(_ENVIRONMENT, listen="127.0.0.1:1"))
    try:
        return _collectors(parts.metrics)
    finally:
        await parts.api.close()


def _collectors(metrics: object) -> list[Collector]:
    registry = metrics._registry  # type: ignore[attr-defined]  # what is registered is the only complete list
    return list(registry._collector_to_names)


@contextmanager
def _quiet() -> Iterator[None]:
    """The decision log's first record goes to where records go: standard output."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def unknown(expression: str, names: Iterable[str]) -> set[str]:
    """What an expression of Prometheus names of ours that is not there."""
    named = set(re.findall(r"\bcountersign_\w+", expression))
    return {name for name in named if re.sub(r"_(bucket|sum|count)$", "", name) not in names and name not in names}


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
