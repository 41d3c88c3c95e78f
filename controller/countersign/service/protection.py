"""Keeps the cluster as the environments and identities say: guards, certificate, labels, registration, conditions.

`plan` is pure and its `Plan` can be printed; `Protection` acts on one.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from countersign.domain.document import JsonObject
from countersign.domain.identify import SERVICE_ACCOUNT, Agent
from countersign.domain.marks import label_value, level_of
from countersign.domain.names import DEFAULT_ENVIRONMENT, GROUP, LABEL_AGENT, LABEL_PROTECTED, VERSION
from countersign.domain.protect import was_approved
from countersign.domain.request import UserInfo
from countersign.domain.resources import AgentIdentity, ProtectedEnvironment, Registration, Reviewer
from countersign.domain.selfcheck import able_to_sign
from countersign.domain.snapshot import Snapshot
from countersign.service.keeping import (
    Account,
    Accounts,
    AuthorizerFiles,
    Certificates,
    Condition,
    DefaultWatch,
    Definitions,
    Guards,
    Report,
    Statuses,
)
from countersign.service.ports import Api, ApiError, Clock, NotFoundError

_log = logging.getLogger(__name__)

_ENVIRONMENTS: Final = f"/apis/{GROUP}/{VERSION}/protectedenvironments"


@dataclass(frozen=True, slots=True)
class Label:
    """One label to set, or to take away where `value` is None."""

    path: str
    key: str
    value: str | None

    @property
    def patch(self) -> JsonObject:
        return {"metadata": {"labels": {self.key: self.value}}}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written. Empty once everything is as it should be, but for `reports`, of which only news is written."""

    labels: tuple[Label, ...]
    close_registration: bool
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the guards were made from. Of nothing that was registered or changed while they were written is it said that it is in force."""

    identities: tuple[AgentIdentity, ...]
    environments: tuple[ProtectedEnvironment, ...]

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Compiled":
        return cls(tuple(snapshot.identities.values()), tuple(snapshot.environments.values()))


def plan(
    snapshot: Snapshot,
    compiled: Compiled,
    accounts: Iterable[Account],
    left_out: Sequence[str],
    now: datetime,
    about_default: tuple[Condition, ...] = (),
) -> Plan:
    """`about_default`: what else there is to say of the environment `default`."""
    return Plan(
        labels=(*_namespace_labels(snapshot), *_account_labels(snapshot, accounts)),
        close_registration=registration_is_due(snapshot, now),
        reports=(
            *_identity_reports(compiled.identities, left_out),
            *_reviewer_reports(snapshot, now),
            *_environment_reports(compiled.environments, snapshot, now, about_default),
        ),
    )


def _namespace_labels(snapshot: Snapshot) -> Iterable[Label]:
    for name, namespace in sorted(snapshot.namespaces.items()):
        level = level_of(namespace, snapshot.environments.values())
        if namespace.labels.get(LABEL_PROTECTED) != level and not namespace.meta.deleting:
            yield Label(f"/api/v1/namespaces/{name}", LABEL_PROTECTED, level)


def _account_labels(snapshot: Snapshot, accounts: Iterable[Account]) -> Iterable[Label]:
    """Agents' accounts bear their agent's name.

    From others it is taken only where it names an agent that is no more: what an agent creates bears it too, accounts like all else.
    """
    known = {label_value(name) for name in snapshot.identities}
    for account in accounts:
        groups = frozenset({"system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{account.namespace}"})
        who = snapshot.directory.identify(UserInfo(f"{SERVICE_ACCOUNT}{account.namespace}:{account.name}", groups=groups))
        path = f"/api/v1/namespaces/{account.namespace}/serviceaccounts/{account.name}"
        present = account.labels.get(LABEL_AGENT)
        if isinstance(who, Agent):
            wanted = label_value(who.identities[0])
            if present != wanted:
                yield Label(path, LABEL_AGENT, wanted)
        elif present is not None and present not in known:
            yield Label(path, LABEL_AGENT, None)


def registration_is_due(snapshot: Snapshot, now: datetime) -> bool:
    """Whether registration is to be closed: enough people for every environment, and one change request approved (docs/rules.md)."""
    default = snapshot.default
    if default is None or default.registration is Registration.CLOSED:
        return False
    enough = all(
        len(able_to_sign(environment, snapshot, now)) >= environment.approvals.required for environment in snapshot.environments.values()
    )
    return enough and any(was_approved(request, snapshot) for request in snapshot.requests.values())


def _identity_reports(identities: Iterable[AgentIdentity], left_out: Sequence[str]) -> Iterable[Report]:
    for identity in sorted(identities, key=lambda identity: identity.meta.name):
        if identity.meta.name in left_out:
            sentence = "There is no room for so many single names: use globs or groups. Its requests are not held back."
            condition = Condition("InForce", holds=False, reason="TooManyAgents", message=sentence)
        else:
            condition = Condition(
                "InForce", holds=True, reason="Compiled", message="The API server holds back what this agent may not do alone."
            )
        yield Report("agentidentities", identity.meta, (condition,))


def _reviewer_reports(snapshot: Snapshot, now: datetime) -> Iterable[Report]:
    for reviewer in sorted(snapshot.reviewers.values(), key=lambda reviewer: reviewer.meta.name):
        yield Report("reviewers", reviewer.meta, (_can_sign(reviewer, now),))


def _can_sign(reviewer: Reviewer, now: datetime) -> Condition:
    good = [key.name for key in reviewer.keys if key.not_after is None or now < key.not_after]
    if good:
        return Condition("CanSign", holds=True, reason="HasKey", message=f"Signs with {', '.join(good)}.")
    if reviewer.keys:
        return Condition("CanSign", holds=False, reason="KeysExpired", message="All keys have expired: register a new one.")
    return Condition("CanSign", holds=False, reason="NoKey", message="No key is registered: this person can sponsor agents, but not sign.")


def _environment_reports(
    environments: Iterable[ProtectedEnvironment],
    snapshot: Snapshot,
    now: datetime,
    about_default: tuple[Condition, ...],
    failure: str = "",
) -> Iterable[Report]:
    in_force = Condition(
        "InForce", holds=True, reason="Compiled", message="The API server sends what this environment guards to the webhook."
    )
    if failure:
        in_force = Condition("InForce", holds=False, reason="NotWritten", message=f"A guard could not be written: {failure}"[:4000])
    for environment in sorted(environments, key=lambda environment: environment.meta.name):
        more = about_default if environment.meta.name == DEFAULT_ENVIRONMENT else ()
        yield Report("protectedenvironments", environment.meta, (in_force, _satisfiable(environment, snapshot, now), *more))


def _satisfiable(environment: ProtectedEnvironment, snapshot: Snapshot, now: datetime) -> Condition:
    people = able_to_sign(environment, snapshot, now)
    required = environment.approvals.required
    count = f"{required} {'signature is' if required == 1 else 'signatures are'} required, {len(people)} people could sign"
    if len(people) >= required:
        return Condition("Satisfiable", holds=True, reason="EnoughReviewers", message=f"{count}.")
    return Condition("Satisfiable", holds=False, reason="TooFewReviewers", message=f"{count}: register more Reviewers, or require fewer.")


class Protection:
    """One `reconcile` brings everything to its place; what fails is tried again at the next."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        *,
        definitions: Definitions,
        certificates: Certificates,
        guards: Guards,
        accounts: Accounts,
        statuses: Statuses,
        authorizer: AuthorizerFiles | None = None,
        watch: DefaultWatch | None = None,
    ) -> None:
        self._api = api
        self._clock = clock
        self._definitions = definitions
        self._certificates = certificates
        self._guards = guards
        self._accounts = accounts
        self._statuses = statuses
        self._authorizer = authorizer
        self._watch = watch
        self._bundle: bytes | None = None

    async def reconcile(self, snapshot: Snapshot) -> Plan:
        """Guards before all else. Raises ApiError."""
        await self._definitions.ensure()
        bundle, failed = await self._trusted()
        if bundle is None:
            return Plan((), close_registration=False, reports=())  # Countersign is being uninstalled
        compiled = Compiled.of(snapshot)  # the snapshot's own maps go on with the cluster while guards are written
        try:
            left_out = await self._guards.keep(compiled.identities, compiled.environments, bundle)
        except ApiError as error:
            await self._say_what_is_not_in_force(snapshot, error)
            raise
        about_default = await self._about_default(snapshot)
        made = plan(snapshot, compiled, self._accounts.all(), left_out, self._clock.now(), about_default)
        failed = await self._keep_files(compiled.identities, bundle) or failed
        await self.act(made)
        if failed is not None:
            raise failed
        return made

    async def _trusted(self) -> tuple[bytes | None, ApiError | None]:
        """The CA bundle. Where the certificate cannot be looked after, the guards are kept with the one of before all the same. Raises ApiError."""
        try:
            self._bundle = await self._certificates.ensure()
        except ApiError as error:
            if self._bundle is None:
                raise
            return self._bundle, error
        return self._bundle, None

    async def _keep_files(self, identities: Sequence[AgentIdentity], bundle: bytes) -> ApiError | None:
        """Neither waits for the labels of others, nor keeps them back."""
        if self._authorizer is not None:
            try:
                await self._authorizer.keep(identities, bundle)
            except ApiError as error:
                return error
        return None

    async def _about_default(self, snapshot: Snapshot) -> tuple[Condition, ...]:
        if self._watch is None:
            return ()
        await self._watch.settle(snapshot.default)
        return self._watch.conditions(snapshot.default) if snapshot.default is not None else ()

    async def _say_what_is_not_in_force(self, snapshot: Snapshot, error: ApiError) -> None:
        """Somebody may keep a guard from being written: then above all people must hear of it."""
        about_default = await self._about_default(snapshot)
        for report in _environment_reports(snapshot.environments.values(), snapshot, self._clock.now(), about_default, str(error)):
            await self._statuses.report(report)

    async def act(self, made: Plan) -> None:
        """Raises the first ApiError, once all has been tried."""
        failed: ApiError | None = None
        for label in made.labels:
            failed = await self._label(label) or failed
        if made.close_registration:
            await self._close_registration()
        for report in made.reports:
            await self._statuses.report(report)
        if failed is not None:
            raise failed

    async def _close_registration(self) -> None:
        """Through our own webhook, as everybody's change: while that is down it waits for another round, and counts as closed anyhow."""
        try:
            await self._api.patch(f"{_ENVIRONMENTS}/{DEFAULT_ENVIRONMENT}", {"spec": {"registration": Registration.CLOSED.value}})
        except ApiError as error:
            _log.warning("registration could not be closed yet: %s", error)
        else:
            _log.info("registration is closed: from now on a new reviewer or key has to be signed for")

    async def _label(self, label: Label) -> ApiError | None:
        try:
            await self._api.patch(label.path, label.patch)
        except NotFoundError:
            return None
        except ApiError as error:
            _log.warning("cannot label %s: %s", label.path, error)
            return error
        return None
