"""The run report: self-contained, complete, safe against odd names, and whole for runs with little to show."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import NAMES, SUMMARY, Page, digits, lines, report

from semblance.report.gallery import Gallery


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(tmp_path_factory.mktemp("report"))


def test_it_is_well_formed_and_fetches_nothing(html: str) -> None:
    page = Page(html)
    assert not re.search(r"https?://|//cdn|@import", html)
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)", html))
    assert page.count("script") == 0
    assert len(html) < 3_000_000


def test_ids_are_unique_and_references_resolve(html: str) -> None:
    """Several inline drawings share one page: a repeated id would clip one curve with another's frame."""
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', html)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_the_numbers_are_on_the_page(html: str) -> None:
    text = Page(html).text.replace("\u00a0", " ")
    for fragment in (
        "names 71.2 % of 10,000 test pictures correctly",
        "41.2 points above raw pixels and 30.1 points above the untrained backbone",
        *("60.0 %", "41.1 %", "2 h 14 min", "1,234", "7.25", "contrastive", "Chen et al. 2020", "resnet18"),
        *("method.temperature", "0.5", "seed", "k-NN accuracy", "grad norm", "learning rate"),
        *("ln(2N-1): all embeddings equal", "0: perfect", "a $name$ <of> note", "raw pixels: 20.0 %"),
        *("25 files skipped", "picture_19.jpg", "and 5 more", "original"),
    ):
        assert fragment in text, fragment
    assert "picture_20.jpg" not in text


def test_names_are_escaped(html: str) -> None:
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert NAMES[0] in Page(html).text


def test_neighbours_are_marked_by_class(html: str) -> None:
    page = Page(html)
    same, other = page.count("img", **{"class": "same"}), page.count("img", **{"class": "other"})
    assert same + other == 12 * 8
    assert same > other > 0


def test_neighbours_are_the_nearest_by_cosine() -> None:
    from semblance.report.embedded import Embedded
    from semblance.report.neighbours import search

    gallery = digits(30)
    angles, lengths = torch.linspace(0, 3, 30), torch.arange(1.0, 31.0)[:, None]
    gallery.features = lengths * torch.stack([angles.cos(), angles.sin()], dim=1)
    found = search(Embedded.of(gallery))
    assert found is not None
    _, neighbours = found.rows[0]
    step = 3 / 29
    cosines = [neighbour.similarity for neighbour in neighbours]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[0] == pytest.approx(math.cos(step), abs=1e-5)


def test_neighbours_without_a_label_neither_agree_nor_differ() -> None:
    """Of three pictures each is a neighbour of the others."""
    from semblance.report.embedded import Embedded
    from semblance.report.neighbours import search

    gallery = digits(3)
    gallery.features = torch.tensor([[1.0, 0], [1, 0.1], [1, 0.2]])
    for labels, agreement in (([0, 0, -1], 1.0), ([0, 1, -1], 0.0), ([0, 0, 1], 1 / 3), ([0, -1, -1], None)):
        gallery.labels = torch.tensor(labels)
        found = search(Embedded.of(gallery))
        assert found is not None and found.agreement == (None if agreement is None else pytest.approx(agreement))


def test_queries_cover_the_classes() -> None:
    from semblance.report.neighbours import _queries

    labels = np.repeat(np.arange(10), 50)
    assert set(labels[_queries(labels, 500)]) == set(range(10))
    assert set(np.repeat([0, 1, 2], [400, 50, 50])[_queries(np.repeat([0, 1, 2], [400, 50, 50]), 500)]) == {0, 1, 2}
    assert len(set(_queries(np.arange(100), 100))) == 12
    assert len(set(_queries(None, 100))) == 12


def test_labels_of_levels_do_not_overlap() -> None:
    """Six levels within one line height, above a curve that rises through them."""
    from matplotlib.figure import Figure

    from semblance.report.levels import label_lines

    figure = Figure(figsize=(6.5, 3.75), dpi=72)
    axes = figure.add_subplot()
    steps = np.arange(100.0)
    axes.plot(steps, steps / 100)
    label_lines(figure, axes, {f"level number {i}": 0.5 + i / 1000 for i in range(6)}, steps, steps / 100, "black")
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_level_far_off_is_named_but_does_not_flatten_the_curve(tmp_path: Path) -> None:
    text = Page(report(tmp_path, constants={"nowhere": 1e6, "here": 6.0}, gallery=None)).text
    assert "Off the scale: nowhere = 1,000,000." in text


@pytest.mark.parametrize(
    ("trained", "expected"),
    [(0.31, "within sampling noise of raw pixels (+1.0 points)"), (0.1, "20.0 points below"), (0.3, "level with")],
)
def test_the_verdict_does_not_flatter(trained: float, expected: str) -> None:
    from semblance.report.words import verdict

    rows = [{"encoder": "raw pixels", "knn_top1": 0.3}, {"encoder": "trained backbone", "knn_top1": trained}]
    assert expected in verdict({"table": rows, "test_images": 1000})


@pytest.mark.parametrize(
    ("other", "counts", "expected"),
    [
        (0.46, {"test_images": 1000}, "within sampling noise of raw pixels (+4.0 points)"),  # 1.96 deviations: 4.4
        (0.45, {"test_images": 1000}, "5.0 points above raw pixels"),
        (0.45, {"test_images": 1000, "measured": {"train": 5000, "test": 500}}, "within sampling noise"),
        (0.45, {"test_images": 500, "measured": {"train": 5000, "test": 1000}}, "5.0 points above raw pixels"),
        (0.55, {"test_clips": 1000}, "5.0 points below raw pixels"),
    ],
)
def test_a_difference_counts_beyond_the_interval_of_what_was_measured(
    other: float, counts: dict[str, Any], expected: str
) -> None:
    from semblance.report.words import verdict

    rows = [{"encoder": "raw pixels", "knn_top1": other}, {"encoder": "trained backbone", "knn_top1": 0.5}]
    assert expected in verdict({"table": rows} | counts)


def test_a_verdict_on_clips_tells_both_ways_and_chance() -> None:
    from semblance.report.words import verdict

    ways = {"video_to_audio": 0.5, "audio_to_video": 0.6, "chance": 0.1}
    for clips, near, place in ((49, "r1", "first"), (50, "r10", "among the first ten")):
        found = {way: {"r1": 0.99, "r5": 0.99, "r10": 0.99} | {near: share} for way, share in ways.items()}
        told = verdict({"retrieval": found, "test_clips": clips}).replace("\u00a0", " ")
        assert f"finds its own sound {place} in 50.0 % of cases, and a sound its own picture in 60.0 %" in told
        assert told.endswith("chance is 10.0 %.") and f"Among {clips} held-out clips" in told


def test_the_map_shows_classes_apart_and_pictures_that_do_not_cover_one_another() -> None:
    from semblance.report.embedded import Embedded
    from semblance.report.projection import project

    drawn = project(Embedded.of(digits(400)))
    assert drawn is not None and drawn.method == "t-SNE"
    assert [group.name for group in drawn.groups] == NAMES
    assert sum(group.size for group in drawn.groups) == 400
    pictured = np.array([(m.x, m.y) for group in drawn.groups for m in group.marks if m.image])
    assert 20 < len(pictured) <= 150
    apart = np.abs(pictured[:, None] - pictured).max(axis=-1)[~np.eye(len(pictured), dtype=bool)]
    assert apart.min() >= drawn.thumbnail
    centres = np.array([np.mean([(m.x, m.y) for m in group.marks], axis=0) for group in drawn.groups])
    nearest = [
        np.linalg.norm(centres - (m.x, m.y), axis=1).argmin() == number
        for number, group in enumerate(drawn.groups)
        for m in group.marks
    ]
    assert np.mean(nearest) > 0.7


def test_rare_classes_share_grey_when_there_are_more_classes_than_colours() -> None:
    from semblance.report.embedded import Embedded
    from semblance.report.projection import project

    gallery = digits(60)
    gallery.labels = torch.arange(60) % 20
    drawn = project(Embedded.of(gallery))
    assert drawn is not None
    assert drawn.groups[0].name == "12 other classes"
    assert sum(group.size for group in drawn.groups) == 60


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": [], "summary": {}, "config": {}, "constants": {}, "views": None, "gallery": None},
        {"metrics": lines(1)[:1]},
        {"metrics": [{"step": 1, "loss": None, "lr": float("inf"), "note": "text"}, {"step": 2, "loss": 3.0}]},
        {"metrics": [{"step": 1, "loss": float("nan")}], "constants": {"unknown": float("nan")}},
        {"summary": SUMMARY | {"table": [], "skipped": [], "training_seconds": float("nan"), "test_images": None}},
        {"gallery": Gallery(digits(60).pictures, digits(60).features)},
        {"gallery": digits(5)},
        {"gallery": digits(1)},
        {"gallery": digits(0)},
        {"views": torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8), "gallery": None},
        {"views": torch.zeros(9, 11, 3, 64, 64, dtype=torch.uint8), "gallery": None},
    ],
    ids=str.split(
        "nothing one-step missing-values all-nan no-scores no-labels five-pictures one-picture no-pictures"
        " tiny-views many-views"
    ),
)
def test_little_or_broken_input_still_gives_a_page(tmp_path: Path, changes: dict[str, Any]) -> None:
    page = Page(report(tmp_path, **changes))
    assert page.count("h1") == 1
    assert not re.search(r"\b(nan|None)\b", page.text)


def test_a_broken_run_is_named_as_such(tmp_path: Path) -> None:
    gallery = digits(60)
    gallery.features = torch.ones(60, 4) + 1e-7 * gallery.features[:, :4]
    gallery.features[0] = float("nan")
    metrics = [{"step": 1, "loss": 5.0}, {"step": 2, "loss": float("nan")}]
    text = Page(report(tmp_path, gallery=gallery, metrics=metrics)).text
    assert "The loss was not a finite number in 1 of 2 log lines, first at step 2." in text
    assert "1 of 60 gallery pictures have features that are not finite." in text
    assert "The encoder has collapsed" in text


@pytest.mark.parametrize("spread", [(0.2, 0.26), (0.5, 0.503), (0.0, 0.9), (0.31, 0.31), (0.05, 0.0625)])
def test_labels_of_an_axis_are_as_even_as_its_ticks(spread: tuple[float, float], tmp_path: Path) -> None:
    metrics = [{"step": 10 * i, "knn_top1": spread[0] + (spread[1] - spread[0]) * i / 9} for i in range(10)]
    html = report(tmp_path, metrics=metrics, gallery=None, summary={})
    words = re.findall(r">([\d.−-]+%)</text>", html)
    told = [float(word[:-1].replace("−", "-")) for word in words]
    assert len(told) >= 2 and np.ptp(np.diff(told)) <= 1e-6 * max(np.diff(told))
    assert len(set(told)) == len(told) and max(map(len, words)) <= len("50.25%")


def test_a_stopped_run_says_so_first(tmp_path: Path) -> None:
    html = report(tmp_path, gallery=None, summary=SUMMARY | {"steps": 20, "total_steps": 100})
    assert "Stopped after step 20 of 100" in Page(html).text
    assert "Stopped" not in report(tmp_path, gallery=None, summary=SUMMARY | {"steps": 100, "total_steps": 100})
