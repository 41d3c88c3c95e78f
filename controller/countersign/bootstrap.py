"""The only place that builds adapters and joins them to services."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from countersign.adapters.access import ApiAccess
from countersign.adapters.access_metrics import AccessCounters
from countersign.adapters.api import KubernetesApi
from countersign.adapters.certificates import ServingCertificate
from countersign.adapters.clock import ServerClock, SystemClock
from countersign.adapters.decision_log import StreamDecisionLog
from countersign.adapters.live import ApiLiveLook
from countersign.adapters.metrics import PrometheusMetrics
from countersign.adapters.notes import NoteBox
from countersign.adapters.owner import ChartRole
from countersign.adapters.parsers import WireParsers
from countersign.adapters.reach import Reach
from countersign.adapters.requests import ApiRequests
from countersign.adapters.store import ClusterStore
from countersign.adapters.watch import Watches
from countersign.domain.limits import Bounds
from countersign.service.authorizing import Authorizing
from countersign.service.judging import Judge, Terms
from countersign.service.noting import Noting
from countersign.service.opening import Opening
from countersign.service.review import Outside, Review
from countersign.settings import Settings, SettingsError, api_of
from countersign.wire.resources import parse_environment

if TYPE_CHECKING:
    from countersign.adapters.person import PersonalApi
    from countersign.service.selftest import SelfTest

VERSION = version("countersign")


@dataclass(frozen=True, slots=True)
class Webhook:
    """All parts of the webhook's process; `api` is to be closed at the end."""

    api: KubernetesApi
    watches: Watches
    certificate: ServingCertificate
    reach: Reach
    metrics: PrometheusMetrics
    review: Review
    noting: Noting
    access: tuple[Authorizing, AccessCounters] | None


def build_api(settings: Settings, process: str) -> KubernetesApi:
    return KubernetesApi(
        server=settings.api_server,
        ca_file=settings.api_ca_file,
        token_file=settings.token_file,
        user_agent=f"countersign-{process}/{VERSION}",
        clock=SystemClock(),
    )


@asynccontextmanager
async def open_cluster(environment: Mapping[str, str]) -> AsyncGenerator[tuple["KubernetesApi | PersonalApi", ApiAccess], None]:
    """The API for a person's command: by COUNTERSIGN_API_SERVER and its like, or in a pod; else by the kubeconfig. Raises ApiError."""
    found = api_of(environment)
    api: KubernetesApi | PersonalApi
    if found is None:
        from countersign.adapters import person  # noqa: PLC0415  # with YAML and more, of which the webhook needs nothing

        api = await person.PersonalApi.open()
    else:
        server, ca_file, token_file = found
        api = KubernetesApi(server=server, ca_file=ca_file, token_file=token_file, user_agent=f"countersign-posture/{VERSION}")
    try:
        yield api, ApiAccess(api)
    finally:
        await api.close()


@asynccontextmanager
async def open_selftest(environment: Mapping[str, str], *, within: float) -> AsyncGenerator["SelfTest", None]:
    """With the credentials of a pod, or of COUNTERSIGN_API_SERVER and its like. Raises SettingsError."""
    from countersign.adapters.attempt import DryAttempt  # noqa: PLC0415  # of which the webhook needs nothing
    from countersign.service.selftest import SelfTest  # noqa: PLC0415  # as above

    found = api_of(environment)
    if found is None:
        raise SettingsError(
            "It runs in a pod (helm test), or with COUNTERSIGN_API_SERVER, COUNTERSIGN_API_CA_FILE and COUNTERSIGN_TOKEN_FILE set."
        )
    server, ca_file, token_file = found
    agent = f"countersign-selftest/{VERSION}"
    api = KubernetesApi(server=server, ca_file=ca_file, token_file=token_file, user_agent=agent)
    namespace = environment.get("COUNTERSIGN_NAMESPACE") or "countersign"
    attempt = DryAttempt(server, ca_file, f"{agent} (as its throw-away agent)")
    try:
        yield SelfTest(api, attempt, SystemClock(), parse_environment, namespace=namespace, within=within)
    finally:
        await api.close()


def build_webhook(settings: Settings) -> Webhook:
    """To be called inside the running event loop. Raises OSError where the decision log cannot be written."""
    clock = SystemClock()
    api = build_api(settings, "webhook")
    store = ClusterStore(settings.cluster_name)
    watches = Watches(api, store, clock, plurals=store.plurals(), stale_after=settings.stale_after.total_seconds())
    metrics = PrometheusMetrics(version=VERSION)
    metrics.gauge("countersign_state_age_seconds", "Seconds since each kind was last heard of.", "resource", watches.ages)
    metrics.gauge(
        "countersign_clock_ahead_seconds",
        "How far this process's clock is ahead of another's.",
        "of",
        lambda: {"kube-apiserver": api.clock_ahead.total_seconds()},
    )
    log = StreamDecisionLog(replica=settings.replica, version=VERSION, clock=clock)
    box = NoteBox(api, ChartRole(api), namespace=settings.namespace)
    noting = Noting(box, clock, lambda: log.link, every=settings.note_every)
    outside = Outside(
        state=watches,
        live=ApiLiveLook(api, watches.snapshot, clock_ahead=lambda: api.clock_ahead),
        clock=clock,
        log=log,
        metrics=metrics,
        parsers=WireParsers(),
        witness=noting,
    )
    judge = Judge(
        outside.parsers,
        Terms(cool_off=settings.cool_off, our_namespace=settings.namespace, profile=settings.profile, glass_ahead=settings.glass_ahead),
    )
    certificate = ServingCertificate(
        api, ServerClock(clock, lambda: api.clock_ahead), namespace=settings.namespace, client_authorities=settings.client_authorities
    )
    metrics.gauge(
        "countersign_serving_certificate_expiry_timestamp_seconds",
        "When the certificate that this replica serves ends; nothing while it has none.",
        "certificate",
        lambda: {"serving": certificate.expires.timestamp()} if certificate.expires is not None else {},
    )
    bounds = Bounds(settings.max_open_requests)
    return Webhook(
        api=api,
        watches=watches,
        certificate=certificate,
        reach=Reach(api, clock),
        metrics=metrics,
        review=Review(outside, judge, Opening(ApiRequests(api), ttl=settings.request_ttl, bounds=bounds, remember=settings.stale_after)),
        noting=noting,
        access=_access(settings, outside, metrics) if settings.authorizer else None,
    )


def _access(settings: Settings, outside: Outside, metrics: PrometheusMetrics) -> tuple[Authorizing, AccessCounters]:
    counters = AccessCounters(metrics.registry)
    return Authorizing(outside.state, outside.clock, outside.log, counters, our_namespace=settings.namespace), counters
