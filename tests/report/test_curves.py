"""The curves of the report: levels, bands that the verdict goes by, what is drawn large, how numbers are told."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from pages import Page, report

from semblance.evaluation import collapse
from semblance.report import curves, signals
from semblance.report.signals import Signal, levels
from semblance.systems.method import Empty

BARE: dict[str, Any] = {"gallery": None, "views": None, "summary": {}, "constants": {}}


def log(**numbers: Any) -> list[dict[str, Any]]:
    """Of each number ten lines; callable: of the step."""
    return [
        {"step": step} | {name: of(step) if callable(of) else of for name, of in numbers.items()}
        for step in range(10, 101, 10)
    ]


def pixels_of_bands(svg: str) -> float:
    """The height of all shaded ranges of a drawing."""
    heights = []
    for path in re.findall(r'<path d="([^"]*)"[^>]*style="fill: var\(--other\)', svg):
        ys = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", path)]
        heights.append(max(ys) - min(ys))
    return sum(heights)


def axis_of(svg: str) -> list[tuple[float, float]]:
    """(value, y) of the ticks of a drawing's upright axis, from below."""
    found = re.findall(r'text-anchor: end; fill: var\(--muted\)" x="[\d.]+" y="([\d.]+)"[^>]*>([\d.,]+)%?</text>', svg)
    return [(float(value.replace(",", "")), float(y)) for y, value in found]


def only(name: str, of: Any, constants: dict[str, float] | None = None, table: Any = ()) -> curves.Curve:
    drawn = curves.draw(log(**{name: of}), constants or {}, list(table))
    assert drawn is not None
    ((curve,),) = drawn.learning + drawn.more
    return curve


@pytest.mark.parametrize(
    ("name", "value", "edge"),
    [
        ("embedding_std", 0.99, "UNIT_DEVIATION"),
        ("video_embedding_std", 0.1, "UNIT_DEVIATION"),
        ("deviation", 0.3, "DEVIATION"),
        ("prototypes_in_use", 30.0, "GROUPS"),
        ("my_vectors_in_use", 1.0, "GROUPS"),
    ],
)
def test_the_band_is_the_range_of_the_verdict_and_the_axis_begins_at_nothing(
    name: str, value: float, edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for level in (getattr(collapse, edge), 2 * getattr(collapse, edge)):
        monkeypatch.setattr(collapse, edge, level)
        svg = only(name, value).svg
        (low, y0), (high, y1) = axis_of(svg)[0], axis_of(svg)[-1]
        assert low == 0 and pixels_of_bands(svg) == pytest.approx(level * (y0 - y1) / (high - low), abs=0.1)
        assert f"collapsed: {level:g} or less" in svg


def test_the_loss_is_shaded_around_empty_levels_alone() -> None:
    svg = only("loss", lambda step: 6 - step / 50, {"ln 256: uniform": Empty(math.log(256)), "the optimum": 4.5}).svg
    (low, y0), (high, y1) = axis_of(svg)[0], axis_of(svg)[-1]
    assert pixels_of_bands(svg) == pytest.approx(2 * 0.01 * math.log(256) * (y0 - y1) / (high - low), abs=0.1)
    assert pixels_of_bands(only("loss", 5.0, {"the optimum": 4.5}).svg) == 0


def test_a_large_cluster_is_shaded_from_above_and_told_as_percent() -> None:
    curve = only("largest_cluster", 0.97)
    assert curve.last == "97.0\u00a0%" and "collapsed: 90.0\u00a0% or more" in curve.svg
    assert pixels_of_bands(curve.svg) > 0
    assert pixels_of_bands(only("positive_similarity", 0.1).svg) == 0


def test_counts_are_told_of_how_many(tmp_path: Path) -> None:
    metrics = log(loss=1.0, prototypes_in_use=1.0, embedding_std=0.5)
    page = Page(report(tmp_path, **BARE | {"metrics": metrics, "groups": 256}))
    assert "1 of 256 prototypes in use" in page.text and "0.0039" not in page.text
    assert Signal("classes_in_use", "learning").write(12.0) == "12"


TABLE = [
    {"encoder": "raw pixels", "label_free": {"pictures": {"view_percentile": [0.65, 0.6, 0.7]}}},
    {"encoder": "untrained backbone", "label_free": {"pictures": {"view_percentile": [0.61, 0.6, 0.62]}}},
    {"encoder": "trained backbone", "label_free": {"pictures": {"view_percentile": [0.7, 0.6, 0.8]}}},
]


def test_the_percentile_of_the_other_view_begins_at_chance_beside_the_untrained_one() -> None:
    svg = only("pictures_view_percentile", 0.7, table=TABLE).svg
    assert axis_of(svg)[0][0] == 50
    for told in ("chance: 50.0", "untrained backbone: 61.0", "raw pixels: 65.0", "learnt, from here on: 67.0"):
        assert told in svg, told
    assert "70.0" not in svg  # its own end is no level


def test_no_level_lies_where_no_percentile_can() -> None:
    table = [{"encoder": "backbone it began with", "label_free": {"pictures": {"view_percentile": [0.98, 0.97, 0.99]}}}]
    assert "learnt, from here on" not in only("pictures_view_percentile", 0.99, table=table).svg


def test_of_clips_only_what_both_halves_say_is_a_sign_of_learning() -> None:
    names = ["video_view_percentile", "between_view_percentile", "audio_view_percentile"]
    assert [s.name for s in signals.signals(names) if s.worth == "learning"] == ["between_view_percentile"]
    assert all(s.worth == "learning" for s in signals.signals([names[0], names[2]]))
    assert "learnt, from here on" not in str(levels(Signal(names[0], "spread"), {}, TABLE))


def test_learning_is_large_and_throughput_small_and_last() -> None:
    names = "samples_per_second", "lr", "my_norm", "positive_similarity", "embedding_std", "knn_top1", "loss"
    drawn = curves.draw(log(**dict.fromkeys(names, 0.5)), {}, [])
    assert drawn is not None
    large, small = ([curve for row in rows for curve in row] for rows in (drawn.learning, drawn.more))
    assert [curve.name for curve in large] == ["loss", "k-NN accuracy", "deviation of embeddings"]
    assert [curve.name for curve in small][-2:] == ["samples per second", "learning rate"]
    heights = [{float(re.findall(r'viewBox="0 0 [\d.]+ ([\d.]+)"', c.svg)[0]) for c in cs} for cs in (large, small)]
    assert min(heights[0]) > 1.5 * max(heights[1])


@pytest.mark.parametrize("learning", range(1, 8))
@pytest.mark.parametrize("more", range(8))
def test_no_row_of_curves_is_half_empty(learning: int, more: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a curve stand alone, but where it is the only one."""
    monkeypatch.setattr(curves, "_curve", lambda *_: "")
    names = [*("loss", *(f"n{i}_embedding_std" for i in range(learning - 1))), *(f"m{i}" for i in range(more))]
    drawn = curves.draw(log(**dict.fromkeys(names, 0.5)), {}, [])
    assert drawn is not None
    assert sum(len(row) for row in drawn.learning + drawn.more) == len(names)
    assert all(2 <= len(row) <= 3 for row in drawn.learning + drawn.more) or len(names) == 1


def test_label_free_numbers_of_the_start_and_the_end_alone_are_left_to_their_table(tmp_path: Path) -> None:
    ends = [{"step": 0, "pictures_rankme": 5.0}, *log(loss=1.0), {"step": 100, "pictures_rankme": 9.0}]
    for metrics, drawn in ((ends, False), ([*ends, {"step": 50, "pictures_rankme": 7.0}], True)):
        page = report(tmp_path, **BARE | {"metrics": metrics})
        assert ("Label-free numbers over the steps" in page) == drawn and ("RankMe" in page) == drawn
