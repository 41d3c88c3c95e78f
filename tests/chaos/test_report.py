"""What the answers are taken for, and that each broken promise is said: a chaos that cannot fail shows nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos import report
from tests.chaos.ledger import Asked, Change, Ledger, Verdict, Who
from tests.chaos.report import FEWEST, Check, Row
from tests.controlplane.api import Answer


def refused(outcome: str = "Pending", status: int = 403, message: str = "WAITING") -> Answer:
    return Answer(status, {"message": message, "details": {"causes": [{"reason": "outcome", "message": outcome}]}}, [])


OK = Answer(200, {}, [])
NOT_CALLED = Answer(
    500, {"message": 'failed calling webhook "agents-0.kube-countersign.dev": context deadline exceeded', "details": {}}, []
)
OUR_POLICY = Answer(422, {"message": "ValidatingAdmissionPolicy 'countersign-laundering' denied request", "details": None}, [])
SPONSOR = Answer(403, {"details": {"causes": [{"reason": "outcome", "message": "Refused"}, {"reason": "fault", "message": "Sponsor"}]}}, [])
RBAC = Answer(403, {"message": "dave cannot create configmaps"}, [])


class TestWhatAnAnswerIsTakenFor:
    @pytest.mark.parametrize(
        ("answer", "verdict"),
        [
            (OK, Verdict.WRONG),
            (refused(), Verdict.RIGHT),
            (refused("DryRun"), Verdict.RIGHT),
            (refused("Unable", 503), Verdict.UNABLE),
            (NOT_CALLED, Verdict.UNABLE),
            (RBAC, Verdict.UNABLE),
            (None, Verdict.UNABLE),
        ],
    )
    def test_an_unsigned_change(self, answer: Answer | None, verdict: Verdict) -> None:
        assert Ledger().unsigned(answer) is verdict

    @pytest.mark.parametrize(("answer", "verdict"), [(OK, Verdict.RIGHT), (refused(), Verdict.UNABLE), (None, Verdict.UNABLE)])
    def test_a_signed_change(self, answer: Answer | None, verdict: Verdict) -> None:
        assert Ledger().signed(answer) is verdict

    @pytest.mark.parametrize(
        ("answer", "verdict"), [(OK, Verdict.RIGHT), (Answer(409, {}, []), Verdict.RIGHT), (NOT_CALLED, Verdict.UNABLE)]
    )
    def test_a_signature(self, answer: Answer, verdict: Verdict) -> None:
        assert Ledger().signature(answer) is verdict

    @pytest.mark.parametrize(("answer", "verdict"), [(OK, Verdict.WRONG), (SPONSOR, Verdict.RIGHT), (NOT_CALLED, Verdict.UNABLE)])
    def test_a_sponsors_signature(self, answer: Answer, verdict: Verdict) -> None:
        assert Ledger().sponsors_signature(answer) is verdict

    @pytest.mark.parametrize(
        ("answer", "verdict"),
        [
            (OK, Verdict.RIGHT),
            (NOT_CALLED, Verdict.BLOCKED),
            (OUR_POLICY, Verdict.BLOCKED),
            (RBAC, Verdict.BLOCKED),
            (None, Verdict.BLOCKED),
        ],
    )
    def test_ordinary_work(self, answer: Answer | None, verdict: Verdict) -> None:
        assert Ledger().ordinary(answer) is verdict

    @pytest.mark.parametrize(
        ("answer", "verdict"),
        [(NOT_CALLED, Verdict.BLOCKED), (OUR_POLICY, Verdict.BLOCKED), (RBAC, Verdict.SERVER), (None, Verdict.SERVER)],
    )
    def test_ordinary_work_while_the_api_server_is_away(self, answer: Answer | None, verdict: Verdict) -> None:
        """Its own silence is not ours; what names us is."""
        assert Ledger(touches_server=True).ordinary(answer) is verdict


def asked(who: Who, verdict: Verdict = Verdict.RIGHT, ended: float = 1.0) -> Asked:
    return Asked(who, "delete payments", ended - 0.1, ended, verdict, "200")


def ledger(*more: Asked, **change: bool) -> Ledger:
    """A good one, and what is added to it."""
    usual = [asked(who) for who in (Who.GUARDED, Who.PEOPLE) for _ in range(FEWEST)]
    done = {"signed": True, "executed": True, "refused_again": True}
    return Ledger(asked=[*usual, *more], changes=[Change("payments", **(done | change))])


def row(kept: Ledger, **more: Any) -> Row:
    return report.row("a fault", kept, **{"begun": 0.0, "whole": 5.0, "gentle": False, "within": 60.0, **more})


def test_all_promises_kept() -> None:
    kept = row(ledger(asked(Who.GUARDED, Verdict.UNABLE, ended=7.0), asked(Who.PEOPLE, Verdict.SERVER, ended=3.0)))
    assert (kept.complaints, kept.trouble, kept.done, kept.changes) == ([], 7.0, 1, 1)
    assert report.complaints([kept], [Check("webhook gone", "people deploy", 1.0)]) == []


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (row(ledger(asked(Who.GUARDED, Verdict.WRONG))), "1 wrong"),
        (row(ledger(asked(Who.PEOPLE, Verdict.BLOCKED))), "1 blocked"),
        (row(ledger(asked(Who.AGENTS, Verdict.BLOCKED))), "1 blocked"),
        (row(ledger(asked(Who.SIGNING, Verdict.UNABLE)), gentle=True), "1 unable"),
        (row(ledger(asked(Who.GUARDED, Verdict.UNABLE, ended=61.0))), "after 61 s"),
        (row(ledger(), whole=None), "not whole"),
        (row(ledger(signed=False, executed=False, refused_again=False)), "never signed"),
        (row(ledger(executed=False, refused_again=False)), "never executed"),
        (row(ledger(refused_again=False)), "never refused again"),
        (row(Ledger(changes=ledger().changes)), "too little"),
        (row(Ledger(asked=ledger().asked)), "too little"),
    ],
)
def test_a_broken_promise_is_said(broken: Row, said: str) -> None:
    [complaint] = report.complaints([broken], [])
    assert said in complaint


def test_what_fails_while_we_are_out_is_said() -> None:
    failed = Check("webhook gone", "people deploy", 1.0, "the Deployment was to have 1 replica")
    assert report.complaints([], [failed]) == ["webhook gone: people deploy: the Deployment was to have 1 replica"]
    assert "FAILED" in report.outages_markdown([failed])


def test_the_table_has_a_cell_for_each_head() -> None:
    lines = report.markdown([row(ledger())]).splitlines()
    assert [line.count("|") for line in lines] == [len(report.HEAD) + 1] * 3
