"""What a scrape of the webhook shows."""

import re

from countersign.adapters.metrics import PrometheusMetrics


def samples(metrics: PrometheusMetrics) -> dict[str, float]:
    text, content_type = metrics.exposition()
    assert content_type.startswith("text/plain")
    return {name: float(value) for name, value in re.findall(r"^([^#\s]\S*) (\S+)$", text.decode(), re.MULTILINE)}


def test_decisions_are_counted_by_answer_and_reason() -> None:
    metrics = PrometheusMetrics(version="1.2.3")
    for _ in range(2):
        metrics.decided(allowed=False, reason="Pending", seconds=0.0002)
    metrics.decided(allowed=True, reason="Approved", seconds=0.02)
    shown = samples(metrics)
    assert shown['countersign_decisions_total{allowed="false",reason="Pending"}'] == 2
    assert shown['countersign_decisions_total{allowed="true",reason="Approved"}'] == 1
    assert shown['countersign_decision_seconds_bucket{le="0.00025"}'] == 2
    assert shown["countersign_decision_seconds_count"] == 3


def test_an_outage_never_looks_like_a_policy() -> None:
    metrics = PrometheusMetrics(version="1.2.3")
    assert samples(metrics)['countersign_undecided_total{cause="unable"}'] == 0
    metrics.decided(allowed=False, reason="Unable", seconds=5)
    metrics.failed()
    shown = samples(metrics)
    assert shown['countersign_undecided_total{cause="unable"}'] == 1
    assert shown['countersign_undecided_total{cause="error"}'] == 1
    assert not any(name.startswith("countersign_decisions_total") for name in shown)


def test_what_reaches_the_webhook_is_counted_whatever_it_is() -> None:
    metrics = PrometheusMetrics(version="1.2.3")
    assert samples(metrics)["countersign_webhook_requests_total"] == 0
    metrics.received()
    metrics.unreadable(413)
    shown = samples(metrics)
    assert shown["countersign_webhook_requests_total"] == 1
    assert shown['countersign_webhook_unreadable_total{code="413"}'] == 1


def test_gauges_are_read_when_they_are_asked_for() -> None:
    metrics = PrometheusMetrics(version="1.2.3")
    ages: dict[str, float] = {}
    metrics.gauge("countersign_state_age_seconds", "How old.", "resource", lambda: ages)
    assert 'countersign_state_age_seconds{resource="namespaces"}' not in samples(metrics)
    ages["namespaces"] = 1.5
    shown = samples(metrics)
    assert shown['countersign_state_age_seconds{resource="namespaces"}'] == 1.5
    assert shown['countersign_build_info{version="1.2.3"}'] == 1
    assert shown["process_resident_memory_bytes"] > 0


def test_two_of_them_do_not_share_their_numbers() -> None:
    one, other = PrometheusMetrics(version="1"), PrometheusMetrics(version="2")
    one.received()
    assert samples(other)["countersign_webhook_requests_total"] == 0
