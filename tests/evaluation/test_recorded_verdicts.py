"""Verdicts on runs that were really made, sick and healthy, by what benchmarks/verdicts.py kept of them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from judging import condition_of, judged, points, read

RUNS = {condition_of(kept).name: kept for kept in read(Path(__file__).with_name("recorded_runs.jsonl.gz"))}
KNOWN = {  # what a verdict should not have been, and is (docs/verdicts.md)
    "pirl-shapes-without negatives-0": "collapsed",
    "lejepa-shapes-healthy-0": "little",
    "dino-shapes-without sharpening-1": "collapsed",
    "npid-shapes-healthy-2": "little",
    "avid-cma-spoken-digits-healthy-1": "little",
}


@pytest.mark.parametrize("name", RUNS)
def test_a_verdict_is_one_that_the_condition_allows(name: str) -> None:
    kept = RUNS[name]
    state = judged(kept).state
    if name in KNOWN:
        assert state == KNOWN[name]
    else:
        assert state in condition_of(kept).allowed(points(kept))


def test_no_sick_run_is_praised_and_no_healthy_one_is_called_sick() -> None:
    states = {name: (condition_of(kept), points(kept), judged(kept).state) for name, kept in RUNS.items()}
    praised = [name for name, (_, gained, state) in states.items() if state == "learnt" and not gained > 2]
    sick = ("collapsed", "diverged")
    slandered = [name for name, (of, gained, state) in states.items()
                 if of.what == "healthy" and gained >= 5 and state in sick]  # fmt: skip
    assert len(states) == 256 and praised == slandered == []
