"""Tables that are known beforehand: which part of the data was measured, by which network, and how it was asked."""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import telling
import torch
from PIL import Image
from torch import Tensor, nn

import semblance as sb
from semblance import systems
from semblance.data import Images, Source
from semblance.data.samples import Attribute
from semblance.modalities.pictures import MODALITY as PICTURES
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.resolve import resolve

HERE = Path(__file__).parent
METHOD, OF_TEACHER = f"{HERE}/telling.py:Telling", f"{HERE}/telling.py:TellingTeacher"
TRAIN, ONES, ZEROS = 48, 30, 10  # training pictures, half of each class; held-out ones of class 1 and of class 0
TEST = ONES + ZEROS
LIES = {  # of each cell, held-out pictures of class 1 and of class 0 in which it says the other class
    telling.UNTRAINED: (20, 4), telling.STUDENT: (0, 4), telling.TEACHER: (6, 1), telling.IN_TRAINING: (30, 6),
    telling.BF16: (10, 2), telling.FLOAT64: (15, 1), telling.CHANNELS_LAST: (17, 3), "ground": (1, 9),
}  # fmt: skip
FAST: dict[str, Any] = {"precision": "32", "channels_last": False, "compile": False, "workers": 0, "eval_every": 0}


def said() -> np.ndarray:
    """The class that each cell of each held-out picture says: bool (TEST, cells)."""
    truth = np.arange(TEST) < ONES
    cells = np.repeat(truth[:, None], telling.CELLS, 1)
    for cell in range(telling.CELLS):
        ones, zeros = LIES.get(cell, LIES["ground"])
        cells[:ones, cell], cells[ONES : ONES + zeros, cell] = False, True
    return cells


def drawn(cells: np.ndarray, dark: int, bright: np.ndarray) -> np.ndarray:
    """Grey pictures of cells, those that say class 1 as bright as their picture's are: uint8 (N, 16, 16, 3)."""
    levels = np.where(cells, bright[:, None], dark).astype(np.uint8)
    side = telling.SIDE // telling.CELL
    pictures = levels.reshape(-1, side, side).repeat(telling.CELL, 1).repeat(telling.CELL, 2)
    return pictures[..., None].repeat(3, -1)


def pictures() -> dict[str, np.ndarray]:
    """Training pictures are 60 bright in the mean; the held-out ones brighter than half of what says 1."""
    truth = np.arange(TRAIN) % 2 == 1
    cells = np.repeat(truth[:, None], telling.CELLS, 1)
    bright = np.where(np.arange(TEST) % 2, 70, 250)
    return {
        "x_train": drawn(cells, 20, np.full(TRAIN, 100)), "y_train": truth.astype(int),
        "x_test": drawn(said(), 20, bright), "y_test": (np.arange(TEST) < ONES).astype(int),
    }  # fmt: skip


def row(encoder: str, cell: Any) -> dict[str, Any]:
    """What has to stand in the table where a cell was read."""
    ones, zeros = LIES[cell]
    top1 = 1 - (ones + zeros) / TEST
    per_class = 1 - (ones / ONES + zeros / ZEROS) / 2
    return {"encoder": encoder, "knn_top1": top1, "linear_top1": top1, "linear_mean_per_class": per_class}


def table(trained: Any, untrained: Any = telling.UNTRAINED) -> list[dict[str, Any]]:
    rows = (("raw pixels", "ground"), ("untrained backbone", untrained), ("trained backbone", trained))
    return [row(*r) for r in rows]


def accuracies(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the settings of the probe, and but for the last digits."""
    digits = [{k: round(v, 9) if isinstance(v, float) else v for k, v in r.items()} for r in rows]
    return [{k: v for k, v in r.items() if k not in ("probe", "label_free", "telling")} for r in digits]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "told.npz"
    np.savez(path, **pictures())
    return path


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, sb.train(METHOD, data=data, out=out, **FAST | {"eval_every": 1, "epochs": 3})


def test_the_rows_are_of_held_out_pictures_before_and_after_training(finished: tuple[Path, dict]) -> None:
    run, summary = finished
    assert accuracies(summary["table"]) == accuracies(table(telling.STUDENT))
    expected = row("", telling.STUDENT)
    assert (summary["knn_top1"], summary["linear_top1"]) == pytest.approx((expected["knn_top1"],) * 2)
    assert (summary["train_images"], summary["test_images"]) == (TRAIN, TEST)
    assert summary["measured"] == {"train": TRAIN, "test": TEST}
    assert sb.evaluate(run) == summary["table"]


def test_the_log_is_of_its_steps_and_training_goes_on_in_training_mode(finished: tuple[Path, dict]) -> None:
    """The loss of a step is its number; kNN in mid-run is after each epoch but the last, which the table follows."""
    lines = RunFolder(finished[0]).read_metrics()
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert losses == {1: 1.0, 10: 10.0, 18: 18.0}
    assert all(line["epoch"] == pytest.approx(line["step"] / 6) for line in lines)
    assert [line["trains"] for line in lines if "loss" in line] == [1.0] * 3
    seen = {line["step"]: line["knn_top1"] for line in lines if "knn_top1" in line}
    begun = row("", telling.UNTRAINED)["knn_top1"]
    assert seen == pytest.approx({0: begun} | {step: row("", telling.STUDENT)["knn_top1"] for step in (6, 12)})


@pytest.mark.parametrize(
    ("options", "cell"),
    [
        ({"precision": "bf16"}, telling.BF16),
        ({"precision": "64"}, telling.FLOAT64),
        ({"channels_last": True}, telling.CHANNELS_LAST),
    ],
    ids=str,
)
def test_networks_are_asked_in_the_precision_and_layout_of_the_run(
    options: dict[str, Any], cell: int, data: Path, tmp_path: Path
) -> None:
    summary = sb.train(METHOD, data=data, out=tmp_path / "run", **FAST | options)
    assert accuracies(summary["table"]) == accuracies(table(cell, cell))
    assert sb.evaluate(tmp_path / "run") == summary["table"]


def test_networks_see_pictures_at_the_size_of_the_views(data: Path, tmp_path: Path) -> None:
    """Not at that for which they are kept."""
    summary = sb.train(METHOD, data=data, out=tmp_path / "run", load_size=2 * telling.SIDE, **FAST)
    assert accuracies(summary["table"]) == accuracies(table(telling.STUDENT))


def test_student_and_teacher_are_told_apart(finished: tuple[Path, dict], data: Path, tmp_path: Path) -> None:
    by_teacher = accuracies(table(telling.TEACHER))
    assert accuracies(sb.evaluate(finished[0], network="teacher")) == by_teacher
    run = tmp_path / "run"
    summary = sb.train(OF_TEACHER, data=data, out=run, **FAST | {"eval_every": 1, "epochs": 2})
    assert accuracies(summary["table"]) == by_teacher
    assert watched(run) == pytest.approx([row("", telling.TEACHER)["knn_top1"]])
    assert accuracies(sb.evaluate(run, network="student")) == accuracies(table(telling.STUDENT))


def watched(run: Path) -> list[float]:
    """kNN in mid-run."""
    return [line["knn_top1"] for line in RunFolder(run).read_metrics() if line["step"] and "knn_top1" in line]


def test_neighbours_vote_as_it_is_asked_for(tmp_path: Path) -> None:
    """Two thirds of the gallery are labelled 1: where all vote and no one weighs more, 1 is what they say."""
    arrays = pictures()
    arrays["y_train"][:16:2] = 1
    np.savez(tmp_path / "noisy.npz", **arrays)
    asked = {"data": tmp_path / "noisy.npz", "knn_k": TRAIN, "eval_every": 1, "epochs": 2}
    everyone = sb.train(METHOD, out=tmp_path / "run", **FAST | asked, knn_temperature=1000.0)
    assert [r["knn_top1"] for r in everyone["table"]] == [ONES / TEST] * 3
    assert watched(tmp_path / "run") == [ONES / TEST]
    near = [r["knn_top1"] for r in sb.evaluate(tmp_path / "run", knn_temperature=0.1)]
    assert near == pytest.approx([r["knn_top1"] for r in table(telling.STUDENT)])


def test_a_sample_is_measured_in_mid_run_too(data: Path, tmp_path: Path) -> None:
    """Of four held-out pictures, three of class 1."""
    sampled = {"eval_samples": 20, "eval_every": 1, "epochs": 2}
    summary = sb.train(METHOD, data=data, out=tmp_path / "run", **FAST | sampled)
    assert watched(tmp_path / "run") == [summary["knn_top1"]] and summary["knn_top1"] in (0.75, 1.0)


def test_what_is_watched_in_mid_run_is_the_first_thing_that_pictures_are_labelled_by() -> None:
    arrays = {name: torch.from_numpy(a) for name, a in pictures().items()}
    parts = []
    for part in ("train", "test"):
        labels = arrays[f"y_{part}"]
        known = {
            "class": Attribute(labels, ["no", "yes"]),
            "other": Attribute(torch.arange(len(labels)) // 2 % 2, ["a", "b"]),
        }
        pixels, sizes = arrays[f"x_{part}"].permute(0, 3, 1, 2), torch.full((len(labels), 2), telling.SIDE)
        parts.append(Images("told", telling.SIDE, range(len(labels)), pixels, sizes, known))
    method = systems.get(METHOD)(nn.Identity())
    method.update({}, torch.arange(1), None)
    method.backbone.norm.running_mean.fill_((60 / 255 - 0.449) / 0.226)
    found = PICTURES.watch(method, Source(*parts), resolve({"method": METHOD} | FAST))
    assert found == pytest.approx({"knn_top1": row("", telling.STUDENT)["knn_top1"]})


def test_the_row_before_training_of_a_run_from_another_is_of_its_networks(
    finished: tuple[Path, dict], data: Path, tmp_path: Path
) -> None:
    summary = sb.train(METHOD, data=data, out=tmp_path / "run", from_run=finished[0], **FAST)
    expected = accuracies(table(telling.STUDENT, telling.STUDENT))
    expected[1]["encoder"] = "backbone it began with"
    among = [row.pop("knn_leave_one_out") for row in summary["table"]]  # a start that is not random is compared by it
    assert accuracies(summary["table"]) == expected and among[1] == among[2]


def test_a_run_that_another_one_stopped_is_measured_where_it_stands(
    finished: tuple[Path, dict], tmp_path: Path
) -> None:
    """Other weights in the checkpoint, other numbers: those of the file, whatever summary.json says."""
    run = Path(shutil.copytree(finished[0], tmp_path / "run"))
    state = checkpoint.load(RunFolder(run).checkpoint)
    state["method"]["backbone.cell"].fill_(telling.TEACHER)
    checkpoint.save(RunFolder(run).checkpoint, state)
    assert accuracies(sb.evaluate(run)) == accuracies(table(telling.TEACHER))


@pytest.mark.parametrize("on_disk", [False, True])
def test_features_names_and_labels_are_of_the_same_pictures(
    on_disk: bool, finished: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With unreadable files in both parts, from memory and decoded on demand."""
    if on_disk:
        monkeypatch.setattr("semblance.runtime.memory._available", lambda: 0)
    arrays, classes, reads = pictures(), ("no", "yes"), {}
    for part in ("train", "test"):
        shown = np.arange(TRAIN) % 2 == 1 if part == "train" else said()[:, telling.STUDENT]
        for i, (picture, label) in enumerate(zip(arrays[f"x_{part}"], arrays[f"y_{part}"], strict=True)):
            path = tmp_path / "told" / part / classes[label] / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
            reads[f"{part}/{classes[label]}/{i:02d}.png"] = bool(shown[i])
        (path.parent / "00 broken.png").write_bytes(b"no picture")
    rows = sb.embed(finished[0], data=str(tmp_path / "told"), out=str(tmp_path / "rows.npz"))
    with np.load(tmp_path / "rows.npz") as file:
        names = ["/".join(str(name).split("/")[-3:]) for name in file["names"]]
        assert sorted(names) == sorted(reads) and names[0].startswith("train/") and names[-1].startswith("test/")
        assert file["features"].argmax(1).tolist() == [reads[name] for name in names]
        assert file["label_class"].tolist() == [name.split("/")[1] for name in names]
        assert [classes[i] for i in file["labels"]] == file["label_class"].tolist()
        assert np.array_equal(file["features"], rows.numpy())


def clocked(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[nn.Module, Tensor], float]) -> None:
    """Time stands still but for the seconds that the network takes for its views."""
    reader = vars(sys.modules[systems.get(METHOD).__module__])["Reader"]
    now, forward = [0.0], reader.forward

    def timed(self: nn.Module, x: Tensor) -> Tensor:
        now[0] += seconds(self, x)
        return forward(self, x)

    monkeypatch.setattr(reader, "forward", timed)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])


def test_only_training_is_training_time(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes two seconds, one for each network, and a pass in evaluation mode a thousand."""
    clocked(monkeypatch, lambda reader, x: 1.0 if reader.training else 1000.0)
    summary = sb.train(METHOD, data=data, out=tmp_path / "run", **FAST | {"eval_every": 1, "epochs": 4})
    assert (summary["training_seconds"], summary["samples_per_second"]) == (2.0 * 24, 8 / 2)
    assert summary["seconds"] > 5 * 1000
    lines = RunFolder(tmp_path / "run").read_metrics()
    assert [line["seconds"] for line in lines] == [2.0 * line["step"] for line in lines]
    assert {line["samples_per_second"] for line in lines if "loss" in line and line["step"] > 1} == {8 / 2}


@pytest.mark.parametrize(("first", "last"), [(1.0, 0.5), (0.5, 1.0), (1.0, 0.95)])
def test_the_faster_layout_is_trained_in(
    first: float, last: float, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(reader: nn.Module, x: Tensor) -> float:
        return last if x.is_contiguous(memory_format=torch.channels_last) else first

    clocked(monkeypatch, seconds)
    sb.train(METHOD, data=data, out=tmp_path / "run", **FAST | {"channels_last": None, "compile": None})
    config = TrainConfig.load(RunFolder(tmp_path / "run").config)
    assert (config.channels_last, config.compile) == (last < 0.9 * first, False)
