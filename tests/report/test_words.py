"""What the page says: words explained once, numbers without labels, long paths, chance, lines of Python."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pages import SUMMARY, Page, digits, report

from semblance.report.glossary import LABEL_FREE, WORDS
from semblance.report.label_free import label_free_numbers

BARE: dict[str, Any] = {"gallery": None, "views": None, "constants": {}}
FREE = {"view_percentile": [0.612, 0.6, 0.624], "rankme": [130.2, 126.0, 134.4], "uniformity": [-1.2, -1.25, -1.15]}
ROWS = [
    {"encoder": "untrained backbone", "knn_top1": 0.2, "label_free": {"pictures": FREE | {"samples": 300}}},
    {"encoder": "trained backbone", "knn_top1": 0.3, "label_free": {"pictures": FREE | {"lidar": [28.6, 26.6, 30.6]}}},
]


def test_each_word_of_the_page_is_explained_once(tmp_path: Path) -> None:
    metrics = [{"step": 1, "loss": 5.0, "embedding_std": 0.9, "prototypes_in_use": 9, "pictures_view_percentile": 0.6}]
    text = Page(report(tmp_path, gallery=digits(60), metrics=metrics, summary=SUMMARY | {"table": ROWS})).text
    for name in ("knn_top1", "embedding_std", "prototypes_in_use", "t-SNE", "neighbours", "untrained", "collapse"):
        assert text.count(WORDS[name][1]) == 1, name
    for name in ("view_percentile", "rankme", "uniformity", "lidar"):
        assert text.count(LABEL_FREE[name][1]) == 1, name
    for name in ("teacher_entropy", "largest_cluster", "video_to_audio_r1", "PCA"):  # are not on this page
        assert WORDS[name][1] not in text, name


def test_numbers_without_labels_have_their_intervals(tmp_path: Path) -> None:
    text = Page(report(tmp_path, **BARE | {"summary": {"table": ROWS}})).text.replace("\u00a0", " ")
    for told in ("61.2 %", "± 1.2", "130", "± 4", "−1.20", "± 0.05", "28.6", "± 2.0", "300 samples"):
        assert told in text, told
    (numbers,) = label_free_numbers(ROWS)
    lidar = next(cells for title, _, cells in numbers.rows if title == "LiDAR")
    assert lidar[0] == ("–", "") and numbers.encoders == ["untrained backbone", "trained backbone"]


@pytest.mark.parametrize(
    "found", [None, {}, {"pictures": {}}, {"pictures": {"rankme": "many", "two_nn": [], "lidar": [1.0, None, 2.0]}}]
)
def test_numbers_that_a_stranger_wrote_are_left_out(found: Any, tmp_path: Path) -> None:
    rows = [{"encoder": "trained backbone", "label_free": found}]
    assert "±" not in Page(report(tmp_path, **BARE | {"summary": {"table": rows}})).text


def test_what_a_share_of_telling_pictures_is_is_no_accuracy(tmp_path: Path) -> None:
    rows = [
        {"encoder": "raw pixels", "knn_top1": 0.2, "telling": 1.0},
        {"encoder": "trained backbone", "knn_top1": 0.3},
    ]
    assert "telling" not in Page(report(tmp_path, **BARE | {"summary": {"table": rows}})).text


def test_long_paths_are_shortened_in_the_middle_and_at_hand_in_full(tmp_path: Path) -> None:
    path = "/data/" + "/".join(f"part-{i}" for i in range(30)) + "/end.tar"
    changes = {
        "summary": {"data": path, "skipped": [[path, "cut short"]]},
        "config": {"data": path, "views": [{"size": 32}] * 9, "short": "/data/x"},
    }
    page = Page(report(tmp_path, **BARE | changes))
    assert path not in page.text and page.text.count("/end.tar") == 4 and "/data/x" in page.text
    assert page.count("span", title=path) == 3
    assert str([{"size": 32}] * 9) in page.text  # of what is no path nothing is lost


@pytest.mark.parametrize(
    ("seen", "heard", "told"),
    [
        (0.05, 0.06, "chance is 5.0 %: both are at chance."),
        (0.30, 0.06, "chance is 5.0 %: the second is at chance."),
        (0.00, 0.30, "chance is 5.0 %."),
        (0.02, 0.30, "chance is 5.0 %: the first is at chance."),
        (0.30, 0.30, "chance is 5.0 %."),
    ],
)
def test_a_recall_that_chance_explains_is_said_to_be_at_chance(seen: float, heard: float, told: str) -> None:
    """Of 200 clips 10 of a hundred by chance; within 3.0 points of it."""
    from semblance.report.words import verdict

    ways = {"video_to_audio": seen, "audio_to_video": heard, "chance": 0.05}
    found = {way: {"r1": share, "r5": share, "r10": share, "median_rank": 9} for way, share in ways.items()}
    assert verdict({"retrieval": found, "test_clips": 200}).replace("\u00a0", " ").endswith(told)


def test_lines_of_python_keep_their_lines_and_signs(tmp_path: Path) -> None:
    usage = ["import semblance as sb", "", 'x = "a" < "b"', r"run = '/tmp/caf\udce9'"]
    html = report(tmp_path, **BARE | {"summary": {}, "usage": usage})
    found = Page(html).words
    assert "\n".join(usage) in "".join(found)


def test_recall_is_drawn_beside_chance() -> None:
    from semblance.report.found import recall_curve, retrieval_rows

    svg = recall_curve({"video_to_audio": torch.tensor([1.0, 2, 3, 4]), "audio_to_video": torch.ones(4)})
    assert "chance</text>" in svg and svg.count("stroke: var(--accent)") == svg.count("stroke: var(--level)") == 1
    assert "stroke: var(--muted)" in svg
    rows = {"video_to_audio": 0.05, "audio_to_video": 0.5, "chance": 0.05}
    found = {way: {"r1": share, "r5": share, "r10": share, "median_rank": 9.5} for way, share in rows.items()}
    assert [[lucky for _, lucky in cells] for _, cells, _ in retrieval_rows(found, 200)] == [
        [True] * 3, [False] * 3, [False] * 3
    ]  # fmt: skip


def test_numbers_of_the_last_step_are_told_apart_from_those_of_what_is_handed_out(tmp_path: Path) -> None:
    of = SUMMARY | {"handed_out": "best", "handed_out_step": 1200, "steps": 2000}
    told = "not of step 1,200, handed out"
    assert told in Page(report(tmp_path, **BARE | {"summary": of})).text
    assert told not in Page(report(tmp_path, **BARE | {"summary": of | {"handed_out": "last"}})).text
