"""Prometheus metrics of the webhook. The hot path touches counters that are looked up once."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from countersign.domain.answer import Reason

_BUCKETS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 8.0),
)

Gauges = Callable[[], Mapping[str, float]]


class PrometheusMetrics:
    """The `Metrics` ports of the services and of the webhook's entrypoint."""

    def __init__(self, *, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no annotation for it
        self._registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Gauge("countersign_build_info", "The running version.", "version", lambda: {version: 1.0}))
        self._decisions = Counter(
            "countersign_decisions_total", "Decisions, by what was answered and why.", ["allowed", "reason"], registry=self._registry
        )
        self._undecided = Counter(
            "countersign_undecided_total",
            "Refusals because Countersign could not decide: a fault or an outage, never a policy.",
            ["cause"],
            registry=self._registry,
        )
        self._unrecorded = Counter(
            "countersign_decisions_unrecorded_total",
            "Decisions that the log did not take, all refused for it.",
            registry=self._registry,
        )
        self._seconds = Histogram("countersign_decision_seconds", "Time to decide.", buckets=_BUCKETS, registry=self._registry)
        self._received = Counter("countersign_webhook_requests_total", "Whatever was asked of /validate.", registry=self._registry)
        self._unreadable = Counter(
            "countersign_webhook_unreadable_total",
            "Requests to /validate that were answered with a 4xx.",
            ["code"],
            registry=self._registry,
        )
        self._children: dict[tuple[bool, str], Counter] = {}
        for cause in ("unable", "error"):
            self._undecided.labels(cause)  # from the start, so that a rise from nothing shows as one

    def decided(self, *, allowed: bool, reason: str, seconds: float) -> None:
        self._seconds.observe(seconds)
        if reason == Reason.UNABLE:
            self._undecided.labels("unable").inc()
            return
        child = self._children.get((allowed, reason))
        if child is None:
            child = self._children[allowed, reason] = self._decisions.labels("true" if allowed else "false", reason)
        child.inc()

    def unrecorded(self) -> None:
        self._unrecorded.inc()

    def received(self) -> None:
        self._received.inc()

    def unreadable(self, status: int) -> None:
        self._unreadable.labels(str(int(status))).inc()

    def failed(self) -> None:
        self._undecided.labels("error").inc()

    def gauge(self, name: str, help_text: str, label: str, read: Gauges) -> None:
        """Show numbers that are read when somebody asks for them: by the value of `label`, in the base unit that `name` ends with."""
        self._registry.register(_Gauge(name, help_text, label, read))

    def exposition(self) -> tuple[bytes, str]:
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _Gauge(Collector):
    def __init__(self, name: str, help_text: str, label: str, read: Gauges) -> None:
        self._name = name
        self._help = help_text
        self._label = label
        self._read = read

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self._name, self._help, labels=[self._label])
        for value, number in self._read().items():
            family.add_metric([value], number)
        yield family
