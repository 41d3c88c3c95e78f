"""Prometheus metrics of the operator."""

from collections.abc import Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.process_collector import ProcessCollector


class UpkeepMetrics:
    def __init__(self, *, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no annotation for it
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        Gauge("countersign_build_info", "The running version.", ["version"], registry=self._registry).labels(version).set(1)
        self._leading = Gauge("countersign_operator_leading", "1 while this process holds the Lease.", registry=self._registry)
        self._repairs = Counter(
            "countersign_guard_repairs_total",
            "Guards put back after somebody changed or deleted them, or found rewritten by somebody's policy, by what had happened.",
            ["guard", "what"],
            registry=self._registry,
        )
        self._repair_seconds = Histogram(
            "countersign_guard_repair_seconds",
            "From the event that shows a guard changed to the API server's answer that it is back.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
            registry=self._registry,
        )
        self._locked = Gauge("countersign_locked_down", "1 while agents are locked down after tampering.", registry=self._registry)
        self._glass = Gauge("countersign_glass_broken", "1 while people do without signatures.", registry=self._registry)
        self._foreign = Gauge(
            "countersign_foreign_mutators",
            "Mutating webhooks and policies of others that can rewrite what is written to Countersign's kinds or namespace.",
            ["mutator"],
            registry=self._registry,
        )
        self._rounds = Counter(
            "countersign_operator_reconciles_total", "Rounds of upkeep, by how they ended.", ["result"], registry=self._registry
        )
        self._last = Gauge(
            "countersign_operator_last_success_timestamp_seconds", "When a round of upkeep last went through.", registry=self._registry
        )
        self._left = Counter(
            "countersign_namespaces_left_total",
            "Namespaces that were in an environment and are not any more, by the environment.",
            ["environment"],
            registry=self._registry,
        )
        self._weakened = Counter(
            "countersign_protection_weakened_total",
            "Changes seen that took protection away, or registered a key, by the kind that was changed.",
            ["kind"],
            registry=self._registry,
        )
        for kind in ("agentidentities", "protectedenvironments", "reviewers"):
            self._weakened.labels(kind)
        self._held = Gauge(
            "countersign_agent_held", "1 where an agent's rights leave no direct way round.", ["agent"], registry=self._registry
        )
        self._ways = Gauge(
            "countersign_agent_ways_round",
            "1 for each way round that an agent's rights leave open.",
            ["agent", "way"],
            registry=self._registry,
        )
        self._expiry = Gauge(
            "countersign_certificate_expiry_timestamp_seconds",
            "When the webhook's certificate ends (serving), and the authority that the API server trusts it by (authority).",
            ["certificate"],
            registry=self._registry,
        )
        self._good = Gauge(
            "countersign_certificate_good",
            "1 while the certificate that is to be served can be, and the one that is served holds.",
            registry=self._registry,
        )
        for result in ("done", "failed"):
            self._rounds.labels(result)

    def leading(self, leads: bool) -> None:
        self._leading.set(1 if leads else 0)

    def repaired(self, guard: str, what: str, seconds: float) -> None:
        self._repairs.labels(guard, what).inc()
        self._repair_seconds.observe(seconds)

    def locked(self, is_locked: bool) -> None:
        self._locked.set(1 if is_locked else 0)

    def glass(self, is_broken: bool) -> None:
        self._glass.set(1 if is_broken else 0)

    def foreign(self, mutators: Mapping[str, str]) -> None:
        self._foreign.clear()
        for mutator in mutators:
            self._foreign.labels(mutator).set(1)

    def left(self, environment: str) -> None:
        self._left.labels(environment).inc()

    def weakened(self, kind: str) -> None:
        self._weakened.labels(kind).inc()

    def postures(self, found: Mapping[str, Sequence[str] | None], held: Mapping[str, bool]) -> None:
        self._held.clear()
        self._ways.clear()
        for agent, holds in held.items():
            self._held.labels(agent).set(1 if holds else 0)
            for way in found.get(agent) or ():
                self._ways.labels(agent, way).set(1)

    def certificate(self, expiries: Mapping[str, float], *, is_good: bool) -> None:
        self._expiry.clear()
        for certificate, ends in expiries.items():
            self._expiry.labels(certificate).set(ends)
        self._good.set(1 if is_good else 0)

    def reconciled(self, *, done: bool, timestamp: float) -> None:
        self._rounds.labels("done" if done else "failed").inc()
        if done:
            self._last.set(timestamp)

    def render(self) -> tuple[bytes, str]:
        """Body and content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
