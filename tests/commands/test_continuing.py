"""Training on from weights: careful defaults, a start that is watched, and nothing worse than it handed out."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import run as semblance
from test_keep_best import QUICK, handed_out, of_checkpoint, unlearns
from tiny import striped_pictures, tiny_clips, tiny_config
from torch import nn

import semblance as sb
from semblance import modalities
from semblance.commands.doctor import doctor
from semblance.commands.resume import given_anew
from semblance.data import Source
from semblance.engine import loop
from semblance.engine.layer_rates import layer_rates
from semblance.evaluation.gains import ON_LABELS
from semblance.evaluation.knn import knn, leave_one_out
from semblance.evaluation.ranking import best_step, lost
from semblance.modalities.build import at_the_start, of_a_run
from semblance.nets.backbones import backbone
from semblance.nets.batchnorm import learns_statistics
from semblance.nets.video import video_backbone
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.options import TrainOptions
from semblance.runs.resolve import resolve

START = QUICK | {"epochs": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures labelled by their colour, which a trained network tells better than a random one; 12 steps an epoch."""
    pictures = striped_pictures(240)
    label = pictures[:, 0, 0].argmax(1)
    path = tmp_path_factory.mktemp("data") / "stripes.npz"
    np.savez(path, x_train=pictures[:200], y_train=label[:200], x_test=pictures[200:], y_test=label[200:])
    return path


@pytest.fixture(scope="module")
def start(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to begin with."""
    run = tmp_path_factory.mktemp("runs") / "start"
    sb.train("simclr", data=data, out=run, **QUICK)
    return run


def going_on(method: str, data: Path, start: Path, out: Path, **more: Any) -> dict[str, Any]:
    given = {name: value for name, value in START.items() if name != "lr"}
    return sb.train(method, data=data, init=str(start), out=out, **given | {"eval_every": 1} | more)


@contextmanager
def stopped_after(count: int) -> Iterator[None]:
    """Within, a run is stopped after so many steps, as by Ctrl-C."""
    steps = iter(range(1, 100))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "interruptible", lambda: nullcontext(lambda: next(steps) == count))
        yield


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_a_row_votes_only_for_others() -> None:
    """Against votes counted one by one."""
    features, labels = torch.randn(30, 4), torch.arange(30) % 3
    found = leave_one_out(features, labels, classes=3, k=5)
    for row in range(30):
        others = torch.arange(30) != row
        assert found[row] == knn(features[others], labels[others], features[row : row + 1], classes=3, k=5)


def test_rates_are_careful_unless_they_are_given(start: Path) -> None:
    given = {"method": "simclr", "data": "shapes", "init": str(start), "recipe": "quick"}
    held = resolve(given)
    assert (held.optimizer, held.lr, held.backbone_lr, held.layer_decay) == ("adamw", 1e-3, pytest.approx(1e-4), 0.7)
    assert (held.head_epochs, held.hold_norms, held.keep) == (1, True, "best")
    assert resolve(given | {"lr": 0.01}).backbone_lr == pytest.approx(1e-3)
    assert resolve(given | {"optimizer": "adamw"}).lr == 1e-3
    own = resolve(given | {"optimizer": "sgd", "keep": "last", "backbone_lr": 0.5, "hold_norms": False})
    recipe = resolve(given | {"init": None, "optimizer": "sgd"})
    assert (own.lr, own.weight_decay, own.keep, own.backbone_lr) == (recipe.lr, recipe.weight_decay, "last", 0.5)
    assert (recipe.keep, recipe.backbone_lr, recipe.head_epochs, recipe.hold_norms) == ("last", None, 0, False)


def test_a_start_that_is_lost_is_handed_out(
    data: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    summary = going_on(unlearns(tmp_path, 0), data, start, run)
    assert (summary["handed_out"], summary["handed_out_step"]) == ("start", 0)
    first, last = summary["table"][1:]
    assert first["encoder"] == "backbone it began with" and last["knn_top1"] == first["knn_top1"]
    torch.testing.assert_close(handed_out(run), handed_out(start), rtol=0, atol=0)
    assert (said := told(capsys)).count("it is losing its start: kNN among training pictures finds") == 1
    assert "The best is kept for the end." in said and "--backbone-lr 3.3e-05" in said
    page = RunFolder(run).report.read_text()
    assert "k-NN among training pictures" in page and "backbone it began with: " in page


def test_the_best_on_the_way_is_handed_out_or_the_start(data: Path, start: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    summary = going_on(unlearns(tmp_path, 30), data, start, run, backbone_lr=0.003)
    lines = [line for line in RunFolder(run).read_metrics() if "knn_leave_one_out" in line]
    assert [line["step"] for line in lines] == [0, 12, 24, 36] and summary["handed_out"] != "last"
    held = {line["step"]: line for line in lines}[summary["handed_out_step"]]
    no_worse = [line for line in lines if line["knn_top1"] >= lines[0]["knn_top1"]]
    assert held["knn_leave_one_out"] == max(line["knn_leave_one_out"] for line in no_worse)
    torch.testing.assert_close(handed_out(run), of_checkpoint(RunFolder(run).best), rtol=0, atol=0)
    assert summary["table"][-1]["knn_top1"] >= summary["table"][-2]["knn_top1"]


def test_without_labels_the_other_view_decides(
    data: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = going_on(unlearns(tmp_path, 0), data, start, tmp_path / "run", unlabelled=True)
    assert summary["handed_out"] == "start"
    assert "it is losing its start: the other view of a sample is nearer than those of" in told(capsys)


def test_with_labels_few_held_out_pictures_guard_the_start_too(start: Path, tmp_path: Path) -> None:
    """Fewer than label-free numbers need."""
    pictures = striped_pictures(100)
    label = pictures[:, 0, 0].argmax(1)
    np.savez(tmp_path / "few.npz", x_train=pictures[5:], y_train=label[5:], x_test=pictures[:5], y_test=label[:5])
    summary = going_on(unlearns(tmp_path, 0), tmp_path / "few.npz", start, tmp_path / "run")
    assert summary["handed_out"] == "start"
    assert "Stay nearer to the start: semblance train --config" in summary["verdict"]["advice"][0]
    lines = RunFolder(tmp_path / "run").read_metrics()  # what was lost at the end is in the log
    assert any(line["step"] == summary["steps"] and "knn_leave_one_out" in line for line in lines)


@pytest.mark.long
def test_without_labels_and_with_few_held_out_pictures_training_ones_are_looked_at(start: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x_train=striped_pictures(95), x_test=striped_pictures(5))
    summary = going_on(unlearns(tmp_path, 0), tmp_path / "few.npz", start, tmp_path / "run", max_steps=12)
    assert summary["handed_out"] == "start"


def test_a_start_is_kept_where_a_run_was_stopped_before_it_was(data: Path, start: Path, tmp_path: Path) -> None:
    """Ctrl-C while the start is measured; or --keep best given anew."""
    run, method = tmp_path / "run", unlearns(tmp_path, 0)
    with stopped_after(3):
        going_on(method, data, start, run, keep="last")
    assert not RunFolder(run).best.exists()
    assert sb.train(resume=True, out=run, keep="best")["handed_out"] == "start"


@pytest.mark.parametrize("after", [2, pytest.param(30, marks=pytest.mark.long)])
def test_of_a_run_that_diverged_what_was_kept_is_handed_out(
    after: int, data: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Before its first checkpoint, and later."""
    run, method = RunFolder(tmp_path / "run"), unlearns(tmp_path, after)
    code = Path(method.rpartition(":")[0])
    code.write_text(code.read_text().replace("zero_()", "fill_(float('nan'))"))
    with pytest.raises(sb.UserError, match="is no longer finite at step"):
        going_on(method, data, start, run.path)
    summary = run.read_summary()
    kept = checkpoint.load(run.best)["step"]
    assert (summary["verdict"]["state"], summary["handed_out_step"]) == ("diverged", kept)
    assert summary["handed_out"] == ("best" if kept else "start") and (after > 2 or not kept)
    assert "Handed out is the network" in (said := capsys.readouterr().out) and "It diverged at step" in said
    torch.testing.assert_close(handed_out(run.path), of_checkpoint(run.best), rtol=0, atol=0)
    assert sb.evaluate(run.path) == summary["table"] and len(summary["table"]) == 3
    assert semblance(monkeypatch, "report", str(run.path)) == 0
    assert run.read_summary()["verdict"] == summary["verdict"]
    with pytest.raises(sb.UserError, match="is no longer finite at step"):  # again, and not "is finished"
        sb.train(resume=True, out=run.path)


def test_of_a_run_that_was_stopped_the_best_so_far_is_handed_out(
    data: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    with stopped_after(16):
        going_on(unlearns(tmp_path, 0), data, start, run.path)
    assert checkpoint.load(run.checkpoint)["step"] == 16
    torch.testing.assert_close(sb.embed(run.path), sb.embed(start))
    assert "Handed out is the network of step 0, the best of the run up to step 16." in told(capsys)
    assert sb.evaluate(run.path)[-1]["encoder"] == "backbone handed out (its start)"
    assert "Handed out is the network that it began with" in doctor(run.path).headline
    assert semblance(monkeypatch, "report", str(run.path)) == 0
    assert run.read_summary()["handed_out"] == "start"
    assert "16 steps" in run.report.read_text()


def test_the_file_of_a_backbone_is_not_taken_for_what_a_run_has_come_to_since(
    data: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`report` sums a stopped run up, and writes no backbone."""
    run = RunFolder(tmp_path / "run")
    sb.train("simclr", data=data, out=run.path, **QUICK | {"epochs": 1})
    with stopped_after(4):
        sb.train(resume=True, out=run.path, epochs=3)
    assert semblance(monkeypatch, "report", str(run.path)) == 0
    assert checkpoint.load(run.checkpoint)["step"] == run.read_summary()["steps"] == 16
    now = of_checkpoint(run.checkpoint)
    torch.testing.assert_close(dict(sb.load_backbone(run.path).state_dict()), now, rtol=0, atol=0)
    torch.testing.assert_close(of_a_run(run), now, rtol=0, atol=0)


def test_a_run_that_diverges_on_two_ranks_is_summed_up(data: Path, tmp_path: Path) -> None:
    """Whoever raises first ends the others."""
    run, method = RunFolder(tmp_path / "run"), unlearns(tmp_path, 2)
    code = Path(method.rpartition(":")[0])
    code.write_text(code.read_text().replace("zero_()", "fill_(float('nan'))"))
    plain = {name.replace("_", "-"): value for name, value in QUICK.items() if not isinstance(value, bool | dict)}
    given = plain | {"devices": 2, "data": data, "out": run.path}
    command = ["train", method, "--no-compile", *(f"--{name}={value}" for name, value in given.items())]
    ended = subprocess.run([sys.executable, "-m", "semblance", *command], capture_output=True, text=True, timeout=240)
    assert ended.returncode == 2 and "is no longer finite at step" in ended.stderr
    assert run.read_summary()["verdict"]["state"] == "diverged" and run.report.exists()


def test_what_was_lost_is_told_by_numbers_that_were_measured_alike(data: Path, start: Path, tmp_path: Path) -> None:
    """Of fewer pictures kNN finds less, also of the start."""
    run = RunFolder(tmp_path / "run")
    going_on("simclr", data, start, run.path, epochs=1, backbone_lr=1e-6)
    summary = sb.train(resume=True, out=run.path, eval_samples=24, epochs=2)
    found = [line["knn_leave_one_out"] for line in run.read_metrics() if "knn_leave_one_out" in line]
    assert found[0] - found[-1] > ON_LABELS and "lost" not in summary["verdict"]["headline"]
    assert "lost" not in doctor(run.path).headline


def test_the_rate_of_a_backbone_goes_along_with_that_of_the_heads(data: Path, start: Path, tmp_path: Path) -> None:
    """In a new run like it, and where it goes on: as is advised to one that diverged."""
    run = tmp_path / "run"
    with stopped_after(2):
        going_on("simclr", data, start, run, lr=0.02, backbone_lr=0.004)
    assert resolve({"method": "simclr", "config": str(run), "lr": "1e-3"}).backbone_lr == pytest.approx(2e-4)
    given = TrainOptions.of({"resume": str(run), "lr": 1e-3})
    assert given_anew(TrainConfig.load(RunFolder(run).config), given).backbone_lr == pytest.approx(2e-4)
    assert resolve({"method": "simclr", "config": str(run), "lr": 1e-3, "backbone_lr": 0.1}).backbone_lr == 0.1


def test_what_was_handed_out_is_kept_where_a_run_goes_on(data: Path, start: Path, tmp_path: Path) -> None:
    """Be it the last, which is trained on."""
    run = RunFolder(tmp_path / "run")
    before = going_on(unlearns(tmp_path, 36), data, start, run.path)
    after = sb.train(resume=True, out=run.path, epochs=5)
    assert (after["steps"], after["handed_out_step"]) == (60, before["handed_out_step"])
    assert after["table"][-1]["knn_leave_one_out"] == before["table"][-1]["knn_leave_one_out"]
    assert after["verdict"]["state"] != "cannot-tell"


def test_labels_that_are_given_later_decide(
    data: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever was kept without them, and whatever the log of then says of the start."""
    run = RunFolder(tmp_path / "run")
    with stopped_after(16):
        going_on(unlearns(tmp_path, 14), data, start, run.path, unlabelled=True)
    kept = checkpoint.load(run.best)  # as if it had ranked above the start
    checkpoint.save(run.best, kept | {"step": 12, "method": checkpoint.load(run.checkpoint)["method"]})
    summary = sb.train(resume=True, out=run.path, unlabelled=False)
    assert summary["handed_out"] == "start" and told(capsys).count("it is losing its start: kNN among") == 1
    torch.testing.assert_close(handed_out(run.path), handed_out(start), rtol=0, atol=0)
    torch.testing.assert_close(sb.embed(run.path), sb.embed(start))
    assert sb.train(resume=True, out=run.path, unlabelled=True)["handed_out"] == "start"  # taken back


def test_rates_of_a_run_that_began_at_random_give_way(start: Path) -> None:
    given = {"method": "simclr", "config": str(start), "init": str(start)}
    careful = resolve({**given, "lr": 0.01})
    assert (careful.optimizer, careful.lr, careful.backbone_lr) == ("adamw", 0.01, pytest.approx(1e-3))
    assert (careful.layer_decay, careful.head_epochs, careful.hold_norms, careful.keep) == (0.7, 1, True, "best")
    assert careful.epochs == TrainConfig.load(RunFolder(start).config).epochs


def test_numbers_of_two_kinds_are_not_compared() -> None:
    """Labels that were given when the run went on: the log begins without."""
    lines: list[dict[str, Any]] = [
        {"step": 0, "pictures_view_percentile": 0.79},
        {"step": 9, "knn_leave_one_out": 0.86, "pictures_view_percentile": 0.67},
    ]
    assert best_step(lines, above=-1.0, given=True) == 0
    again = [lines[0] | {"knn_leave_one_out": 0.9}, lines[1], {"step": 12, "pictures_view_percentile": 0.99}]
    assert best_step(again, above=-1.0, given=True) == 0


def test_of_clips_only_the_network_that_was_given_is_held(tmp_path: Path) -> None:
    """The other has to learn the statistics of its data, and at its full rate."""
    config = tiny_config("avid")
    video = video_backbone(config.backbone)
    for norm in (module for module in video.modules() if isinstance(module, nn.BatchNorm3d)):
        nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]  # as one that has seen data
    torch.save(video.state_dict(), tmp_path / "video.pth")
    given = {"init": str(tmp_path / "video.pth"), "hold_norms": True, "backbone_lr": 1e-4}
    config = config.model_copy(update=given)
    method: Any = at_the_start(config, modalities.of("avid"), Source(tiny_clips(config)))
    assert not learns_statistics(method.backbone) and learns_statistics(method.audio_backbone)
    shares = loop._shares(config, method)
    assert shares and all(name.startswith("backbone.") for name in shares)


@pytest.mark.parametrize(
    ("name", "first", "last", "blocks"),
    [
        ("resnet18", "conv1.weight", "layer4.1.conv2.weight", 6),
        ("vit_tiny_patch16_224", "cls_token", "norm.weight", 16),
        ("torchvision/vit_b_16", "class_token", "encoder.layers.encoder_layer_11.mlp.3.weight", 15),
        ("torchvision/densenet121", "features.conv0.weight", "features.norm5.weight", 10),
        ("tf_efficientnet_lite0", "conv_stem.weight", "bn2.weight", 11),
        ("inception_v3", "Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.bn.bias", 16),
    ],
)
def test_blocks_of_usual_networks_come_one_after_the_other(name: str, first: str, last: str, blocks: int) -> None:
    with torch.device("meta"):
        names = [f"backbone.{own}" for own, _ in backbone(name).named_parameters()]
    shares = layer_rates(names, 1.0, 0.5)
    assert shares[f"backbone.{last}"] == 1.0 and shares[f"backbone.{first}"] == min(shares.values())
    assert sorted(set(shares.values()), reverse=True) == [0.5**i for i in range(blocks)]


@pytest.mark.parametrize(
    ("numbers", "step"),
    [
        ({0: (0.7, 0.7), 1: (0.8, 0.8), 2: (0.75, 0.8)}, 1),
        ({0: (0.7, 0.7), 1: (0.8, 0.69), 2: (0.75, 0.7)}, 2),  # held-out accuracy has fallen
        ({0: (0.7, 0.7), 1: (0.7, 0.9), 2: (0.69, 0.9)}, 0),  # no better by training pictures
    ],
)
def test_the_best_is_no_worse_than_the_start(numbers: dict[int, tuple[float, float]], step: int) -> None:
    lines = [{"step": step, "knn_leave_one_out": own, "knn_top1": held} for step, (own, held) in numbers.items()]
    assert best_step(lines, above=-1.0, given=True) == step


def test_without_labels_features_that_keep_only_what_views_ask_for_are_not_the_best() -> None:
    """As SimCLR's recipe made of EfficientNet-lite0, whose kNN fell from 71 to 51 % (docs/weights.md)."""
    lines = [
        {"step": step, "pictures_view_percentile": found, "pictures_two_nn": dimension, "pictures_rankme": rank}
        for step, found, dimension, rank in (
            (0, 0.978, 31.9, 229.0),
            (94, 0.982, 16.0, 200.0),
            (188, 0.985, 9.0, 163.0),
        )
    ]
    assert best_step(lines, above=-1.0, given=True) == 94 and best_step(lines, above=-1.0) == 188
    told = [getattr(lost(line, lines), "reads", "") for line in lines]
    assert told == ["", "", "the features of pictures have 9 dimensions, 32 at the start"]


def test_heads_learn_alone_for_a_fifth_at_most(data: Path, start: Path, tmp_path: Path) -> None:
    """A run of less than an epoch trains its backbone too."""
    run = tmp_path / "run"
    going_on("simclr", data, start, run, max_steps=10, keep="last")
    assert TrainConfig.load(RunFolder(run).config).head_epochs == 1
    moved = [(handed_out(run)[name] - value).abs().max() for name, value in handed_out(start).items()]
    assert max(moved) > 0
