"""The verdict, on logs and numbers written for it: each state, its words, and what must not be said."""

from dataclasses import replace
from math import log
from typing import Any

import pytest

from semblance.evaluation.advice import Advice
from semblance.evaluation.collapse import Live
from semblance.evaluation.ranking import ranking
from semblance.evaluation.verdict import Run, verdict
from semblance.systems.method import Empty

STEPS = 400


def lines(steps: int = STEPS, **numbers: Any) -> list[dict[str, Any]]:
    """A log of every tenth step; a number may be a function of the step."""
    return [
        {"step": step, "epoch": step / 40, "seconds": 1.0}
        | {name: value(step) if callable(value) else value for name, value in numbers.items()}
        for step in (1, *range(10, steps + 1, 10))
    ]


def rows(first: float, last: float, *, telling: float = 1.0) -> list[dict[str, Any]]:
    def row(encoder: str, percentile: float) -> dict[str, Any]:
        return {"encoder": encoder, "label_free": {"pictures": {"view_percentile": [percentile, 0, 1]}}}

    raw = row("raw pixels", 0.6) | {"telling": telling}
    return [raw, row("untrained backbone", first), row("trained backbone", last)]


def measured(stream: str, first: dict[str, float], last: dict[str, float]) -> list[dict[str, Any]]:
    """A table with one stream's numbers."""
    before, after = ({stream: {name: [value, 0, 1] for name, value in row.items()}} for row in (first, last))
    return [{"encoder": "untrained", "label_free": before}, {"encoder": "trained", "label_free": after}]


@pytest.mark.parametrize(
    ("percentile", "repeatability", "state"),
    [(0.635, 0.35, "learnt"), (0.635, 0.25, "little"), (0.62, 0.5, "little"), (0.67, 0.1, "learnt")],
)
def test_a_small_gain_counts_where_repeatability_has_gained(
    percentile: float, repeatability: float, state: str
) -> None:
    first, last = (0.6, 0.2), (percentile, repeatability)
    table = measured(
        "pictures", *(dict(zip(("view_percentile", "repeatability"), row, strict=True)) for row in (first, last))
    )
    assert verdict(Run(lines(loss=3.0), STEPS, 10.0, rows=table)).state == state


@pytest.mark.parametrize("odd", [None, [], ["much"], "3", [float("nan"), 0, 1]])
def test_numbers_that_are_none_do_not_speak(odd: Any) -> None:
    table = measured("pictures", {"view_percentile": 0.6}, {"view_percentile": 0.7})
    table[0]["label_free"]["pictures"]["repeatability"] = table[1]["label_free"]["pictures"]["rankme"] = odd
    assert verdict(Run(lines(loss=3.0), STEPS, 10.0, rows=table)).state == "learnt"
    assert ranking({"step": 3, "pictures_view_percentile": odd}) is None


def test_one_stream_that_learnt_is_enough() -> None:
    before, after = {"between": 0.5, "video": 0.6, "audio": 0.9}, {"between": 0.5, "video": 0.7, "audio": 0.9}
    table = [
        {"encoder": "e", "label_free": {stream: {"view_percentile": [value, 0, 1]} for stream, value in row.items()}}
        for row in (before, after)
    ]
    found = verdict(Run(lines(loss=3.0), STEPS, 10.0, rows=table))
    assert found.state == "learnt" and "its other video is nearer than 70 %" in found.headline


def test_features_that_fall_into_a_few_directions_have_collapsed() -> None:
    log_lines = [{"step": 0, "epoch": 0.0, "pictures_rankme": 20.0, "pictures_view_percentile": 0.6}, *lines(loss=3.0)]
    log_lines += [
        {"step": step, "pictures_rankme": rank, "pictures_view_percentile": 0.6}
        for step, rank in ((200, 3.0), (390, 2.0))
    ]
    found = verdict(Run(log_lines, STEPS, 10.0))
    assert (found.state, found.since) == ("collapsed", 200) and "2.0 directions, 20.0 before training" in found.headline
    log_lines[-1]["pictures_rankme"] = 5.0
    assert verdict(Run(log_lines, STEPS, 10.0)).state == "little"


@pytest.mark.parametrize(("rank", "state"), [(12.0, "cannot-tell"), (6.0, "collapsed")])
def test_embeddings_that_collapse_over_features_that_have_not(rank: float, state: str) -> None:
    table = measured("pictures", {"view_percentile": 0.6, "rankme": 20.0}, {"view_percentile": 0.59, "rankme": rank})
    found = verdict(Run(lines(loss=3.0, embedding_std=0.01), STEPS, 10.0, without=["centring"], rows=table))
    assert found.state == state and ("12.0 directions, 20.0 before" in found.headline) == (state == "cannot-tell")


def judged(first: float = 0.6, last: float = 0.6, steps: int = STEPS, levels: Any = None, **numbers: Any) -> Any:
    log_lines = lines(steps, **{"loss": 3.0, "embedding_std": 0.9} | numbers)
    return verdict(Run(log_lines, steps, steps / 40, levels or {}, rows=rows(first, last)))


def test_learnt_where_the_other_view_is_found_better_than_before() -> None:
    found = judged(0.6, 0.75)
    assert found.state == "learnt" and "75 %" in found.headline and "60 % before" in found.headline


@pytest.mark.parametrize("last", [0.3, 0.6, 0.65])
def test_little_where_it_is_not(last: float) -> None:
    assert judged(0.6, last).state == "little"


def test_collapsed_since_the_step_from_which_embeddings_point_one_way() -> None:
    found = judged(embedding_std=lambda step: 0.9 if step < 150 else 0.01)
    assert (found.state, found.since) == ("collapsed", 150) and "step 150" in found.headline


def test_a_deviation_that_recovers_is_no_collapse() -> None:
    assert judged(0.6, 0.8, deviation=lambda step: 0.01 if 100 < step < 300 else 0.8).state == "learnt"


def test_a_method_that_learns_though_its_embeddings_have_collapsed_is_not_praised() -> None:
    found = judged(0.6, 0.8, embedding_std=0.01)
    assert found.state == "cannot-tell" and found.since == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("deviation", 0.01), ("prototypes_in_use", 2.0), ("largest_cluster", 0.99), ("video_embedding_std", 0.1)],
)
def test_every_sign_of_a_collapse_is_read(name: str, value: float) -> None:
    found = judged(**{name: value})
    assert found.state == "collapsed" and any(e.name == name for e in found.evidence)


def test_a_loss_at_an_empty_level_says_nothing_is_learnt() -> None:
    levels = {"ln 256: all predictions uniform": Empty(log(256)), "the optimum": 3.0}
    found = judged(levels=levels, loss=log(256) + 0.01)
    assert found.state == "collapsed" and "all predictions uniform" in found.headline
    assert judged(levels=levels, loss=3.0).state == "little"
    assert judged(0.6, 0.8, levels=levels, loss=log(256)).state == "learnt"


def test_what_diverged_is_told_with_its_step() -> None:
    about = {"step": 73, "loss": "nan", "weights": ["backbone.conv1.weight"]}
    found = verdict(Run(lines(70, loss=1.0), 70, 2.0, diverged=about))
    assert (found.state, found.since) == ("diverged", 73) and "backbone.conv1.weight" in found.headline


@pytest.mark.parametrize("first", [0.6, 0.4])
def test_a_handful_of_steps_is_too_short(first: float) -> None:
    assert judged(first, 0.6, steps=20).state == "too-short"


def test_constant_pictures_are_named_as_the_cause() -> None:
    found = verdict(Run(lines(loss=3.0, embedding_std=0.9), STEPS, 10.0, rows=rows(0.5, 0.5, telling=0.01)))
    assert found.state == "cannot-tell" and "pictures" in found.headline


def test_a_loss_without_its_guard_is_not_believed() -> None:
    found = verdict(Run(lines(loss=-1.0, embedding_std=0.9), STEPS, 10.0, {}, ["stop_gradient"], rows(0.6, 0.6)))
    assert found.state == "cannot-tell" and "stop_gradient is OFF" in found.headline


def test_a_log_alone_is_enough_where_it_has_looked() -> None:
    log_lines = [{"step": 0, "epoch": 0.0, "pictures_view_percentile": 0.6}, *lines(loss=3.0)]
    assert verdict(Run(log_lines, STEPS, 10.0)).state == "cannot-tell"
    seen = {"step": STEPS, "epoch": 10.0, "pictures_view_percentile": 0.8}
    assert verdict(Run([*log_lines, seen], STEPS, 10.0)).state == "learnt"


def test_clips_are_judged_by_whether_picture_and_sound_meet() -> None:
    def row(between: float) -> dict[str, Any]:
        of = {"view_percentile": [0.9, 0, 1]}
        return {
            "encoder": "",
            "label_free": {"video": of, "audio": of, "between": {"view_percentile": [between, 0, 1]}},
        }

    assert verdict(Run(lines(loss=3.0), STEPS, 10.0, rows=[row(0.5), row(0.9)])).state == "learnt"
    assert verdict(Run(lines(loss=3.0), STEPS, 10.0, rows=[row(0.5), row(0.5)])).state == "little"


def told_live(total: int, **numbers: Any) -> list[tuple[int, str]]:
    live = Live(total)
    return [(line["step"], told) for line in lines(total, loss=1.0, **numbers) if (told := live.note(line))]


def test_a_running_collapse_is_told_once_and_soon() -> None:
    ((step, told),) = told_live(1000, embedding_std=lambda step: 0.9 if step < 300 else 0.01)
    assert 500 <= step <= 560 and "since step 300" in told


def test_no_alarm_of_a_passing_collapse_or_of_a_healthy_run() -> None:
    assert told_live(1000, deviation=lambda step: 0.01 if 100 < step < 250 else 0.8) == []
    assert told_live(1000, embedding_std=0.9, prototypes_in_use=200.0) == []


def test_numbers_that_are_none_are_passed_over() -> None:
    found = judged(0.6, 0.8, strange="text", embedding_std=lambda step: None if step == 400 else 0.9)
    assert found.state == "learnt"


def test_of_an_earlier_network_that_is_handed_out() -> None:
    log_lines = lines(loss=3.0, embedding_std=lambda step: 0.9 if step < 250 else 0.01)
    found = verdict(Run(log_lines, STEPS, 10.0, rows=rows(0.6, 0.8), kept=200))
    assert found.state == "learnt" and "step 200 of 400, the best; at the end the embeddings point" in found.headline
    found = verdict(Run(log_lines, STEPS, 10.0, rows=rows(0.6, 0.6), kept=0))
    assert found.state == "collapsed" and "it began with" in found.headline
    start = measured("pictures", *[{"view_percentile": 0.9, "rankme": 20.0}] * 2)  # what is handed out is whole
    log_lines = [{"step": 0, "pictures_rankme": 20.0}, *lines(pictures_rankme=0.0)]
    found = verdict(Run(log_lines, STEPS, 10.0, rows=start, kept=0))
    assert found.state == "collapsed" and found.headline.startswith("It collapsed, since step 1: the features of")


@pytest.mark.parametrize("kept", [None, 0])
def test_a_start_that_is_lost_is_told_first(kept: int | None) -> None:
    """Though views are found better; of a short run and of a stopped one too."""
    table = rows(0.6, 0.8 if kept is None else 0.6)
    advice = Advice("runs/mine", backbone_rate=3e-4)
    for steps, total in ((20, 20), (STEPS, STEPS), (STEPS, 2 * STEPS)):
        log_lines = [{"step": 0, "knn_leave_one_out": 0.72}, *lines(steps, loss=3.0)]
        log_lines[-1]["knn_leave_one_out"] = 0.51
        found = verdict(Run(log_lines, steps, 10.0, rows=table, kept=kept, advice=advice, total=total, given=True))
        assert found.state == "little" and "has lost what it began with: kNN" in found.headline
        assert "finds 51.0 %, 72.0 % at the start" in found.headline and "--backbone-lr 0.0001" in found.advice[0]
        log_lines[-1]["knn_leave_one_out"] = 0.701  # less than is told of
        found = verdict(Run(log_lines, steps, 10.0, rows=table, kept=kept, advice=advice, total=total, given=True))
        assert "lost" not in found.headline


def test_a_start_that_is_lost_is_told_of_a_short_run_that_collapsed() -> None:
    log_lines = [{"step": 0, "knn_leave_one_out": 0.88}, *lines(20, embedding_std=0.01)]
    log_lines[-1]["knn_leave_one_out"] = 0.65
    assert "has lost what it began with" in verdict(Run(log_lines, 20, 3.0, rows=rows(0.6, 0.6), given=True)).headline


@pytest.mark.parametrize("collapses", [False, True])
def test_to_train_on_from_an_end_that_is_lost_is_not_advised(collapses: bool) -> None:
    """Where an earlier network is handed out, which is what the verdict is of."""
    spread = (lambda step: 0.9 if step < 250 else 0.01) if collapses else 0.9
    log_lines = [{"step": 0, "knn_leave_one_out": 0.88}, *lines(loss=3.0, embedding_std=spread)]
    log_lines[21]["knn_leave_one_out"], log_lines[-1]["knn_leave_one_out"] = 0.89, 0.88 if collapses else 0.65
    advice = Advice("runs/mine", lr=1e-3, backbone_rate=3e-4)
    run = Run(log_lines, STEPS, 10.0, rows=rows(0.6, 0.6), kept=200, advice=advice, given=True)
    found = verdict(run)
    assert found.state == "little" and "--backbone-lr 0.0001" in found.advice[0]
    assert f"the best; at the end {'the embeddings' if collapses else 'kNN among'}" in found.headline
    found = verdict(replace(run, given=False, advice=Advice("runs/mine", lr=1e-3)))
    assert ("third of the rate" in found.advice[0]) == collapses


@pytest.mark.parametrize(
    ("name", "within", "outside"),
    [
        ("embedding_std", 0.2, 0.21), ("deviation", 0.05, 0.06), ("prototypes_in_use", 2.0, 3.0),
        ("largest_cluster", 0.9, 0.89), ("loss", 3.0 + 0.03, 3.0 + 0.04), ("loss", 3.0 - 0.03, 3.0 - 0.04),
    ],
)  # fmt: skip
def test_where_a_collapse_begins(name: str, within: float, outside: float) -> None:
    levels = {"all equal": Empty(3.0)}
    for value, state in ((within, "collapsed"), (outside, "little")):
        assert judged(levels=levels, **{"loss": 9.0, name: value}).state == state, value


@pytest.mark.parametrize(("of_its_end", "state"), [(0.1, "collapsed"), (0.09, "little")])
def test_what_counts_is_the_last_tenth_of_a_run(of_its_end: float, state: str) -> None:
    found = judged(steps=1000, embedding_std=lambda step: 0.01 if step > 1000 * (1 - of_its_end) else 0.9)
    assert found.state == state


@pytest.mark.parametrize(("steps", "per_epoch", "state"), [
    (49, 10, "too-short"), (50, 50, "little"), (50, 51, "too-short"), (199, 1000, "too-short"), (200, 1000, "little"),
])  # fmt: skip
def test_how_long_is_long_enough(steps: int, per_epoch: int, state: str) -> None:
    assert verdict(Run(lines(loss=3.0), steps, steps / per_epoch, rows=rows(0.6, 0.6))).state == state


@pytest.mark.parametrize(("telling", "state"), [(0.1, "cannot-tell"), (0.11, "little")])
def test_how_many_pictures_are_to_be_told_apart(telling: float, state: str) -> None:
    assert verdict(Run(lines(loss=3.0), STEPS, 10.0, rows=rows(0.5, 0.5, telling=telling))).state == state


@pytest.mark.parametrize(("gained", "repeated", "state"), [
    (0.06, 0.0, "learnt"), (0.059, 0.0, "little"), (0.0301, 0.101, "learnt"), (0.029, 0.2, "little"),
    (0.0301, 0.09, "little"),
])  # fmt: skip
def test_what_counts_as_learnt(gained: float, repeated: float, state: str) -> None:
    before, after = (
        {"view_percentile": 0.5, "repeatability": 0.25},
        {"view_percentile": 0.5 + gained, "repeatability": 0.25 + repeated},
    )
    assert verdict(Run(lines(loss=3.0), STEPS, 10.0, rows=measured("pictures", before, after))).state == state


def test_constant_pictures_are_the_cause_of_a_short_run_too() -> None:
    found = verdict(Run(lines(30, loss=3.0), 30, 10.0, rows=rows(0.5, 0.5, telling=0.0)))
    assert found.state == "cannot-tell" and "Look at the pictures" in found.advice[0]


def test_labels_that_do_not_bear_it_out_are_told_and_change_no_state() -> None:
    for last, told in ((0.11, True), (0.13, False)):
        table = rows(0.6, 0.75)
        table[1]["knn_top1"], table[2]["knn_top1"] = 0.1, last
        found = verdict(Run(lines(loss=3.0), STEPS, 10.0, rows=table))
        assert found.state == "learnt" and ("Yet by its labels" in found.headline) == told


def unfinished(steps: int, **numbers: Any) -> Any:
    start = {"step": 0, "epoch": 0.0, "pictures_view_percentile": 0.6}
    levels = {"all equal": Empty(3.0)}
    return verdict(Run([start, *lines(steps, **{"loss": 3.0} | numbers)], steps, steps / 40, levels, total=1000))


def test_a_run_that_goes_on_is_called_collapsed_only_for_what_has_lasted() -> None:
    """Some pass through a collapse and recover, and at first every loss stands at its empty level."""
    assert unfinished(300).state != "collapsed"
    collapse = {"embedding_std": lambda step: 0.9 if step < 100 else 0.01}
    assert [unfinished(steps, **collapse).state for steps in (290, 300)] == ["cannot-tell", "collapsed"]
    assert unfinished(300, pictures_view_percentile=0.61).headline.startswith("It learnt little so far")
    found = unfinished(300, pictures_view_percentile=0.9)
    assert found.headline.startswith("It learnt so far") and found.state == "learnt"


def test_advice_is_to_go_on_or_long_enough() -> None:
    assert unfinished(30).advice == ["Train on: semblance train --resume RUN"]
    run = Run(lines(4, loss=3.0), 4, 2.0, advice=Advice(epochs=2), total=4)
    assert verdict(run).advice == ["Train on: semblance train --resume RUN --epochs 100"]  # 200 steps
    for found in (judged(0.6, 0.8, embedding_std=0.01), judged(), judged(embedding_std=0.01)):
        assert found.state != "learnt" and found.advice


def test_names_of_strangers_are_text() -> None:
    table = measured("{0}", {"view_percentile": 0.5}, {"view_percentile": 0.9})
    assert "its other {0}" in verdict(Run(lines(loss=3.0), STEPS, 10.0, rows=table)).headline
    found = verdict(Run(lines(70, loss=1.0), 70, 2.0, diverged={"step": 73, "weights": ["a\nb"]}))
    assert "\n" not in found.headline


@pytest.mark.parametrize(("gained", "state"), [(0.02, "learnt"), (0.019, "little"), (-0.1, "little")])
def test_a_start_that_finds_nearly_all_views_is_judged_by_labels(gained: float, state: str) -> None:
    table = rows(0.978, 0.985)
    table[1]["knn_leave_one_out"], table[2]["knn_leave_one_out"] = 0.72, 0.72 + gained
    found = verdict(Run(lines(loss=3.0), STEPS, 10.0, rows=table))
    assert found.state == state
    if state == "learnt":
        assert found.headline == "It learnt: kNN among training pictures finds 74.0 %, 72.0 % at the start."
    collapsed = lines(loss=3.0, embedding_std=0.01)
    assert verdict(Run(collapsed, STEPS, 10.0, rows=table)).state == (
        "cannot-tell" if state == "learnt" else "collapsed"
    )
