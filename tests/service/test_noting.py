"""A webhook notes where its log stands, and whom a trial would have held: seldom, bounded, and never in the way of a decision."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from countersign.domain.notes import Note
from countersign.domain.record import Link
from countersign.service.noting import Noting
from countersign.service.ports import ApiError
from tests.domain.test_trial import LET_THROUGH, request
from tests.support.operator import HandClock


@dataclass
class Outbox:
    """Takes one note at a time, as the real one; `taken` are those that the operator took."""

    lying: dict[bool, Note] = field(default_factory=dict)
    taken: list[Note] = field(default_factory=list)
    failing: Exception | None = None
    silent: bool = False

    async def post(self, note: Note) -> bool:
        if self.failing:
            raise self.failing
        if self.silent:
            await asyncio.sleep(60)
        if note.head.ended in self.lying:
            return False
        self.lying[note.head.ended] = note
        return True

    def take(self) -> list[Note]:
        taken = list(self.lying.values())
        self.lying.clear()
        self.taken += taken
        return taken


class Webhook:
    def __init__(self) -> None:
        self.outbox, self.clock, self.link = Outbox(), HandClock(), Link("w", "p").append({"start": {}})[1]
        self.noting = Noting(self.outbox, self.clock, lambda: self.link, every=timedelta(minutes=1))

    def decide(self, *, would_hold: bool = False) -> None:
        self.link = self.link.append({"n": self.link.seq})[1]
        if would_hold:
            self.noting.decided(request(name=f"ns-{self.link.seq}"), LET_THROUGH)


@pytest.fixture
def webhook() -> Webhook:
    return Webhook()


async def test_the_first_note_is_of_the_first_record(webhook: Webhook) -> None:
    assert await webhook.noting.note()
    (note,) = webhook.outbox.take()
    assert (note.number, note.head.seq, note.head.hash, note.head.ended) == (1, 0, webhook.link.head, False)


async def test_without_news_there_is_no_note(webhook: Webhook) -> None:
    await webhook.noting.note()
    webhook.outbox.take()
    assert await webhook.noting.note()
    assert webhook.outbox.take() == []
    webhook.decide()
    await webhook.noting.note()
    assert [note.head.seq for note in webhook.outbox.take()] == [1]


async def test_while_one_lies_there_no_other_is_left_and_nothing_is_forgotten(webhook: Webhook) -> None:
    await webhook.noting.note()
    webhook.decide(would_hold=True)
    assert not await webhook.noting.note()
    webhook.decide(would_hold=True)
    assert not await webhook.noting.note()
    webhook.outbox.take()
    assert await webhook.noting.note()
    webhook.outbox.take()
    assert await webhook.noting.note()
    webhook.outbox.take()
    assert [note.number for note in webhook.outbox.taken] == [1, 2, 3]
    assert sum(len(note.sightings) for note in webhook.outbox.taken) == 2
    assert webhook.outbox.taken[-1].head.hash == webhook.link.head


@pytest.mark.parametrize("failure", [ApiError(0, "no answer"), RuntimeError("a fault of ours")])
async def test_a_failure_is_logged_and_tried_again_with_the_same_number(
    webhook: Webhook, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    webhook.decide(would_hold=True)
    webhook.outbox.failing = failure
    assert not await webhook.noting.note()
    assert "could not be noted" in caplog.text
    webhook.outbox.failing = None
    assert await webhook.noting.note()
    (note,) = webhook.outbox.take()
    assert (note.number, len(note.sightings)) == (1, 1)


class TestTheEnd:
    async def test_it_is_noted_also_while_another_lies_there(self, webhook: Webhook) -> None:
        await webhook.noting.note()
        webhook.decide(would_hold=True)
        await webhook.noting.close()
        first, last = webhook.outbox.take()
        assert (first.head.ended, last.head.ended) == (False, True)
        assert (last.number, last.head.hash, len(last.sightings)) == (2, webhook.link.head, 1)

    async def test_it_brings_what_could_not_be_left_before(self, webhook: Webhook) -> None:
        webhook.outbox.failing = ApiError(0, "no answer")
        webhook.decide(would_hold=True)
        await webhook.noting.note()
        webhook.decide(would_hold=True)
        webhook.outbox.failing = None
        await webhook.noting.close()
        (last,) = webhook.outbox.take()
        assert (last.number, len(last.sightings)) == (1, 2)

    async def test_it_does_not_wait_for_an_api_server_that_does_not_answer(
        self, webhook: Webhook, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("countersign.service.noting._LAST_SECONDS", 0.05)
        webhook.outbox.silent = True
        async with asyncio.timeout(5):
            await webhook.noting.close()
        assert "the API server does not answer" in caplog.text


async def test_it_goes_on_for_ever(webhook: Webhook) -> None:
    running = asyncio.create_task(Noting(webhook.outbox, webhook.clock, lambda: webhook.link, every=timedelta(milliseconds=10)).run())
    for number in range(1, 4):
        await asyncio.sleep(0.05)
        assert [note.number for note in webhook.outbox.take()] == [number]
        webhook.decide()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
