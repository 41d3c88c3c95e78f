"""Prometheus metrics of /authorize, on the webhook's page."""

from prometheus_client import CollectorRegistry, Counter


class AccessCounters:
    """The `AccessMetrics` ports of the service and of the entrypoint."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._opinions = Counter(
            "countersign_authorizer_opinions_total",
            "Answers to the API server's authorizer: denied or no opinion, by the ground.",
            ["denied", "ground"],
            registry=registry,
        )
        self._questions = Counter(
            "countersign_authorizer_questions_total",
            "Opinions on what the operator wonders about agents: nobody's attempts.",
            registry=registry,
        )
        self._received = Counter("countersign_authorizer_requests_total", "Whatever was asked of /authorize.", registry=registry)
        self._unreadable = Counter(
            "countersign_authorizer_unreadable_total",
            "Requests to /authorize that were answered with a 4xx.",
            ["code"],
            registry=registry,
        )
        self._failed = Counter(
            "countersign_authorizer_undecided_total",
            "Requests to /authorize without an opinion: a fault or an outage, for which the API server denies.",
            ["cause"],
            registry=registry,
        )
        for cause in ("unable", "error"):
            self._failed.labels(cause)  # from the start, so that a rise from nothing shows as one

    def authorized(self, *, denied: bool, ground: str) -> None:
        self._opinions.labels("true" if denied else "false", ground).inc()

    def questioned(self) -> None:
        self._questions.inc()

    def received(self) -> None:
        self._received.inc()

    def unreadable(self, status: int) -> None:
        self._unreadable.labels(str(int(status))).inc()

    def failed(self, cause: str) -> None:
        self._failed.labels(cause).inc()
