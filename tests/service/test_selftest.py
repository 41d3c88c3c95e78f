"""`countersign selftest`: it passes for a deletion that is held back and for nothing else, says what it saw, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from countersign.domain.document import JsonObject
from countersign.domain.resources import Mode, ProtectedEnvironment, Requirement, Selector
from countersign.domain.selftest import AGENT_ACCOUNT, NAME, Attempt, Outcome, labels_for, outcome_of
from countersign.service import selftest
from countersign.service.ports import ApiError
from countersign.service.selftest import SelfTest, Verdict
from countersign.wire.resources import parse_environment
from tests.support.api import MemoryApi
from tests.support.operator import HandClock

DEFAULT = "/apis/kube-countersign.dev/v1alpha1/protectedenvironments/default"
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/countersign"
IDENTITY = f"/apis/kube-countersign.dev/v1alpha1/agentidentities/{NAME}"
NAMESPACE = f"/api/v1/namespaces/{NAME}"
ACCOUNT = f"/api/v1/namespaces/countersign/serviceaccounts/{AGENT_ACCOUNT}"
HELD = Attempt(403, 'admission webhook "agents-0.kube-countersign.dev" denied the request: DRY RUN, nothing was deleted: …')
UNDECIDED = Attempt(500, 'admission webhook "agents-0.kube-countersign.dev" denied the request: COUNTERSIGN COULD NOT DECIDE, …')
RECORDED = Attempt(200, "", ('299 - "countersign: recognised as agent x, run by y (would be refused: an environment is in Audit mode)"',))
PASSED = Attempt(200, "")
FORBIDDEN = Attempt(403, 'namespaces "countersign-selftest" is forbidden: User "x" cannot delete resource "namespaces"')
UNANSWERED = Attempt(500, 'failed calling webhook "agents-0.kube-countersign.dev": connection refused')
POLICY = Attempt(403, "namespaces is forbidden: ValidatingAdmissionPolicy 'x' denied request: no")


class Api(MemoryApi):
    """With a token for whoever asks for one."""

    async def create(self, path: str, body: JsonObject, *, timeout: float = 10) -> JsonObject:
        if path.endswith("/token"):
            self._called("POST", path)
            return {"status": {"token": "the-agents"}}
        return await super().create(path, body, timeout=timeout)


@dataclass
class Agent:
    """Is answered one after another; the last answer stays. `seen`: what was there when it asked."""

    api: MemoryApi
    answers: list[Attempt]
    seen: list[tuple[str, str, Mapping[str, JsonObject]]] = field(default_factory=list)

    async def dry_delete(self, token: str, path: str) -> Attempt:
        self.seen.append((token, path, dict(self.api.objects)))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def environment(**spec: object) -> JsonObject:
    return {"metadata": {"name": "default", "uid": "u"}, "spec": {"protectFrom": "Agents", **spec}}


@pytest.fixture(autouse=True)
def _no_time_to_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "_PAUSE", 0.0)


class Stepping(HandClock):
    """A second passes whenever one looks."""

    def monotonic(self) -> float:
        self.forward(timedelta(seconds=1))
        return super().monotonic()


async def run(*answers: Attempt, within: float = 5.0, objects: Mapping[str, JsonObject] | None = None) -> tuple[Verdict, Api, Agent]:
    there = {DEFAULT: environment(), CONFIGURATION: {}} if objects is None else objects
    api = Api(*there.items())
    agent = Agent(api, list(answers))
    verdict = await SelfTest(api, agent, Stepping(), parse_environment, namespace="countersign", within=within).run()
    return verdict, api, agent


async def test_held_back_is_in_force() -> None:
    verdict, api, agent = await run(PASSED, FORBIDDEN, UNANSWERED, UNDECIDED, HELD, within=60)
    assert verdict.passed
    assert verdict.lines[0].startswith("IN FORCE after ")
    assert len(agent.seen) == 5
    token, path, there = agent.seen[0]
    assert (token, path) == ("the-agents", NAMESPACE)
    assert ACCOUNT in there
    assert there[IDENTITY]["spec"]["subjects"] == [{"kind": "ServiceAccount", "namespace": "countersign", "name": AGENT_ACCOUNT}]
    assert not {NAMESPACE, IDENTITY, ACCOUNT} & api.objects.keys(), "thrown away"


@pytest.mark.parametrize(
    ("answer", "begins"),
    [
        (PASSED, "NOT IN FORCE: an agent's deletion is let through. The operator has not"),
        (UNDECIDED, "FAILS CLOSED: deletions are held, but by a fault"),
        (UNANSWERED, "FAILS CLOSED: deletions are held, but since no webhook answers"),
        (FORBIDDEN, "NOT TESTED: the throw-away agent was not let as far as Countersign"),
        (POLICY, "NOT TESTED: the API server answered 403"),
        (Attempt(0, "nothing (TimeoutError())"), "NOT TESTED: the API server answered 0 nothing"),
    ],
)
async def test_anything_else_fails_and_says_what_it_was(answer: Attempt, begins: str) -> None:
    verdict, api, _ = await run(answer)
    assert not verdict.passed
    assert verdict.lines[0].startswith(begins)
    assert not {NAMESPACE, IDENTITY, ACCOUNT} & api.objects.keys(), "thrown away"


async def test_the_configuration_is_gone() -> None:
    verdict, _, _ = await run(PASSED, objects={DEFAULT: environment()})
    assert not verdict.passed
    assert "there is no ValidatingWebhookConfiguration countersign" in verdict.lines[0]


async def test_audit_is_said_to_be_no_protection() -> None:
    audit: dict[str, JsonObject] = {DEFAULT: environment(mode="Audit"), CONFIGURATION: {}}
    verdict, _, _ = await run(RECORDED, objects=audit)
    assert verdict.passed
    assert "not refused" in verdict.lines[0]
    verdict, _, _ = await run(PASSED, objects=audit)
    assert not verdict.passed, "in Audit mode too the webhook is asked"


async def test_without_the_default_environment() -> None:
    verdict, api, agent = await run(HELD, objects={})
    assert not verdict.passed
    assert "no ProtectedEnvironment default" in verdict.lines[0]
    assert not agent.seen
    assert not api.writes()


async def test_the_namespace_is_one_that_default_covers() -> None:
    chosen = {"matchLabels": {"tier": "prod"}, "matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}
    verdict, _, agent = await run(HELD, objects={DEFAULT: environment(namespaces={"selector": chosen})})
    assert verdict.passed
    assert agent.seen[0][2][NAMESPACE]["metadata"]["labels"] == {"tier": "prod", "team": "a"}
    verdict, api, _ = await run(HELD, objects={DEFAULT: environment(namespaces={"exclude": [NAME]})})
    assert not verdict.passed
    assert "covers no namespace countersign-selftest" in verdict.lines[0]
    assert not api.writes()


async def test_what_a_run_before_has_left_is_used() -> None:
    verdict, _, _ = await run(HELD, objects={DEFAULT: environment(), NAMESPACE: {}, IDENTITY: {}})
    assert verdict.passed


async def test_what_cannot_be_thrown_away_is_told() -> None:
    api = Api((DEFAULT, environment()))
    api.failing["DELETE", NAMESPACE] = ApiError(403, "WAITING FOR HUMAN SIGNATURES")
    verdict = await SelfTest(api, Agent(api, [HELD]), Stepping(), parse_environment, namespace="countersign").run()
    assert verdict.passed
    assert verdict.lines[1] == f"The Namespace {NAME} is left, for the next run: WAITING FOR HUMAN SIGNATURES"
    assert IDENTITY not in api.objects


async def test_a_webhook_that_does_not_answer_holds_back_the_preparation_too() -> None:
    api = Api((DEFAULT, environment()), (CONFIGURATION, {}))
    api.failing["POST", IDENTITY.rpartition("/")[0]] = ApiError(500, UNANSWERED.message)
    agent = Agent(api, [HELD])
    verdict = await SelfTest(api, agent, Stepping(), parse_environment, namespace="countersign", within=5).run()
    assert not verdict.passed
    assert verdict.lines[0].startswith("FAILS CLOSED: deletions are held, but since no webhook answers")
    assert not agent.seen
    assert NAMESPACE not in api.objects


async def test_half_made_is_cleared_up_too() -> None:
    api = Api((DEFAULT, environment()))
    api.failing["POST", IDENTITY.rpartition("/")[0]] = ApiError(403, "agents never create identities")
    with pytest.raises(ApiError, match="agents never"):
        await SelfTest(api, Agent(api, [HELD]), Stepping(), parse_environment, namespace="countersign").run()
    assert NAMESPACE not in api.objects


@pytest.mark.parametrize("selector", [
    Selector(),
    Selector({"a": "b"}, (Requirement("a", "In", ("b", "c")), Requirement("d", "Exists"), Requirement("e", "NotIn", ("f",)), Requirement("g", "DoesNotExist"))),
])  # fmt: skip
def test_labels_fit_every_selector_that_any_fit(selector: Selector) -> None:
    assert selector.matches(labels_for(selector))


def test_no_word_of_the_requesters_makes_it_held() -> None:
    """Only the API server writes `denied the request` with the name of a webhook of ours; RBAC repeats names that one may choose."""
    assert outcome_of(FORBIDDEN) is Outcome.NOT_ALLOWED
    assert outcome_of(Attempt(403, 'admission webhook "x.example.com" denied the request: no')) is not Outcome.HELD


def test_the_environments_mode_is_what_it_is_called() -> None:
    parsed = parse_environment(environment(mode="Audit"))
    assert isinstance(parsed, ProtectedEnvironment)
    assert parsed.mode is Mode.AUDIT
