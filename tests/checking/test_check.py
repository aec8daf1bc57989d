"""`semblance check`, of a good method and of others with a mistake each (own.py): that promise breaks, in words."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import semblance as sb
from semblance.checking.check import Checked
from semblance.checking.mistakes import BEHIND, KINDS
from semblance.checking.promises import PROMISES
from semblance.errors import UserError

OWN = Path(__file__).with_name("own.py")
ALL = [promise.name for promise in PROMISES]


def checked(name: str) -> Checked:
    return sb.check(f"{OWN}:{name}")


def test_a_good_method_keeps_all_promises() -> None:
    found = checked("Mine")
    assert found.holds and found.verdict == "Mine keeps all 14 promises.", found
    assert [f.promise for f in found.findings] == [p.name for p in PROMISES if not p.thorough]
    assert not found.mistakes and found.broken == []


long = pytest.mark.long


@long
def test_a_good_method_that_cannot_be_made_small_keeps_them_too() -> None:
    found = checked("Quarters")
    assert found.holds and "Its views are those of its recipe" in found.note and "16 px or more" in found.note, found


@pytest.mark.parametrize(
    ("name", "promise", "kind", "clue"),
    [
        pytest.param("PlainState", "resume", "state", "self.queue changes", marks=long),
        pytest.param("Drawn", "draws", "draw", "`objective` draws from torch's generator", marks=long),
        pytest.param("Collective", "2 ranks", "collective", "allgather at own.py, line ", marks=long),
        pytest.param("LocalStatistics", "2 ranks", "local", "embedded along with it", marks=long),
        pytest.param("PositivesRepel", "positives", "positives", "1.0 rows of itself", marks=long),
        pytest.param("RoundTheSeam", "gradient", "seam", "backward through the graph a second time", marks=long),
        pytest.param("Counter", "resume", "state", "self.seen changes", marks=long),
        pytest.param("Cooling", "resume", "state", "self.temperature changes", marks=long),
        pytest.param("Lazy", "resume", "late", "mean was made", marks=long),
        pytest.param("OfTheClass", "resume", "state", "OfTheClass.scale changes", marks=long),
        pytest.param("OwnGenerator", "resume", "state", "self.generator changes", marks=long),
        pytest.param("DroppedOut", "draws", "draw", "Dropout in head.0", marks=long),
        pytest.param("NumpysDraw", "draws", "draw", "a generator of its own", marks=long),
        pytest.param("DrawnInViews", "draws", "draw", "look at the views", marks=long),
        pytest.param("ReducedUpdate", "2 ranks", "collective", "allreduce at own.py", marks=long),
        pytest.param("AlwaysCollective", "2 ranks", "collective", "process group", marks=long),
        pytest.param("LocalSize", "2 ranks", "local", "embedded along with it", marks=long),
        pytest.param("OwnNorm", "2 ranks", "local", "embedded along with it", marks=long),
        pytest.param("QueuedFirst", "positives", "positives", "1.0 rows of itself", marks=long),
        pytest.param("OwnRowDrawn", "positives", "positives", "1.0 rows of itself", marks=long),
        pytest.param("KeptViews", "gradient", "seam", "what `embed` saw last", marks=long),
        pytest.param("KeptNumbers", "gradient", "seam", "what `embed` saw last", marks=long),
        pytest.param("TeacherInEmbed", "micro-batches", "embed-state", "`embed` changes target", marks=long),
        pytest.param("QueuedInEmbed", "micro-batches", "embed-state", "`embed` changes queue", marks=long),
        pytest.param("KeptSize", "gradient", "seam", "what `embed` saw last", marks=long),
        pytest.param("ByWorld", "2 ranks", "ranks", "", marks=long),
        pytest.param("AllDetached", "trains", "untrained", "does not require grad", marks=long),
        pytest.param("ListedState", "resume", "state", "self.past changes", marks=long),
        pytest.param("Overwrites", "trains", "overwritten", "`embed` changes the views", marks=long),
        pytest.param("Detached", "trains", "untrained", "backbone.", marks=long),
        pytest.param("TaughtTeacher", "trains", "taught", "target.0.", marks=long),
        pytest.param("Doubles", "trains", "dtype", "own.py, line", marks=long),
        pytest.param("OnTheCPU", "device", "device", "mixes tensors", marks=long),
        pytest.param("NoGuard", "guards", "guard", "Without negatives", marks=long),
        ("Raises", "trains", "raises", "KeyError: 'keys' (own.py, line "),
        ("NotANumber", "trains", "not-finite", "no longer finite at step 4"),
        pytest.param("Peeks", "labels", "labels", "", marks=long),
    ],
)
def test_a_mistake_is_found_and_named(name: str, promise: str, kind: str, clue: str) -> None:
    found = checked(name)
    assert [m.kind for m in found.mistakes] == [kind], found
    assert found.broken == [promise] and not found.holds
    assert clue in "; ".join(found.mistakes[0].clues)


def test_every_promise_has_something_that_may_be_behind_it() -> None:
    assert list(BEHIND) == ALL
    assert {kind for kinds in BEHIND.values() for kind in kinds} <= KINDS.keys()


def semblance(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "semblance", "check", *words], capture_output=True, text=True)


def test_the_command_tells_the_verdict_first_and_ends_with_it() -> None:
    told = semblance(f"{OWN}:Raises")
    assert told.returncode == 3
    lines = told.stdout.splitlines()
    assert lines[0] == "Raises breaks 1 promise, by one likely mistake. 13 promises were not judged."
    assert "KeyError: 'keys' (own.py, line" in told.stdout and "It cannot take a step" in told.stdout
    assert "1 of 14: trains: fails" in told.stderr


def test_json_is_for_programs() -> None:
    told = semblance(f"{OWN}:Raises", "--json")
    found = json.loads(told.stdout)
    assert told.returncode == 3 and found["broken"] == ["trains"] and not found["holds"]
    assert found["mistakes"][0]["remedy"]
    assert list(found["promises"][0]["built_in"]) == sb.methods()


def test_what_cannot_be_checked_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nowhere")
    for name, said in ((f"{tmp_path}/broken.py:Mine", "ModuleNotFoundError at line 1"), ("simclrr", "'simclr'")):
        with pytest.raises(UserError, match=said):
            sb.check(name)


def test_a_class_is_checked_by_its_file(tmp_path: Path) -> None:
    from semblance.systems import get

    assert sb.check(get(f"{OWN}:Raises")).method == f"{OWN}:Raises"
    with pytest.raises(UserError, match="is in no file"):
        sb.check(type("Typed", (get("simclr"),), {"__module__": "__main__"}))


def test_ctrl_c_ends_all_of_it() -> None:
    """Also in the middle of a step that never ends, with nothing left behind."""
    command = subprocess.Popen(
        [sys.executable, "-m", "semblance", "check", f"{OWN}:Hangs"], stderr=subprocess.PIPE, text=True
    )
    assert command.stderr is not None
    while "Checking" not in command.stderr.readline():
        pass
    time.sleep(3)
    command.send_signal(signal.SIGINT)
    assert command.wait(10) == 130
    assert "semblance: stopped." in command.stderr.read()  # which ends: no process holds it open any more
