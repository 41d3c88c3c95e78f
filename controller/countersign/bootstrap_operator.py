"""Builds the operator's adapters and joins them to its services; kept from `bootstrap` so that the webhook loads none of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import uuid4

from countersign.adapters.access import ApiAccess
from countersign.adapters.accounts import AccountBook
from countersign.adapters.api import KubernetesApi
from countersign.adapters.authority import OwnAuthority, server_names
from countersign.adapters.authorizer_files import ConfigMapFiles
from countersign.adapters.brought import BroughtPair
from countersign.adapters.census import Census, Sink
from countersign.adapters.clock import ServerClock, SystemClock
from countersign.adapters.decision_log import StreamDecisionLog
from countersign.adapters.definitions import PackagedDefinitions
from countersign.adapters.guard_watch import GuardWatch
from countersign.adapters.guards import GuardKeeper
from countersign.adapters.impact import ApiImpact
from countersign.adapters.lease import Lease
from countersign.adapters.live import ApiLiveLook
from countersign.adapters.notes import NoteBox
from countersign.adapters.notices import ApiNotices
from countersign.adapters.owner import ChartRole
from countersign.adapters.rights import RightsWatch
from countersign.adapters.status import StatusBoard
from countersign.adapters.store import ClusterStore
from countersign.adapters.upkeep import UpkeepMetrics
from countersign.bootstrap import VERSION, build_api
from countersign.domain.document import JsonObject
from countersign.domain.names import GROUP
from countersign.domain.names import VERSION as API_VERSION
from countersign.domain.posture import Terms
from countersign.service.drift import Drift
from countersign.service.glass import GlassWatch, glass_condition
from countersign.service.keeping import CertificateSource
from countersign.service.ledger import Ledger
from countersign.service.lifecycle import Keeping, Lifecycle
from countersign.service.ports import Clock
from countersign.service.posture import Postures, Told
from countersign.service.protection import Protection
from countersign.service.rollover import Rollover
from countersign.service.shadows import Shadows
from countersign.service.tampering import Tampering
from countersign.service.trust import Trust
from countersign.service.upkeep import Upkeep
from countersign.settings import CERT_MANAGER, OPERATOR, Settings
from countersign.wire.guards.jail import is_jailed
from countersign.wire.resources.identity import render_could_become
from countersign.wire.resources.trial import TrialStatus

_NOTES_TAKEN: Final = timedelta(seconds=10)
ACCOUNTS_PATH = "/api/v1/serviceaccounts"


@dataclass(frozen=True, slots=True)
class Operator:
    """All parts of the operator's process; `api` and `repairing` are to be closed at the end."""

    settings: Settings
    api: KubernetesApi
    lease: Lease
    store: ClusterStore
    statuses: StatusBoard
    accounts: AccountBook
    definitions: PackagedDefinitions
    guards: GuardKeeper
    guard_watch: GuardWatch
    repairing: KubernetesApi
    notices: ApiNotices
    metrics: UpkeepMetrics
    census: Census
    upkeep: Upkeep
    rights: RightsWatch
    postures: Postures
    ledger: Ledger


def path_of(plural: str) -> str:
    """Where a kind that the store knows is listed."""
    return "/api/v1/namespaces" if plural == "namespaces" else f"/apis/{GROUP}/{API_VERSION}/{plural}"


def build_operator(settings: Settings) -> Operator:
    """To be called inside the running event loop."""
    clock = SystemClock()
    api = build_api(settings, "operator")
    identity = f"{settings.replica}_{uuid4().hex[:12]}"
    metrics = UpkeepMetrics(version=VERSION)
    store, statuses, accounts = ClusterStore(settings.cluster_name), StatusBoard(api, clock), AccountBook()
    definitions = PackagedDefinitions(api)
    notices = ApiNotices(api, clock, instance=identity)

    records = StreamDecisionLog(replica=settings.replica, version=VERSION, clock=clock)
    shadows = Shadows(notices, metrics, namespace=settings.namespace)
    owner = ChartRole(api)
    rollover = _rollover(api, ServerClock(clock, lambda: api.clock_ahead), settings, owner, notices, metrics)
    tampering = Tampering(
        api,
        clock,
        log=records,
        notices=notices,
        statuses=statuses,
        meter=metrics,
        number=lambda: uuid4().hex[:8],
        lockdown=settings.lockdown_after_tampering,
        also=(lambda default: glass_condition(default, clock.now()), shadows.condition, rollover.condition),
    )
    repairing = build_api(settings, "operator")  # with connections of its own, so that a repair waits for nobody
    guards = GuardKeeper(
        repairing,
        clock,
        namespace=settings.namespace,
        webhook_url=settings.webhook_url,
        owners=settings.namespace_owners,
        profile=settings.profile,
        jail=settings.policy_jail,
        told=tampering.repaired,
    )
    protection = Protection(
        api,
        clock,
        definitions=definitions,
        certificates=rollover,
        guards=guards,
        accounts=accounts,
        statuses=statuses,
        authorizer=_authorizer_files(api, clock, settings) if settings.authorizer else None,
        watch=tampering,
    )
    live = ApiLiveLook(api, store.snapshot)
    lifecycle = Lifecycle(
        api,
        clock,
        live,
        statuses=statuses,
        impact=ApiImpact(api),
        notices=notices,
        keeping=Keeping(cool_off=settings.cool_off, keep_ended=settings.keep_ended),
    )
    rights = RightsWatch(api)
    postures = Postures(
        store,
        rights,
        ApiAccess(api),
        Told(statuses, notices, metrics, render_could_become),
        clock,
        lambda snapshot: Terms(
            settings.namespace,
            settings.profile,
            snapshot.listed,
            frozenset(name for name, identity in snapshot.identities.items() if settings.policy_jail and is_jailed(identity)),
        ),
    )
    rights.tell(postures.wake)
    ledger = Ledger(
        NoteBox(api, owner, namespace=settings.namespace),
        live,
        statuses,
        clock,
        TrialStatus(),
        lambda: records.link,
        every=min(settings.note_every, _NOTES_TAKEN),
    )
    watchers = (Drift(api, notices, metrics), GlassWatch(clock, records, notices, metrics), shadows, ledger)
    upkeep = Upkeep(store, protection, lifecycle, clock, metrics, watchers=watchers)
    tampering.wake = upkeep.wake
    return Operator(
        settings=settings,
        api=api,
        lease=Lease(api, clock, owner, namespace=settings.namespace, name="countersign-operator", identity=identity),
        store=store,
        statuses=statuses,
        accounts=accounts,
        definitions=definitions,
        guards=guards,
        notices=notices,
        metrics=metrics,
        census=Census(api, _sinks(store, statuses, accounts)),
        upkeep=upkeep,
        repairing=repairing,
        guard_watch=GuardWatch(repairing, guards, shadows, upkeep.wake),
        rights=rights,
        postures=postures,
        ledger=ledger,
    )


def _rollover(
    api: KubernetesApi, clock: Clock, settings: Settings, owner: ChartRole, notices: ApiNotices, metrics: UpkeepMetrics
) -> Rollover:
    names = server_names(settings.namespace, settings.webhook_url)
    return Rollover(
        api,
        clock,
        owner,
        _certificate_source(api, settings, names),
        Trust(api, clock),
        namespace=settings.namespace,
        name=names[0],
        on_hosts=settings.authorizer,
        notices=notices,
        meter=metrics,
    )


def _certificate_source(api: KubernetesApi, settings: Settings, names: Sequence[str]) -> CertificateSource:
    namespace, secret = settings.namespace, settings.certificate_secret
    if settings.certificate_source == OPERATOR:
        return OwnAuthority(api, namespace=namespace, names=names)
    if settings.certificate_source == CERT_MANAGER:
        keeper = "cert-manager renews it."
        missing = f"see why cert-manager has not written it (kubectl -n {namespace} describe certificate countersign-webhook)"
    else:
        keeper = f"Put the next one into the Secret {namespace}/{secret} before."
        missing = (
            f"make it (kubectl -n {namespace} create secret generic {secret} --from-file=tls.crt --from-file=tls.key --from-file=ca.crt)"
        )
    return BroughtPair(
        api,
        namespace=namespace,
        secret=secret,
        authorities=settings.certificate_authorities,
        name=names[0],
        keeper=keeper,
        missing=missing,
    )


def _authorizer_files(api: KubernetesApi, clock: SystemClock, settings: Settings) -> ConfigMapFiles:
    return ConfigMapFiles(
        api,
        clock,
        namespace=settings.namespace,
        webhook_url=settings.webhook_url,
        folder=settings.authorizer_folder,
        shows_certificate=bool(settings.client_names),
    )


def _sinks(store: ClusterStore, statuses: StatusBoard, accounts: AccountBook) -> dict[str, Sink]:
    sinks: dict[str, Sink] = {path_of(plural): partial(_take, store, statuses, plural) for plural in store.plurals()}
    return sinks | {ACCOUNTS_PATH: accounts.replace}


def _take(store: ClusterStore, statuses: StatusBoard, plural: str, documents: Sequence[JsonObject]) -> None:
    store.replace(plural, documents)
    if plural != "namespaces":
        statuses.replace(plural, documents)
