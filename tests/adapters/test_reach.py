"""A replica that the API server does not answer says so; one that is refused is still in touch."""

from datetime import timedelta

from countersign.adapters.reach import SILENCE, Reach
from countersign.service.ports import ApiError
from tests.support.api import MemoryApi
from tests.support.operator import HandClock

ASKED = ("GET", "/version")
CUT_OFF = ApiError(0, "no answer")


def after(clock: HandClock, seconds: float) -> None:
    clock.forward(timedelta(seconds=seconds))


async def test_it_is_ready_before_it_has_asked() -> None:
    assert Reach(MemoryApi(), HandClock()).ready() == ""


async def test_silence_past_the_bound_makes_it_not_ready() -> None:
    api, clock = MemoryApi(("/version", {})), HandClock()
    reach = Reach(api, clock)
    await reach.ask()
    api.failing[ASKED] = CUT_OFF
    for _ in range(int(SILENCE)):
        after(clock, 1)
        await reach.ask()
    assert reach.ready() == ""
    after(clock, 1)
    await reach.ask()
    assert reach.ready() == "the API server has not answered this replica for 16 s."


async def test_an_answer_makes_it_ready_again() -> None:
    api, clock = MemoryApi(("/version", {})), HandClock()
    reach = Reach(api, clock)
    after(clock, SILENCE + 1)
    assert reach.ready()
    await reach.ask()
    assert reach.ready() == ""


async def test_a_refusal_is_an_answer() -> None:
    api, clock = MemoryApi(), HandClock()
    api.failing[ASKED] = ApiError(403, "forbidden")
    reach = Reach(api, clock)
    after(clock, SILENCE + 1)
    await reach.ask()
    assert reach.ready() == ""
