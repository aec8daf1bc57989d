"""--keep best: which network a run hands out, and what evaluate, embed, doctor and --resume make of it."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import run as semblance
from tiny import striped_pictures

import semblance as sb
from semblance.commands.handed_out import keeper
from semblance.engine import loop
from semblance.evaluation.ranking import best_step
from semblance.runs import checkpoint, weights
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder

UNLEARNS = """
import torch

from semblance.systems import get


class Unlearns(get("simclr")):
    title = "Unlearns"

    @torch.no_grad()
    def update(self, z, index, clock):
        if clock.step >= {until}:
            for parameter in self.backbone.parameters():
                parameter.zero_()
"""
QUICK = {
    "recipe": "quick", "backbone": "resnet10-w8-cifar", "image_size": 16, "batch_size": 16, "epochs": 6,
    "eval_every": 2, "lr": 0.1, "hyper": {"hidden": 64}, "precision": "32", "workers": 0, "compile": False,
    "channels_last": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled pictures; 12 steps an epoch."""
    pictures = striped_pictures(240)
    path = tmp_path_factory.mktemp("data") / "stripes.npz"
    label = (pictures[:, 0, 0, 0] > 127).astype(int)
    np.savez(path, x_train=pictures[:200], y_train=label[:200], x_test=pictures[200:], y_test=label[200:])
    return path


def unlearns(folder: Path, after: int) -> str:
    """A method that forgets everything after some steps."""
    path = folder / "unlearns.py"
    path.write_text(UNLEARNS.format(until=after))
    return f"{path}:Unlearns"


@pytest.fixture(scope="module")
def best(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs")
    return out / "run", sb.train(unlearns(out, 48), data=data, out=out / "run", keep="best", **QUICK)


def handed_out(run: Path) -> dict[str, torch.Tensor]:
    return weights.load_with_metadata(RunFolder(run).backbone)[0].state_dict()


def of_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    held = checkpoint.load(path)["method"]
    return {name.removeprefix("backbone."): t for name, t in held.items() if name.startswith("backbone.")}


def test_the_best_is_handed_out_everywhere(best: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    run, summary = best
    assert (summary["handed_out"], summary["steps"]) == ("best", 72) and summary["handed_out_step"] in (24, 48)
    name = f"trained backbone, step {summary['handed_out_step']}"
    assert summary["table"][-1]["encoder"] == name
    torch.testing.assert_close(handed_out(run), of_checkpoint(RunFolder(run).best), rtol=0, atol=0)
    assert sb.evaluate(run) == summary["table"]
    assert f"the network of step {summary['handed_out_step']} of 72" in summary["verdict"]["headline"]
    RunFolder(run).report.unlink()
    assert semblance(monkeypatch, "report", str(run)) == 0
    assert name in RunFolder(run).report.read_text()


def test_features_that_have_collapsed_are_not_the_best() -> None:
    """Few samples may rank them first by chance."""
    ends = ((0, 20.0, 0.54), (36, 1.4, 0.6), (60, 10.0, 0.57), (72, 12.0, 0.5))
    lines = [{"step": step, "pictures_rankme": rank, "pictures_view_percentile": p} for step, rank, p in ends]
    assert best_step(lines, above=0.52) == 60 and best_step([lines[1]], above=0.52) == 36


def test_a_run_goes_on_from_its_last(best: tuple[Path, dict], tmp_path: Path) -> None:
    run = Path(shutil.copytree(best[0], tmp_path / "run"))
    before = RunFolder(run).best.read_bytes()
    longer = sb.train(resume=True, out=run, epochs=7)
    assert longer["steps"] == 84 and checkpoint.load(RunFolder(run).checkpoint)["step"] == 84
    assert longer["handed_out"] == "best" and RunFolder(run).best.read_bytes() == before


def test_a_best_that_is_gone_is_told(best: tuple[Path, dict], tmp_path: Path) -> None:
    run = Path(shutil.copytree(best[0], tmp_path / "run"))
    RunFolder(run).best.unlink()
    with pytest.raises(sb.UserError, match=r"best\.ckpt is gone.*Put it back"):
        sb.evaluate(run)
    RunFolder(run).summary.unlink()
    assert sb.evaluate(run)[-1]["encoder"] == "trained backbone"


def test_doctor_and_evaluate_say_which(
    best: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, summary = best
    semblance(monkeypatch, "doctor", str(run))
    assert f"network of step {summary['handed_out_step']}" in " ".join(capsys.readouterr().out.split())
    assert semblance(monkeypatch, "evaluate", str(run)) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert f"Handed out is the network of step {summary['handed_out_step']}, the best of the run" in told


def test_networks_are_kept_where_they_rank_above_all_before(best: tuple[Path, dict], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step, found in ((12, 0.6), (24, 0.8)):
        folder.log(step=step, pictures_view_percentile=found)
    better = keeper(folder, TrainConfig.load(RunFolder(best[0]).config), best[1]["table"][1])
    assert [better({"pictures_view_percentile": found}) for found in (0.7, 0.8, 0.9)] == [False, False, True]


def test_the_start_is_handed_out_where_nothing_was_better(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    summary = sb.train(unlearns(tmp_path, 0), data=data, out=run, keep="best", **QUICK)
    assert (summary["handed_out"], summary["handed_out_step"]) == ("start", 0)
    first, last = summary["table"][1:]
    assert last["knn_top1"] == first["knn_top1"] and last["label_free"].keys() == first["label_free"].keys()
    assert "Handed out is the network that it began with" in summary["verdict"]["headline"]
    assert summary["verdict"]["state"] != "learnt" and sb.evaluate(run) == summary["table"]


def test_the_last_is_handed_out_where_it_is_as_good(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    summary = sb.train("simclr", data=data, out=run, keep="best", **QUICK)
    assert (summary["handed_out"], summary["handed_out_step"]) == ("last", summary["steps"])
    torch.testing.assert_close(handed_out(run), of_checkpoint(RunFolder(run).checkpoint), rtol=0, atol=0)


def test_without_it_nothing_is_kept(data: Path, tmp_path: Path) -> None:
    summary = sb.train(unlearns(tmp_path, 48), data=data, out=tmp_path / "run", **QUICK)
    assert summary["handed_out"] == "last" and not RunFolder(tmp_path / "run").best.exists()


def test_a_stopped_run_hands_out_the_same(
    best: tuple[Path, dict], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after its best was kept; until it has ended, what is measured is where it stands."""
    run, method = tmp_path / "run", TrainConfig.load(RunFolder(best[0]).config).method
    with monkeypatch.context() as patch:
        steps = iter(range(100))
        patch.setattr(loop, "interruptible", lambda: nullcontext(lambda: next(steps) == 55))
        with pytest.raises(KeyboardInterrupt):
            sb.train(method, data=data, out=run, keep="best", **QUICK)
    assert sb.evaluate(run)[-1]["encoder"] == "trained backbone"
    summary = sb.train(resume=True, out=run)
    assert summary["table"] == best[1]["table"]
    torch.testing.assert_close(handed_out(run), handed_out(best[0]), rtol=0, atol=0)


@pytest.mark.parametrize("options", [{"eval_every": 0}, {"max_steps": 10}])
def test_what_it_cannot_do_is_said(
    data: Path, tmp_path: Path, options: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    sb.train("simclr", data=data, out=tmp_path / "run", keep="best", **QUICK | {"epochs": 1} | options)
    assert "between the start and the last. Give more epochs, or" in " ".join(capsys.readouterr().err.split())
