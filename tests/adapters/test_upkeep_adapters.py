"""The operator's small adapters: status, definitions, impact, notices, accounts, census."""

import copy
from collections.abc import Sequence
from copy import deepcopy
from datetime import timedelta

import pytest

from countersign.adapters.accounts import AccountBook
from countersign.adapters.census import Census
from countersign.adapters.definitions import PackagedDefinitions, covers
from countersign.adapters.impact import ApiImpact
from countersign.adapters.notices import ApiNotices
from countersign.adapters.status import StatusBoard
from countersign.domain.document import JsonObject
from countersign.domain.names import ANNOTATION_REVISION
from countersign.domain.resources import Meta, Target
from countersign.service.keeping import Condition, Notice, Report
from countersign.service.ports import ApiError
from countersign.wire.crds import REVISION, manifests
from tests.support.api import MemoryApi
from tests.support.operator import HandClock

BOB = "/apis/kube-countersign.dev/v1alpha1/reviewers/bob"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def report(*, holds: bool | None = True, uid: str = "u", generation: int = 3, message: str = "Signs.") -> Report:
    return Report("reviewers", Meta("bob", uid=uid, generation=generation), (Condition("CanSign", holds, "HasKey", message),), {"x": 1})


class TestStatusBoard:
    def world(self) -> tuple[MemoryApi, HandClock, StatusBoard]:
        api, clock = MemoryApi((BOB, {"metadata": {"uid": "u"}, "spec": {"usernames": ["bob"]}})), HandClock()
        return api, clock, StatusBoard(api, clock)

    async def test_a_report_becomes_the_status_and_nothing_else_changes(self) -> None:
        api, _, board = self.world()
        assert await board.report(report())
        tree = api.objects[BOB]
        assert tree["spec"] == {"usernames": ["bob"]}
        assert tree["status"] == {
            "x": 1,
            "observedGeneration": 3,
            "conditions": [
                {
                    "type": "CanSign",
                    "status": "True",
                    "reason": "HasKey",
                    "message": "Signs.",
                    "lastTransitionTime": "2026-11-22T12:00:00Z",
                    "observedGeneration": 3,
                }
            ],
        }
        assert api.writes() == [("PATCH", f"{BOB}/status")]

    async def test_no_news_is_not_written(self) -> None:
        api, clock, board = self.world()
        await board.report(report())
        clock.forward(timedelta(hours=1))
        assert not await board.report(report())
        assert len(api.writes()) == 1

    async def test_nor_after_a_restart_that_has_seen_it(self) -> None:
        api, clock, board = self.world()
        await board.report(report())
        again = StatusBoard(api, clock)
        again.observe("reviewers", "ADDED", api.objects[BOB])
        assert not await again.report(report())

    async def test_the_transition_time_moves_with_the_status_alone(self) -> None:
        api, clock, board = self.world()
        await board.report(report())
        clock.forward(timedelta(hours=1))
        await board.report(report(message="Signs with another."))
        assert api.objects[BOB]["status"]["conditions"][0]["lastTransitionTime"] == "2026-11-22T12:00:00Z"
        await board.report(report(holds=False))
        assert api.objects[BOB]["status"]["conditions"][0]["lastTransitionTime"] == "2026-11-22T13:00:00Z"
        await board.report(report(holds=None))
        assert api.objects[BOB]["status"]["conditions"][0]["status"] == "Unknown"

    async def test_a_new_generation_is_news(self) -> None:
        api, _, board = self.world()
        await board.report(report())
        assert await board.report(report(generation=4))
        assert api.objects[BOB]["status"]["observedGeneration"] == 4

    async def test_another_object_of_the_name_is_left_alone(self) -> None:
        api, _, board = self.world()
        assert not await board.report(report(uid="older"))
        assert "status" not in api.objects[BOB]

    async def test_one_that_is_gone_too(self) -> None:
        api, _, board = self.world()
        del api.objects[BOB]
        assert not await board.report(report())

    async def test_what_was_seen_of_an_older_object_says_nothing(self) -> None:
        _, _, board = self.world()
        board.observe("reviewers", "ADDED", {"metadata": {"name": "bob", "uid": "older"}, "status": {"outcome": "Executed"}})
        assert board.current("reviewers", "bob", "u") == {}
        assert board.current("reviewers", "bob", "older") == {"outcome": "Executed"}
        board.replace("reviewers", [])
        assert board.current("reviewers", "bob", "older") == {}


class TestDefinitions:
    async def test_missing_ones_are_made_and_right_ones_left(self) -> None:
        api = MemoryApi()
        definitions = PackagedDefinitions(api)
        await definitions.ensure()
        assert len(api.writes()) == 5
        await definitions.ensure()
        await PackagedDefinitions(api).ensure()
        assert len(api.writes()) == 5

    async def test_defaults_of_the_api_server_are_no_difference(self) -> None:
        api = MemoryApi()
        await PackagedDefinitions(api).ensure()
        for tree in api.objects.values():
            tree["spec"]["conversion"] = {"strategy": "None"}
            tree["spec"]["versions"][0]["deprecated"] = False
        api.calls.clear()
        await PackagedDefinitions(api).ensure()
        assert api.writes() == []

    async def test_an_older_one_is_brought_up_and_keeps_its_metadata(self) -> None:
        api = MemoryApi()
        await PackagedDefinitions(api).ensure()
        path = f"{DEFINITIONS}/reviewers.kube-countersign.dev"
        api.objects[path]["spec"]["versions"][0]["schema"] = {}
        api.objects[path]["metadata"]["annotations"] = {"helm": "x"}
        definitions = PackagedDefinitions(api)
        await definitions.ensure()
        wanted = next(manifest for manifest in manifests() if manifest["metadata"]["name"] == "reviewers.kube-countersign.dev")
        assert covers(api.objects[path]["spec"], wanted["spec"])
        assert api.objects[path]["metadata"]["annotations"] == {"helm": "x", **wanted["metadata"]["annotations"]}

    async def test_a_newer_one_is_left_alone_whatever_else_it_says(self, caplog: pytest.LogCaptureFixture) -> None:
        """Two operators of two releases take turns in leading: they must not undo each other's definitions for ever."""
        api = MemoryApi()
        await PackagedDefinitions(api).ensure()
        for tree in api.objects.values():
            tree["metadata"]["annotations"][ANNOTATION_REVISION] = str(REVISION + 1)
            version = tree["spec"]["versions"][0]
            version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["later"] = {"type": "string", "maxLength": 9}
            version["storage"] = False
            tree["spec"]["versions"].append({**version, "name": "v1beta1", "storage": True})
        before = deepcopy(api.objects)
        older = PackagedDefinitions(api)
        for _ in range(2):
            await older.ensure()
            older.changed({"metadata": {"name": "reviewers.kube-countersign.dev"}})
        assert api.objects == before
        assert len([record for record in caplog.records if "newer release" in record.message]) == 5, "told once each"

    async def test_one_that_only_says_so_is_put_back(self) -> None:
        api = MemoryApi()
        await PackagedDefinitions(api).ensure()
        path = f"{DEFINITIONS}/approvals.kube-countersign.dev"
        api.objects[path]["metadata"]["annotations"][ANNOTATION_REVISION] = "999"
        del api.objects[path]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"]
        await PackagedDefinitions(api).ensure()
        wanted = next(manifest for manifest in manifests() if manifest["metadata"]["name"] == "approvals.kube-countersign.dev")
        assert covers(api.objects[path]["spec"], wanted["spec"])
        assert api.objects[path]["metadata"]["annotations"][ANNOTATION_REVISION] == str(REVISION)

    async def test_an_older_one_gets_the_number_even_where_it_says_the_same(self) -> None:
        """Else the next operator of that older release would take it for its own."""
        api = MemoryApi()
        await PackagedDefinitions(api).ensure()
        path = f"{DEFINITIONS}/approvals.kube-countersign.dev"
        del api.objects[path]["metadata"]["annotations"]
        await PackagedDefinitions(api).ensure()
        assert api.objects[path]["metadata"]["annotations"][ANNOTATION_REVISION] == str(REVISION)

    async def test_an_event_on_one_of_ours_makes_it_look_again(self) -> None:
        api = MemoryApi()
        definitions = PackagedDefinitions(api)
        await definitions.ensure()
        assert not definitions.changed({"metadata": {"name": "others.example.com"}})
        assert definitions.changed({"metadata": {"name": "reviewers.kube-countersign.dev"}})
        del api.objects[f"{DEFINITIONS}/reviewers.kube-countersign.dev"]
        await definitions.ensure()
        assert f"{DEFINITIONS}/reviewers.kube-countersign.dev" in api.objects

    def test_what_is_wanted_must_be_there(self) -> None:
        assert covers({"a": [1, {"b": 2, "c": 3}]}, {"a": [1, {"b": 2}]})
        assert not covers({"a": [1]}, {"a": [1, 2]})
        assert not covers({"a": [1, 2]}, {"a": [1]})
        assert not covers({}, {"a": None})
        assert not covers({"a": {"b": 2}}, {"a": {"b": 3}})


class TestImpact:
    async def test_counts_by_the_api_servers_own_count(self) -> None:
        pods = [(f"/api/v1/namespaces/payments/pods/p{index}", JsonTree) for index in range(41)]
        api = MemoryApi(*pods, ("/apis/apps/v1/namespaces/payments/deployments/d", JsonTree))
        for kind in ("services", "configmaps", "persistentvolumeclaims"):
            api.collections.add(f"/api/v1/namespaces/payments/{kind}")
        api.collections |= {f"/apis/apps/v1/namespaces/payments/{kind}" for kind in ("statefulsets", "daemonsets")}
        api.collections |= {f"/apis/batch/v1/namespaces/payments/{kind}" for kind in ("jobs", "cronjobs")}
        api.collections.add("/apis/networking.k8s.io/v1/namespaces/payments/ingresses")
        target = Target(group="", version="v1", resource="namespaces", name="payments")
        assert await ApiImpact(api).count(target) == {"pods": 41, "deployments": 1}

    async def test_other_kinds_are_not_counted(self) -> None:
        target = Target(group="", version="v1", resource="persistentvolumes", name="pv")
        assert await ApiImpact(MemoryApi()).count(target) == {}


JsonTree: JsonObject = {"metadata": {}}


class TestNotices:
    @pytest.mark.parametrize(("namespace", "home"), [("", "default"), ("payments", "payments")])
    async def test_an_event_where_the_api_server_wants_it(self, namespace: str, home: str) -> None:
        api = MemoryApi()
        about = Target(
            group="kube-countersign.dev", version="v1alpha1", resource="changerequests", name="one", namespace=namespace, uid="u"
        )
        await ApiNotices(api, HandClock(), instance="me").tell(Notice("ChangeRequest", about, "Rejected", "m" * 2000, warning=True))
        [(path, event)] = api.objects.items()
        assert path.startswith(f"/api/v1/namespaces/{home}/events/one.")
        assert event["involvedObject"]["apiVersion"] == "kube-countersign.dev/v1alpha1"
        assert event["involvedObject"].get("namespace", "") == namespace
        assert (event["type"], event["reason"], len(event["message"])) == ("Warning", "Rejected", 1024)

    async def test_what_cannot_be_told_stops_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        api = MemoryApi()
        api.failing["POST", "/api/v1/namespaces/default/events"] = ApiError(403, "no")
        about = Target(group="", version="v1", resource="namespaces", name="payments", uid="u")
        await ApiNotices(api, HandClock(), instance="me").tell(Notice("Namespace", about, "ChangeHeldBack", "m"))
        assert "was not written: no" in caplog.text


class TestAccounts:
    def test_by_events_and_by_lists(self) -> None:
        book = AccountBook()
        tree: JsonObject = {"metadata": {"namespace": "agents", "name": "kiro", "labels": {"a": "b"}}}
        book.apply("ADDED", tree)
        assert [(account.namespace, account.name, account.labels) for account in book.all()] == [("agents", "kiro", {"a": "b"})]
        book.apply("DELETED", tree)
        assert book.all() == ()
        book.apply("ADDED", tree)
        book.replace([])
        assert book.all() == ()


class TestCensus:
    def world(self) -> tuple[MemoryApi, list[list[str]], Census]:
        api, taken = MemoryApi(("/api/v1/things/a", JsonTree), ("/api/v1/things/b", JsonTree)), list[list[str]]()

        def sink(documents: Sequence[JsonObject]) -> None:
            taken.append([document["metadata"]["name"] for document in documents])

        return api, taken, Census(api, {"/api/v1/things": sink})

    async def test_it_takes_everything_and_is_complete_then(self) -> None:
        _, taken, census = self.world()
        assert not census.complete
        await census.take()
        assert census.complete
        assert taken == [["a", "b"]]

    async def test_it_is_not_complete_while_a_list_fails(self) -> None:
        api, taken, census = self.world()
        api.failing["GET", "/api/v1/things"] = ApiError(500, "no")
        with pytest.raises(ApiError):
            await census.take()
        assert not census.complete
        assert taken == []

    async def test_what_was_deleted_without_an_event_is_noticed(self) -> None:
        api, taken, census = self.world()
        await census.take()
        del api.objects["/api/v1/things/b"]
        await census.take()
        assert taken[-1] == ["a"]

    async def test_a_list_that_an_event_has_overtaken_is_not_taken(self) -> None:
        api, taken, census = self.world()
        await census.take()
        real, overtaken = api.get, iter([True, False])

        async def get(path: str, **options: object) -> JsonObject:
            page = copy.deepcopy(await real(path))
            if next(overtaken):
                del api.objects["/api/v1/things/b"]
                census.heard(path)
            return page

        api.get = get  # type: ignore[method-assign]  # one answer of this fake goes wrong
        await census.take()
        assert taken == [["a", "b"], ["a"]], "only the second list, which no event has overtaken"
