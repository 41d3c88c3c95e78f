"""`countersign log verify` as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from countersign.domain.checkpoint import head_of
from countersign.domain.notes import Heads
from countersign.domain.record import Link
from countersign.entrypoints.log import verify_command
from countersign.wire.notes import render_heads
from tests.support.objects import NOW


def lines(count: int = 4, process: str = "p1", replica: str = "webhook-a") -> list[str]:
    link, found = Link(replica, process), []
    for number in range(count):
        line, link = link.append({"user": "kiro", "n": number})
        found.append(line)
    return found


def written(folder: Path, found: list[str]) -> str:
    file = folder / "decisions.jsonl"
    file.write_text("".join(f"{line}\n" for line in found))
    return str(file)


def test_an_untouched_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_command([written(tmp_path, lines())]) == 0
    out, err = capsys.readouterr()
    assert "4 records of 1 process: every line is as it was written" in out
    assert "webhook-a/p1: its last record is number 3, with the hash " in out
    assert err == ""


def test_a_changed_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines()
    found[2] = found[2].replace("kiro", "kirk")
    assert verify_command([written(tmp_path, found)]) == 1
    assert "Line 3 was changed" in capsys.readouterr().err


def test_a_missing_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines()
    del found[1]
    assert verify_command([written(tmp_path, found)]) == 1
    assert "Line 2 is number 2 of its process, and line 1 is number 0" in capsys.readouterr().err


def test_a_rotated_log_is_only_accepted_as_one(tmp_path: Path) -> None:
    file = written(tmp_path, lines()[2:])
    assert verify_command([file]) == 1
    assert verify_command(["--rotated", file]) == 0


def test_many_faults_are_counted_and_not_all_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_command([written(tmp_path, ["nonsense"] * 50)]) == 1
    err = capsys.readouterr().err
    assert "50 of 50 records are not as they were written (30 more not shown)." in err
    assert err.count("\n") == 21


def test_nothing_to_verify_is_not_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_command([written(tmp_path, [])]) == 2
    assert "There is no record in it" in capsys.readouterr().err
    assert verify_command([str(tmp_path / "absent")]) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err


def test_bytes_that_are_no_text_are_a_fault_and_no_crash(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(lines(1)[0].encode() + b"\n\xff\xfe\x00\n")
    assert verify_command([str(file)]) == 1


@pytest.mark.parametrize(("found", "status"), [(lines(), 0), (lines()[1:], 1)])
def test_from_a_pipe(found: list[str], status: int) -> None:
    """As in `kubectl logs … | countersign log verify`."""
    answer = subprocess.run(
        [sys.executable, "-m", "countersign", "log", "verify"],
        input="\n".join(found),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == status, answer.stderr


def heads_of(folder: Path, *chains: list[str], ended: bool = False) -> str:
    """As kubectl writes the ConfigMap, with the head of each chain."""
    heads = []
    for chain in chains:
        last = json.loads(chain[-1])
        heads.append(head_of(Link(last["replica"], last["process"], last["seq"] + 1, last["hash"]), NOW, ended=ended))
    file = folder / "heads.json"
    file.write_text(json.dumps(render_heads(Heads(tuple(heads)), [])))
    return str(file)


class TestAgainstHeads:
    def test_a_whole_log(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        heads = heads_of(tmp_path, lines(3), lines(4, "p2"))
        assert verify_command(["--against", heads, written(tmp_path, lines() + lines(process="p2"))]) == 0
        assert "All 2 heads that were noted are in it" in capsys.readouterr().out

    def test_a_truncated_log(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        heads = heads_of(tmp_path, lines())
        cut = written(tmp_path, lines()[:2])
        assert verify_command([cut]) == 0, "by itself it shows nothing"
        assert verify_command(["--against", heads, cut]) == 1
        err = capsys.readouterr().err
        assert "The process webhook-a/p1 ends with number 1, and its record number 3 was noted" in err
        assert "1 of 1 heads that were noted are not in the log." in err

    def test_a_process_that_has_ended_may_lack_in_a_rotated_log(self, tmp_path: Path) -> None:
        heads = heads_of(tmp_path, lines(process="p2"), ended=True)
        file = written(tmp_path, lines())
        assert verify_command(["--against", heads, file]) == 1
        assert verify_command(["--rotated", "--against", heads, file]) == 0

    def test_a_log_may_be_that_of_some_replicas_alone(self, tmp_path: Path) -> None:
        heads = heads_of(tmp_path, lines(), lines(process="p2", replica="operator-a"))
        file = written(tmp_path, lines())
        assert verify_command(["--against", heads, file]) == 1
        assert verify_command(["--against", heads, "--replicas", "webhook-", file]) == 0
        assert verify_command(["--against", heads, "--replicas", "nobody", file]) == 2

    @pytest.mark.parametrize("content", ["", "nonsense", "{}", '{"data": {}}'])
    def test_without_heads_there_is_nothing_to_verify_against(
        self, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        heads = tmp_path / "heads.json"
        heads.write_text(content)
        assert verify_command(["--against", str(heads), written(tmp_path, lines())]) == 2
        assert "The heads cannot be read" in capsys.readouterr().err
        assert verify_command(["--against", str(tmp_path / "absent"), written(tmp_path, lines())]) == 2

    def test_a_cluster_that_cannot_be_read_is_no_success(self, tmp_path: Path) -> None:
        environment = {
            "COUNTERSIGN_API_SERVER": "https://127.0.0.1:1",
            "COUNTERSIGN_TOKEN_FILE": str(tmp_path),
            "COUNTERSIGN_API_CA_FILE": "/dev/null",
        }
        assert verify_command(["--against", "cluster", written(tmp_path, lines())], environment) == 2
