from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest

from tests.controlplane.paths import Layout
from tests.demo.person import Person
from tests.demo.stage import PACE, Stage, Surprise, expect, pace


@pytest.fixture
def bob(tmp_path: Path) -> Person:
    layout = Layout(tmp_path / "state")
    layout.make()
    (layout.ssh / "bob").write_text("private\n")
    (layout.ssh / "bob.pub").write_text("public\n")
    return Person.at(layout, "bob", tmp_path / "home")


@pytest.mark.parametrize(
    ("environment", "terminal", "seconds"),
    [({}, True, PACE), ({}, False, 0), ({"CI": "true"}, True, 0), ({"PACE": "3"}, False, 3), ({"PACE": "0", "CI": "1"}, True, 0)],
)
def test_nobody_waits_where_nobody_reads(environment: dict[str, str], terminal: bool, seconds: float) -> None:
    assert pace(environment, terminal=terminal) == seconds


@pytest.mark.parametrize("text", ["fast", "-1", "nan", "61"])
def test_a_pace_is_a_number_of_seconds(text: str) -> None:
    with pytest.raises(Surprise, match="seconds"):
        pace({"PACE": text}, terminal=True)


def test_what_is_shown_is_what_is_run(bob: Person) -> None:
    out = io.StringIO()
    ran = Stage(out, pace=0, colours=False).types(bob, "cat > note <<END\nfrom $HOME\nEND\ncat note; echo lost >&2")
    assert ran.code == 0
    assert ran.text == f"from {bob.folder}\nlost\n"
    assert out.getvalue() == f"\nbob$ cat > note <<END\n> from $HOME\n> END\n> cat note; echo lost >&2\nfrom {bob.folder}\nlost\n"


def test_a_failure_anywhere_in_a_pipe_is_a_failure(bob: Person) -> None:
    assert bob.run("false | cat").code != 0


def test_a_person_has_a_home_a_key_and_a_kubeconfig(bob: Person) -> None:
    ran = bob.run("cat ~/.ssh/id_ed25519 ~/.ssh/id_ed25519.pub; stat -c %a ~/.ssh/id_ed25519; basename $KUBECONFIG")
    assert ran.text == "private\npublic\n600\nbob.kubeconfig\n"


def test_a_command_that_hangs_is_a_surprise(bob: Person) -> None:
    begun = time.monotonic()
    with pytest.raises(Surprise, match="`sleep 30` did not end within 0 s"):
        Stage(io.StringIO(), pace=0, colours=False).types(bob, "sleep 30", timeout=0.2)
    assert time.monotonic() - begun < 10


def test_colours_are_for_terminals() -> None:
    def said(*, colours: bool) -> str:
        out = io.StringIO()
        stage = Stage(out, pace=0, colours=colours)
        stage.title(1, 2, "A title")
        stage.bad("no")
        return out.getvalue()

    assert "\x1b" in said(colours=True)
    assert re.sub(r"\x1b\[\d+m", "", said(colours=True)) == said(colours=False)


def test_no_colours_where_output_is_a_file() -> None:
    assert Stage.on(io.StringIO()).colours is False


def test_expectations_speak() -> None:
    expect(True, "never said")
    with pytest.raises(Surprise, match="it was to be so"):
        expect(False, "it was to be so")
