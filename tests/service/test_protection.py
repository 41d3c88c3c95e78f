"""What the operator writes so that the cluster is as environments and identities say: pure plans first, then acting on one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from countersign.domain.names import LABEL_AGENT, LABEL_PROTECTED
from countersign.domain.resources import Meta, ProtectFrom, Registration, ReviewerKey, Selector, Subject, SubjectKind
from countersign.domain.snapshot import Snapshot
from countersign.service.keeping import Account, Condition
from countersign.service.ports import ApiError
from countersign.service.protection import Compiled, Label, Plan, Protection, plan, registration_is_due
from tests.support.api import MemoryApi
from tests.support.objects import (
    HOUR,
    NOW,
    approval,
    change_request,
    environment,
    identity,
    namespace,
    person,
    snapshot,
)
from tests.support.operator import (
    HandClock,
    MemoryAccounts,
    MemoryAuthorizerFiles,
    MemoryCertificates,
    MemoryDefinitions,
    MemoryGuards,
    MemoryStatuses,
)

GOLD = Selector({"tier": "gold"})


def planned(view: Snapshot, accounts: Sequence[Account] = (), left_out: Sequence[str] = ()) -> Plan:
    return plan(view, Compiled.of(view), accounts, left_out, NOW)


def condition(made: Plan, plural: str, name: str, kind: str) -> Condition:
    report = next(report for report in made.reports if (report.plural, report.meta.name) == (plural, name))
    return next(condition for condition in report.conditions if condition.type == kind)


class TestNamespaceLabels:
    def test_the_strictest_environment_that_covers_it(self) -> None:
        view = snapshot(
            environment(exclude=("kube-system",)),
            environment("people", ProtectFrom.PEOPLE, selector=GOLD),
            environment("everyone", ProtectFrom.EVERYONE, selector=Selector({"tier": "gold", "really": "yes"})),
            namespace("plain"),
            namespace("gold", {"tier": "gold"}),
            namespace("golden", {"tier": "gold", "really": "yes"}),
            namespace("kube-system"),
        )
        assert {label.path.rpartition("/")[2]: label.value for label in planned(view).labels} == {
            "plain": "Agents",
            "gold": "People",
            "golden": "Everyone",
        }

    def test_it_goes_where_nothing_covers_it_any_more(self) -> None:
        view = snapshot(environment(selector=GOLD), namespace("free", {LABEL_PROTECTED: "People"}))
        assert planned(view).labels == (Label("/api/v1/namespaces/free", LABEL_PROTECTED, None),)

    def test_what_is_right_is_left_alone(self) -> None:
        view = snapshot(namespace("payments", {LABEL_PROTECTED: "Agents"}))
        assert planned(view).labels == ()

    def test_a_namespace_that_goes_is_left_alone(self) -> None:
        going = replace(namespace("payments"), meta=Meta("payments", deleting=True))
        assert planned(snapshot(going)).labels == ()


class TestAccountLabels:
    def test_agents_accounts_bear_their_name(self) -> None:
        accounts = [Account("agents", "kiro", {}), Account("agents", "default", {}), Account("agents", "other", {LABEL_AGENT: "kiro"})]
        assert planned(snapshot(), accounts).labels == (Label("/api/v1/namespaces/agents/serviceaccounts/kiro", LABEL_AGENT, "kiro"),)

    def test_by_namespace_and_by_the_namespaces_group_too(self) -> None:
        sandbox = identity(
            "sandbox", Subject(SubjectKind.SERVICE_ACCOUNT, "*", "sandbox"), Subject(SubjectKind.GROUP, "system:serviceaccounts:lab")
        )
        accounts = [
            Account("sandbox", "a", {}),
            Account("lab", "b", {LABEL_AGENT: "wrong"}),
            Account("sandbox", "c", {LABEL_AGENT: "sandbox"}),
        ]
        assert [(label.path.split("/")[4], label.value) for label in planned(snapshot(sandbox), accounts).labels] == [
            ("sandbox", "sandbox"),
            ("lab", "sandbox"),
        ]

    def test_it_goes_with_the_agent_it_names(self) -> None:
        accounts = [Account("ci", "was-an-agent", {LABEL_AGENT: "gone"}), Account("ci", "made-by-kiro", {LABEL_AGENT: "kiro"})]
        [label] = planned(snapshot(), accounts).labels
        assert (label.path.rpartition("/")[2], label.value) == ("was-an-agent", None)


class TestRegistration:
    def approved(self, **default: Any) -> Snapshot:
        request = change_request()
        return snapshot(environment(**default), request, approval(request))

    def test_it_is_closed_with_enough_people_and_one_approved_change(self) -> None:
        assert registration_is_due(self.approved(), NOW + HOUR / 2)
        assert registration_is_due(self.approved(), NOW + 100 * HOUR), "that the approval is old opens nothing"

    def test_the_signer_may_be_gone_by_then(self) -> None:
        people = [person(name) for name in ("carol", "dave")]
        request = change_request()
        assert registration_is_due(snapshot(environment(), request, approval(request), *people), NOW + HOUR / 2)

    def test_not_before_a_change_was_approved(self) -> None:
        assert not registration_is_due(snapshot(change_request()), NOW)

    def test_not_while_an_environment_lacks_people(self) -> None:
        request = change_request()
        view = snapshot(environment(), environment("strict", required=5), request, approval(request))
        assert not registration_is_due(view, NOW)

    def test_once(self) -> None:
        assert not registration_is_due(self.approved(registration=Registration.CLOSED), NOW)

    def test_without_default_there_is_nothing_to_close(self) -> None:
        request = change_request()
        assert not registration_is_due(snapshot(environment("other"), request, approval(request)), NOW)


class TestConditions:
    def test_an_environment_is_satisfiable_by_as_many_people_as_could_sign(self) -> None:
        view = snapshot(
            environment(required=2), environment("all", required=4), environment("many", required=9), environment("team", teams=("sre",))
        )
        assert condition(planned(view), "protectedenvironments", "default", "Satisfiable").holds is True
        assert condition(planned(view), "protectedenvironments", "all", "Satisfiable").holds is True
        assert condition(planned(view), "protectedenvironments", "many", "Satisfiable") == Condition(
            "Satisfiable",
            holds=False,
            reason="TooFewReviewers",
            message="9 signatures are required, 4 people could sign: register more Reviewers, or require fewer.",
        )
        assert condition(planned(view), "protectedenvironments", "team", "Satisfiable").holds is False

    def test_an_identity_without_room_says_so(self) -> None:
        view = snapshot(identity("a"), identity("b"))
        made = planned(view, left_out=("b",))
        assert condition(made, "agentidentities", "a", "InForce").holds is True
        assert condition(made, "agentidentities", "b", "InForce").reason == "TooManyAgents"

    def test_a_reviewer_signs_with_keys_that_have_not_expired(self) -> None:
        old = ReviewerKey("old", person("bob").keys[0].public_key, NOW)
        view = snapshot(
            person("alice", keys=()),
            replace(person("bob"), keys=(old,)),
            replace(person("carol"), keys=(old, ReviewerKey("new", person("carol").keys[0].public_key, NOW + HOUR))),
        )
        said = [condition(planned(view), "reviewers", name, "CanSign") for name in ("alice", "bob", "carol")]
        assert [(each.holds, each.reason) for each in said] == [(False, "NoKey"), (False, "KeysExpired"), (True, "HasKey")]
        assert said[2].message == "Signs with new."


class TestActing:
    def protection(
        self,
        api: MemoryApi,
        guards: MemoryGuards | None = None,
        statuses: MemoryStatuses | None = None,
        certificates: MemoryCertificates | None = None,
        authorizer: MemoryAuthorizerFiles | None = None,
    ) -> Protection:
        return Protection(
            api,
            HandClock(),
            definitions=MemoryDefinitions(),
            certificates=certificates or MemoryCertificates(),
            guards=guards or MemoryGuards(),
            accounts=MemoryAccounts((Account("agents", "kiro", {}),)),
            statuses=statuses or MemoryStatuses(),
            authorizer=authorizer,
        )

    def api(self) -> MemoryApi:
        return MemoryApi(
            ("/api/v1/namespaces/payments", {"metadata": {"labels": {"team": "payments"}}}),
            ("/api/v1/namespaces/agents/serviceaccounts/kiro", {"metadata": {}}),
            ("/apis/kube-countersign.dev/v1alpha1/protectedenvironments/default", {"spec": {"registration": "Open"}}),
        )

    async def test_everything_is_brought_to_its_place(self) -> None:
        api, guards, statuses, request = self.api(), MemoryGuards(), MemoryStatuses(), change_request()
        view = snapshot(request, approval(request), namespace("payments"))
        await self.protection(api, guards, statuses).reconcile(view)
        assert api.objects["/api/v1/namespaces/payments"]["metadata"]["labels"] == {"team": "payments", LABEL_PROTECTED: "Agents"}
        assert api.objects["/api/v1/namespaces/agents/serviceaccounts/kiro"]["metadata"]["labels"] == {LABEL_AGENT: "kiro"}
        assert api.objects["/apis/kube-countersign.dev/v1alpha1/protectedenvironments/default"]["spec"] == {"registration": "Closed"}
        assert [(len(identities), len(environments), bundle) for identities, environments, bundle in guards.kept] == [(1, 1, b"BUNDLE")]
        assert {report.plural for report in statuses.written} == {"agentidentities", "reviewers", "protectedenvironments"}

    async def test_what_came_while_guards_were_written_is_not_said_to_be_in_force(self) -> None:
        """The memory goes on meanwhile: the API server may take a second to let the webhook's rules through."""
        view = snapshot(namespace("payments"))
        changed = replace(view.environments["default"], exclude=("scratch",), meta=replace(view.environments["default"].meta, generation=7))

        class Slow(MemoryGuards):
            async def keep(self, *kept: Any) -> tuple[str, ...]:
                cast("dict[str, Any]", view.environments).update({"default": changed, "late": environment("late")})
                cast("dict[str, Any]", view.identities)["newcomer"] = identity("newcomer")
                return await super().keep(*kept)

        statuses = MemoryStatuses()
        await self.protection(self.api(), Slow(), statuses).reconcile(view)
        told = {(report.plural, report.meta.name, report.meta.generation) for report in statuses.written if report.plural != "reviewers"}
        assert told == {("agentidentities", "kiro", 0), ("protectedenvironments", "default", 0)}
        await self.protection(self.api(), MemoryGuards(), statuses).reconcile(view)
        assert {("agentidentities", "newcomer"), ("protectedenvironments", "late")} <= {
            (report.plural, report.meta.name) for report in statuses.written
        }

    async def test_nothing_is_done_while_the_chart_is_uninstalled(self) -> None:
        api, guards, statuses = self.api(), MemoryGuards(), MemoryStatuses()
        going = self.protection(api, guards, statuses, certificates=MemoryCertificates(None))
        assert await going.reconcile(snapshot(namespace("payments"))) == Plan((), close_registration=False, reports=())
        assert (api.writes(), guards.kept, statuses.written) == ([], [], [])

    async def test_the_guards_are_kept_though_the_certificate_cannot_be(self) -> None:
        api, guards, certificates = self.api(), MemoryGuards(), MemoryCertificates()
        protection = self.protection(api, guards, certificates=certificates)
        await protection.reconcile(snapshot(namespace("payments")))
        certificates.broken = True
        api.objects["/api/v1/namespaces/payments"]["metadata"]["labels"] = {}
        with pytest.raises(ApiError, match="no certificate"):
            await protection.reconcile(snapshot(namespace("payments")))
        assert [bundle for *_, bundle in guards.kept] == [b"BUNDLE"] * 2
        assert LABEL_PROTECTED in api.objects["/api/v1/namespaces/payments"]["metadata"]["labels"]

    async def test_guards_without_anybody_to_trust_are_kept_too(self) -> None:
        """A brought certificate that is not there yet: what is guarded is refused, and not let through."""
        guards = MemoryGuards()
        await self.protection(self.api(), guards, certificates=MemoryCertificates(b"")).reconcile(snapshot(namespace("payments")))
        assert [bundle for *_, bundle in guards.kept] == [b""]

    async def test_the_files_of_the_authorizer_are_kept_where_there_is_one(self) -> None:
        files = MemoryAuthorizerFiles()
        await self.protection(self.api(), authorizer=files).reconcile(snapshot(namespace("payments")))
        assert [([each.meta.name for each in identities], bundle) for identities, bundle in files.kept] == [(["kiro"], b"BUNDLE")]

    async def test_neither_the_files_nor_the_labels_wait_for_the_other(self) -> None:
        api, files = self.api(), MemoryAuthorizerFiles(broken=True)
        with pytest.raises(ApiError, match="no files"):
            await self.protection(api, authorizer=files).reconcile(snapshot(namespace("payments")))
        assert LABEL_PROTECTED in api.objects["/api/v1/namespaces/payments"]["metadata"]["labels"]
        api.failing["PATCH", "/api/v1/namespaces/payments"] = ApiError(500, "no label")
        api.objects["/api/v1/namespaces/payments"]["metadata"]["labels"] = {}
        files.broken = False
        with pytest.raises(ApiError, match="no label"):
            await self.protection(api, authorizer=files).reconcile(snapshot(namespace("payments")))
        assert files.kept

    async def test_a_namespace_that_went_meanwhile_is_no_failure(self) -> None:
        api = self.api()
        await self.protection(api).reconcile(snapshot(namespace("gone"), namespace("payments")))
        assert LABEL_PROTECTED in api.objects["/api/v1/namespaces/payments"]["metadata"]["labels"]

    async def test_one_failure_does_not_keep_the_rest_back_and_is_told(self) -> None:
        api, statuses = self.api(), MemoryStatuses()
        api.failing["PATCH", "/api/v1/namespaces/payments"] = ApiError(500, "no")
        with pytest.raises(ApiError, match="no"):
            await self.protection(api, statuses=statuses).reconcile(snapshot(namespace("payments")))
        assert api.objects["/api/v1/namespaces/agents/serviceaccounts/kiro"]["metadata"]["labels"] == {LABEL_AGENT: "kiro"}
        assert statuses.written

    async def test_registration_that_cannot_be_closed_yet_is_tried_again(self) -> None:
        api, statuses, request = self.api(), MemoryStatuses(), change_request()
        path = "/apis/kube-countersign.dev/v1alpha1/protectedenvironments/default"
        api.failing["PATCH", path] = ApiError(500, "the webhook is down")
        view = snapshot(request, approval(request))
        await self.protection(api, statuses=statuses).reconcile(view)
        assert statuses.written
        assert api.objects[path]["spec"] == {"registration": "Open"}
        del api.failing["PATCH", path]
        await self.protection(api).reconcile(view)
        assert api.objects[path]["spec"] == {"registration": "Closed"}
