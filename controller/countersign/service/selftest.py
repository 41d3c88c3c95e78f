"""Whether protection is in force, found out as an agent would: a namespace's deletion is asked for (dry run) by an agent made for it.

What is made is thrown away again. Where `default` protects from Everyone, people have to sign for that as for any deletion: it is left then, said so, and used again by
the next run.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

from countersign.domain.document import JsonObject, text
from countersign.domain.names import API_VERSION, DEFAULT_ENVIRONMENT, GROUP, VERSION
from countersign.domain.resources import ProtectedEnvironment
from countersign.domain.selftest import AGENT_ACCOUNT, NAME, Attempt, Outcome, cannot_be_covered, failure, labels_for, outcome_of, success
from countersign.service.ports import Api, ApiError, Clock, ConflictError, NotFoundError

WITHIN: Final = 60.0
"""Seconds in which an installation is to be in force."""
_PAUSE: Final = 0.5
_OURS: Final = f"/apis/{GROUP}/{VERSION}"
_NAMESPACES: Final = "/api/v1/namespaces"
_IDENTITIES: Final = f"{_OURS}/agentidentities"
_CONFIGURATION: Final = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/countersign"
_MINUTES: Final = 600


class Agent(Protocol):
    async def dry_delete(self, token: str, path: str) -> Attempt:
        """Ask as the bearer of a token for a deletion that is not carried out. Raises nothing: no answer is an Attempt too."""


class Environments(Protocol):
    def __call__(self, document: JsonObject, /) -> ProtectedEnvironment:
        """Raises WireError."""


@dataclass(frozen=True, slots=True)
class Verdict:
    passed: bool
    lines: tuple[str, ...]


class SelfTest:
    """`namespace` is that of Countersign; `within` seconds the agent has to be held."""

    def __init__(self, api: Api, agent: Agent, clock: Clock, parse: Environments, *, namespace: str, within: float = WITHIN) -> None:
        self._api = api
        self._agent = agent
        self._clock = clock
        self._parse = parse
        self._namespace = namespace
        self._accounts = f"{_NAMESPACES}/{namespace}/serviceaccounts"
        self._within = within

    async def run(self) -> Verdict:
        """Raises ApiError where something of it cannot be made or read, once the rest is cleared up."""
        try:
            default = self._parse(await self._api.get(f"{_OURS}/protectedenvironments/{DEFAULT_ENVIRONMENT}"))
        except NotFoundError:
            return Verdict(
                passed=False, lines=("NOT IN FORCE: there is no ProtectedEnvironment default, which the chart makes: helm upgrade",)
            )
        labels = labels_for(default.selector)
        if not default.covers(NAME, labels):
            return Verdict(passed=False, lines=(cannot_be_covered(default, labels.items()),))
        try:
            verdict = await self._attempt(default, labels)
        finally:
            made = (
                (_IDENTITIES, "AgentIdentity", NAME),
                (_NAMESPACES, "Namespace", NAME),
                (self._accounts, "ServiceAccount", AGENT_ACCOUNT),
            )
            left = [line for line in [await self._clear_up(*each) for each in made] if line]
        return Verdict(verdict.passed, (*verdict.lines, *left))

    async def _attempt(self, default: ProtectedEnvironment, labels: dict[str, str]) -> Verdict:
        began = self._clock.monotonic()
        while True:
            attempt = await self._once(labels)
            outcome, seconds = outcome_of(attempt), self._clock.monotonic() - began
            if outcome.settled:
                return Verdict(passed=True, lines=(success(outcome, default, seconds),))
            if seconds >= self._within:
                return Verdict(passed=False, lines=(await self._failure(outcome, attempt, default),))
            await asyncio.sleep(_PAUSE)

    async def _once(self, labels: dict[str, str]) -> Attempt:
        """Make what is not there yet, then ask. That a webhook which does not answer yet holds back the first already is an answer too."""
        subject = {"kind": "ServiceAccount", "namespace": self._namespace, "name": AGENT_ACCOUNT}
        identity = {"apiVersion": API_VERSION, "kind": "AgentIdentity", "metadata": {"name": NAME}}
        try:
            await self._make(self._accounts, {"metadata": {"name": AGENT_ACCOUNT}, "automountServiceAccountToken": False})
            await self._make(_NAMESPACES, {"metadata": {"name": NAME, "labels": labels}})
            await self._make(_IDENTITIES, {**identity, "spec": {"sponsors": [NAME], "subjects": [subject]}})
        except ApiError as error:
            attempt = Attempt(error.status, str(error))
            if outcome_of(attempt) not in (Outcome.UNANSWERED, Outcome.UNDECIDED):
                raise
            return attempt
        return await self._agent.dry_delete(await self._token(), f"{_NAMESPACES}/{NAME}")

    async def _failure(self, outcome: Outcome, attempt: Attempt, default: ProtectedEnvironment) -> str:
        registered = True
        try:
            await self._api.get(_CONFIGURATION)
        except NotFoundError:
            registered = False
        return failure(outcome, attempt, default, registered=registered, namespace=self._namespace)

    async def _make(self, collection: str, body: JsonObject) -> None:
        """Unless a run before has left it; what that one has thrown away may still be going. Raises ApiError."""
        until = self._clock.monotonic() + self._within
        while True:
            try:
                await self._api.create(collection, body)
            except ConflictError:
                if not await self._is_going(f"{collection}/{text(body, 'metadata', 'name')}") or self._clock.monotonic() >= until:
                    return
                await asyncio.sleep(_PAUSE)
            else:
                return

    async def _is_going(self, path: str) -> bool:
        try:
            return bool(text(await self._api.get(path), "metadata", "deletionTimestamp"))
        except NotFoundError:
            return True

    async def _token(self) -> str:
        """Raises ApiError."""
        path = f"{self._accounts}/{AGENT_ACCOUNT}/token"
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": _MINUTES}}
        return text(await self._api.create(path, review), "status", "token")

    async def _clear_up(self, collection: str, kind: str, name: str) -> str:
        """A sentence where it is left."""
        try:
            await self._api.delete(f"{collection}/{name}")
        except NotFoundError:
            return ""
        except ApiError as error:
            return f"The {kind} {name} is left, for the next run: {error}"
        return ""
