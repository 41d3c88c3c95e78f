"""How a trial stands in the status of an environment in Audit mode (domain/trial.py)."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, StrictInt, ValidationError

from countersign.domain.document import JsonObject, mapping
from countersign.domain.resources import Target
from countersign.domain.trial import DAYS, MOST, Trial, WouldHold
from countersign.wire.resources.base import ATOMIC, Closed, Count, Time
from countersign.wire.times import render_time

_Name = Annotated[str, Field(max_length=253)]


class TrialTarget(Closed):
    """What the latest change was about."""

    group: Annotated[_Name, Field(description='The API group; "" is the core group.')] = ""
    resource: Annotated[_Name, Field(description="Plural name of its kind.")]
    namespace: Annotated[_Name, Field(description="Its namespace, if it has one.")] = ""
    name: Annotated[_Name, Field(description="Its name.")]


class WouldHoldEntry(Closed):
    """Somebody who would have been held back."""

    username: Annotated[str, Field(max_length=1024, description="As the API server knows the requester.")]
    kind: Annotated[
        Literal["Agent", "Human", "Machine"], Field(description="Agents are held under each protectFrom, machines under Everyone alone.")
    ]
    count: Annotated[Count, Field(description=f"Changes in the last {DAYS} days.")]
    last: Annotated[Time, Field(description="When the latest was.")]
    operation: Annotated[str, Field(max_length=16, description="What the latest was.")]
    example: Annotated[TrialTarget, Field(description="What the latest was about.")]
    days: Annotated[
        dict[str, Count], Field(max_length=DAYS + 1, description="Changes on each of the last days (UTC), from which count is made.")
    ]


class TrialModel(Closed):
    """In Audit mode: who would have been held back in the last seven days. Nobody decides by it."""

    since: Annotated[Time, Field(description="From when on it was watched.")]
    requesters: Annotated[StrictInt, Field(ge=0, description="How many are listed.")]
    requests: Annotated[Count, Field(description="How many changes they and others have made.")]
    unlisted: Annotated[Count, Field(description="How many of these are of requesters for whom the list has no room.")] = 0
    listed: Annotated[tuple[WouldHoldEntry, ...], Field(max_length=MOST, description="Each requester once.", json_schema_extra=ATOMIC)] = ()


class TrialStatus:
    """The `Trials` port."""

    def read(self, status: JsonObject) -> Trial | None:
        """None where there is none yet, or none that we wrote: it is begun anew then."""
        written = mapping(status, "wouldHold")
        if not written:
            return None
        try:
            model = TrialModel.model_validate(written)
            return Trial(model.since, tuple(_entry(each) for each in model.listed), model.unlisted)
        except (ValidationError, ValueError):  # ValueError: a day that is none
            return None

    def render(self, trial: Trial) -> JsonObject:
        return {
            "since": render_time(trial.since),
            "requesters": len(trial.listed),
            "requests": trial.requests,
            "unlisted": trial.unlisted,
            "listed": [_rendered(each) for each in trial.listed],
        }


def _entry(entry: WouldHoldEntry) -> WouldHold:
    example = entry.example
    return WouldHold(
        username=entry.username,
        kind=entry.kind,
        days={date.fromisoformat(day): count for day, count in entry.days.items()},
        last=entry.last,
        operation=entry.operation,
        example=Target(example.group, "", example.resource, example.name, example.namespace),
    )


def _rendered(each: WouldHold) -> JsonObject:
    example = each.example
    return {
        "username": each.username,
        "kind": each.kind,
        "count": each.count,
        "last": render_time(each.last),
        "operation": each.operation,
        "example": {"group": example.group, "resource": example.resource, "namespace": example.namespace, "name": example.name},
        "days": {day.isoformat(): count for day, count in sorted(each.days.items())},
    }
