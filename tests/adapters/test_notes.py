"""Notes and heads as ConfigMaps: what one process leaves the other reads, and they go with the release."""

import json
from dataclasses import replace
from typing import Any

import pytest

from countersign.adapters.notes import NoteBox, collection_in
from countersign.domain.checkpoint import MOST, Head, head_of
from countersign.domain.notes import Heads, Note
from countersign.domain.record import Link
from countersign.domain.trial import Sighting
from countersign.service.ports import ConflictError
from countersign.wire.errors import WireError
from countersign.wire.notes import HEADS, parse_heads, parse_note, render_heads, render_note
from tests.domain.test_trial import TARGET
from tests.support.api import MemoryApi
from tests.support.objects import NOW
from tests.support.operator import MemoryOwner

COLLECTION = collection_in("countersign")
LIST = f"{COLLECTION}/{HEADS}"


def note(number: int = 1, *, ended: bool = False) -> Note:
    link = Link("webhook-a", "0123456789abcdef").append({"n": 1})[1]
    sighting = Sighting(("trial", "other"), "alice@example.com", "Human", "DELETE", replace(TARGET, namespace="ns"), NOW, 3)
    return Note(number, head_of(link, NOW, ended=ended), (sighting,))


@pytest.fixture
def api() -> MemoryApi:
    api = MemoryApi()
    api.collections.add(COLLECTION)
    return api


@pytest.fixture
def box(api: MemoryApi) -> NoteBox:
    return NoteBox(api, MemoryOwner(), namespace="countersign")


async def test_what_is_posted_waits_until_it_is_removed(box: NoteBox) -> None:
    assert await box.post(note())
    (waiting,) = await box.waiting()
    assert waiting.note == note()
    await box.remove(waiting.name, waiting.uid)
    assert await box.waiting() == []
    await box.remove(waiting.name, waiting.uid)  # gone already


async def test_a_process_leaves_one_at_a_time_and_its_last_besides(box: NoteBox, api: MemoryApi) -> None:
    assert await box.post(note(1))
    assert not await box.post(note(2))
    assert await box.post(note(2, ended=True))
    assert sorted(path.rpartition("/")[2] for path in api.objects) == [
        "countersign-note-0123456789abcdef",
        "countersign-note-0123456789abcdef-last",
    ]


async def test_it_is_immutable_and_owned_by_the_release(box: NoteBox, api: MemoryApi) -> None:
    await box.post(note())
    (made,) = api.objects.values()
    assert made["immutable"] is True
    assert [owner["name"] for owner in made["metadata"]["ownerReferences"]] == ["countersign-operator"]


async def test_while_countersign_is_uninstalled_nothing_is_left_behind(api: MemoryApi) -> None:
    box = NoteBox(api, MemoryOwner(uid=""), namespace="countersign")
    assert not await box.post(note())
    await box.keep(Heads((note().head,)))
    assert api.objects == {}


async def test_the_list_is_made_then_replaced_and_never_over_anothers(box: NoteBox, api: MemoryApi) -> None:
    assert await box.heads() == Heads()
    await box.keep(Heads((note().head,), (("0123456789abcdef", 4),)))
    first = await box.heads()
    assert (first.heads, first.taken) == ((note().head,), (("0123456789abcdef", 4),))
    await box.keep(replace(first, heads=(replace(note().head, ended=True),)))
    assert api.objects[LIST]["metadata"]["ownerReferences"]
    with pytest.raises(ConflictError):
        await box.keep(first)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"note": "no JSON"},
        {"note": "{}"},
        {"note": json.dumps({**json.loads(render_note(note(), [])["data"]["note"]), "more": 1})},
        {"note": render_note(note(), [])["data"]["note"].replace("00Z", "00")},
    ],
)
def test_what_somebody_else_wrote_is_no_note(data: dict[str, str]) -> None:
    assert parse_note({"metadata": {"name": "x", "uid": "u"}, "data": data}).note is None


@pytest.mark.parametrize(
    "data", [{"p": "nonsense"}, {"p": 1}, {str(number): "{}" for number in range(3 * MOST)}], ids=["no JSON", "no text", "too many"]
)
def test_a_list_that_somebody_changed_is_said_and_not_overwritten(data: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="remove it to begin anew"):
        parse_heads({"data": data})


def test_the_longest_list_fits_into_one_object() -> None:
    """A ConfigMap holds 1 MiB."""
    heads = tuple(Head("countersign-webhook-" + "x" * 50, f"{number:016x}", 10**9, "f" * 64, NOW, ended=True) for number in range(MOST))
    assert len(json.dumps(render_heads(Heads(heads), []))) < 300_000
