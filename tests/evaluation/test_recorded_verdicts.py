"""Verdicts on runs that were really made, sick and healthy, by what benchmarks/verdicts.py kept of them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from judging import condition_of, judged, points, read, tell
from verdicts import conditions

RUNS = {condition_of(kept).name: kept for kept in read(Path(__file__).with_name("recorded_runs.jsonl.gz"))}
KNOWN = {  # what a verdict should not have been, and is (docs/verdicts.md)
    "pirl-shapes-without negatives-0": "collapsed",
    "lejepa-shapes-healthy-0": "little",
    "dino-shapes-without sharpening-1": "collapsed",
    "vicreg-shapes-without variance and covariance-0": "collapsed",
    "vicreg-shapes-without variance and covariance-1": "collapsed",
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
    assert len(states) == 258 and praised == slandered == []


@pytest.mark.parametrize("share", [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_no_run_that_goes_on_to_learn_is_called_sick_before_its_end(share: float) -> None:
    healthy = [kept for kept in RUNS.values() if condition_of(kept).what == "healthy" and points(kept) >= 5]
    assert [condition_of(kept).name for kept in healthy if judged(kept, share).state in ("collapsed", "diverged")] == []


@pytest.mark.parametrize("stage", ["develop", "held-out"])
def test_the_tables_of_the_docs_are_those_of_these_runs(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [RUNS[condition.name] for condition in conditions(stage)]
    tell(runs, [judged(kept) for kept in runs])
    docs = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text()
    by_condition = "| condition |" if stage == "held-out" else "no such line"  # all are healthy
    told, _, rest = capsys.readouterr().out.partition(by_condition)
    lines = [*told.splitlines(), *rest.splitlines()[3:]]
    assert [line for line in lines if line not in docs] == [] and len(lines) > 8
