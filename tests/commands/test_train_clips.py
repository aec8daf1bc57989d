"""Whole runs on clips: AVID, and CMA from it, from files to the folder they leave."""

import html
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from video_fixtures import RATE, sound_file

import semblance as sb
from semblance.commands.opened import Opened
from semblance.data import load_clips
from semblance.data.clips.clips import Clips
from semblance.data.loader import in_parts
from semblance.data.sources.bounce import encode
from semblance.errors import UserError
from semblance.evaluation import clip_features
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder

pytest.importorskip("av", reason="PyAV is not installed")
FAST = {
    "recipe": "quick", "backbone": "r2plus1d-10-w4", "audio_backbone": "conv2d-10-w4", "image_size": 16,
    "batch_size": 8, "epochs": 2, "hyper": {"hidden": 16, "negatives": 16}, "precision": "32", "workers": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four clips of two classes, and a broken one."""
    root = tmp_path_factory.mktemp("films")
    for i in range(24):
        rng = np.random.default_rng(i)
        frames = rng.integers(0, 256, (18, 24, 24, 3), dtype=np.uint8)
        tone = 8000 * np.sin(2 * np.pi * (300 + 200 * (i % 2)) * np.arange(18_000) / 8000)
        path = root / ("low", "high")[i % 2] / f"{i:02d}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(frames, tone.astype(np.int16), fps=8, rate=8000))
    (root / "low" / "broken.mp4").write_bytes(b"no film")
    return root


@pytest.fixture(scope="module")
def avid(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("runs") / "avid"
    return out, sb.train("avid", data=str(films), out=str(out), **FAST)


def test_a_run_leaves_backbones_numbers_and_a_report(avid: tuple[Path, dict]) -> None:
    out, summary = avid
    assert {p.name for p in out.iterdir()} == {
        "config.yaml", "metrics.jsonl", "summary.json", "checkpoints", "report.html", "video_backbone.safetensors",
        "audio_backbone.safetensors",
    }  # fmt: skip
    saved = json.loads((out / "summary.json").read_text())
    assert saved["retrieval"] == summary["retrieval"]
    assert set(saved["retrieval"]["video_to_audio"]) == {"r1", "r5", "r10", "median_rank"}
    assert [line["encoder"] for line in saved["table"]] == ["raw input", "untrained networks", "trained networks"]
    assert {"class_from_video", "class_from_audio"} <= set(saved["table"][0])
    assert set(saved["positives"]["class"]) == {"consensus", "union", "video", "audio", "chance", "count"}
    assert [Path(name).name for name, _ in saved["skipped"]] == ["broken.mp4"]
    assert saved["train_clips"] + saved["test_clips"] == 24


def test_purity_is_of_the_positives_that_its_banks_would_take(avid: tuple[Path, dict]) -> None:
    opened = Opened.of(avid[0])
    train = opened.modality.load(opened.config).train
    banks = opened.method(train).banks
    assert banks is not None
    video, audio, labels = *(bank.double() for bank in banks), train.attributes["class"].values
    for name, of in (("consensus", torch.minimum), ("union", torch.maximum), ("audio", lambda _, heard: heard)):
        nearest = of(video @ video.T, audio @ audio.T).fill_diagonal_(-2).topk(8).indices
        share = (labels[nearest] == labels[:, None]).double().mean().item()
        assert avid[1]["positives"]["class"][name] == pytest.approx(share), name
    assert avid[1]["positives"]["class"]["count"] == 8


def test_the_report_plays_sounds_from_itself(avid: tuple[Path, dict]) -> None:
    page = (avid[0] / "report.html").read_text()
    assert "data:audio/wav;base64," in page and "data:image/webp;base64," in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")


def test_the_page_is_small_and_names_its_files(avid: tuple[Path, dict]) -> None:
    """Of noise, which does not compress."""
    page = (avid[0] / "report.html").read_text()
    assert len(page) < 3_000_000 and "chance</text>" in page
    held_out = Opened.of(avid[0]).modality.load(Opened.of(avid[0]).config).held_out.items
    assert all(str(name) in page for name in held_out)


def test_the_lines_of_the_report_see_and_hear(avid: tuple[Path, dict]) -> None:
    page = (avid[0] / "report.html").read_text()
    lines = html.unescape(page[page.index("<code>") + len("<code>") : page.index("</code>")])
    here: dict[str, Any] = {}
    exec(lines, here)
    config = TrainConfig.load(RunFolder(avid[0]).config)
    for kind, rows in (("video", here["seen"]), ("audio", here["heard"])):
        assert rows.shape == (1, sb.load_backbone(avid[0] / f"{kind}_backbone.safetensors").num_features)
    assert here["wave"].shape[1] == config.sound.samples and here["frames"].shape[2] == config.video.frames
    assert repr(config.sound) in lines


def test_the_report_speaks_of_clips(avid: tuple[Path, dict]) -> None:
    page = " ".join((avid[0] / "report.html").read_text().split())
    for said in ("a picture finds its own sound first in", "clips per second", "which CMA would take", "last shown"):
        assert said in page
    for unsaid in ("pictures per second", "Training pictures", "training picture", "raw pixels", "view 1"):
        assert unsaid not in page


def test_backbones_are_rebuilt_from_their_files(avid: tuple[Path, dict]) -> None:
    video, audio = (sb.load_backbone(avid[0] / f"{kind}_backbone.safetensors") for kind in ("video", "audio"))
    assert video(torch.zeros(1, 3, 8, 16, 16)).shape == (1, video.num_features)
    assert audio(torch.zeros(1, 1, 100, 64)).shape == (1, audio.num_features)
    state = checkpoint.load(RunFolder(avid[0]).checkpoint)["method"]
    for name, weight in audio.state_dict().items():
        assert torch.equal(weight, state[f"audio_backbone.{name}"])
    assert not torch.equal(audio.standardise.mean, torch.full_like(audio.standardise.mean, -50.0))
    with pytest.raises(UserError, match="two backbones"):
        sb.load_backbone(avid[0])


def test_held_out_clips_alone_are_embedded_where_nothing_is_labelled_and_once_where_windows_are_whole_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"rate": 8000}
    for part, n in (("train", 16), ("test", 4)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (n, 8, 16, 16, 3), dtype=np.uint8)
        arrays[f"sound_{part}"] = rng.normal(0, 0.1, (n, 8000))
    np.savez(tmp_path / "clips.npz", **arrays)
    embedded = []

    def spy(clips: Clips, *rest: Any) -> Iterator[torch.Tensor]:
        embedded.append(len(clips))
        return in_parts(clips, *rest)

    monkeypatch.setattr(clip_features, "in_parts", spy)
    flags = FAST | {"frames": 8, "fps": 8.0, "seconds": 1.0, "eval_every": 0, "max_steps": 1}
    sb.train("avid", data=str(tmp_path / "clips.npz"), out=str(tmp_path / "run"), **flags)
    assert embedded == [4, 4]  # before training, and after


def test_cma_goes_on_from_avid(avid: tuple[Path, dict], films: Path, tmp_path: Path) -> None:
    hyper = FAST["hyper"] | {"positives": 3, "refresh_epochs": 1}
    flags = FAST | {"data": str(films), "hyper": hyper, "from_run": str(avid[0]), "lr": 0.0, "max_steps": 1}
    sb.train("avid-cma", out=str(tmp_path / "cma"), **flags)
    assert "networks it began with" in (report := (tmp_path / "cma" / "report.html").read_text())
    assert "the positives it was drawn to" in report and "untrained" not in report
    before, after = (checkpoint.load(RunFolder(p).checkpoint)["method"] for p in (avid[0], tmp_path / "cma"))
    assert after["log_partition"] == before["log_partition"]
    assert (after["positive_set"] >= 0).all()
    weights = [name for name in before if name.endswith("weight")]
    assert all(torch.equal(after[name], before[name]) for name in weights)
    unmoved = (after["video_bank.rows"] == before["video_bank.rows"]).all(1)
    assert unmoved.sum() == len(unmoved) - 8  # the rows of one batch have moved


def test_cma_refuses_a_run_on_other_clips_or_with_other_networks(
    avid: tuple[Path, dict], films: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in sorted(films.glob("*/*.mp4"))[:20]:
        (other / path.name).write_bytes(path.read_bytes())
    flags = FAST | {"hyper": FAST["hyper"] | {"positives": 3}, "from_run": str(avid[0])}
    with pytest.raises(UserError, match="trained on other data"):
        sb.train("avid-cma", data=str(other), **flags)
    with pytest.raises(UserError, match="other networks"):
        sb.train("avid-cma", data=str(films), **flags | {"backbone": "r2plus1d-10-w8"})
    with pytest.raises(UserError, match="other networks"):  # of the same weights, but for its projector
        sb.train("avid-cma", data=str(films), **flags | {"frames": 16, "backbone": "r2plus1d-10-w4-t2"})
    with pytest.raises(UserError, match="No run in"):
        sb.train("avid-cma", data=str(films), **flags | {"from_run": str(tmp_path)})


def test_data_and_networks_are_those_of_the_run_it_goes_on_from(avid: tuple[Path, dict], tmp_path: Path) -> None:
    hyper = FAST["hyper"] | {"positives": 3}
    sb.train("avid-cma", from_run=str(avid[0]), hyper=hyper, batch_size=8, max_steps=1, out=str(tmp_path / "cma"))
    before, after = (TrainConfig.load(RunFolder(p).config) for p in (avid[0], tmp_path / "cma"))
    for name in ("data", "recipe", "backbone", "audio_backbone", "image_size", "video", "sound"):
        assert getattr(after, name) == getattr(before, name)


def test_parts_of_time_are_kept_from_training_to_exported_backbones(films: Path, tmp_path: Path) -> None:
    networks = {"backbone": "r2plus1d-10-w4-t2", "audio_backbone": "conv2d-10-w4-t2"}
    flags = FAST | networks | {"frames": 16, "max_steps": 1, "out": str(tmp_path / "run")}
    sb.train("avid", data=str(films), **flags)
    found = sb.embed(tmp_path / "run", data=str(films))
    assert found["video"].shape == found["audio"].shape == (24, 2 * 8 * 4)
    with pytest.raises(UserError, match="r2plus1d-10-w4-t2 does not take windows of 3 x 8 x 16 x 16: -t2 wants"):
        sb.train("avid", data=str(films), **flags | {"frames": 8, "out": str(tmp_path / "short")})
    assert not (tmp_path / "short").exists()


def test_a_run_is_measured_on_its_own_clips_and_on_others(avid: tuple[Path, dict], films: Path, tmp_path: Path) -> None:
    out, summary = avid
    own = sb.evaluate(str(out))
    assert [line["encoder"] for line in own] == ["raw input", "untrained networks", "trained networks"]
    assert own == summary["table"]
    for path in sorted(films.glob("*/*.mp4"))[:12]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    _, without_labels = sb.evaluate(str(out), data=str(tmp_path))  # the untrained and the trained ones
    assert set(without_labels) == {"encoder", "video_to_audio_r1", "audio_to_video_r1"}


def test_weights_of_clips_are_loaded_whole_or_not_at_all(avid: tuple[Path, dict], films: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(avid[0], tmp_path / "run"))
    state = checkpoint.load(RunFolder(run).checkpoint)
    state["method"] = {n: v for n, v in state["method"].items() if "backbone" not in n}
    checkpoint.save(RunFolder(run).checkpoint, state)
    for measured in (lambda: sb.evaluate(run), lambda: sb.embed(run, data=str(films))):
        with pytest.raises(UserError, match="does not hold the networks of its config.yaml"):
            measured()


@pytest.mark.filterwarnings("error")
def test_a_folder_of_sounds_is_classified_fold_by_fold(avid: tuple[Path, dict], tmp_path: Path) -> None:
    for i in range(12):
        tone = 8000 * np.sin(2 * np.pi * 300 * (1 + i % 2) * np.arange(RATE) / RATE)
        sound_file(tmp_path / f"{1 + i // 4}-{i}-A-{i % 2}.wav", tone)
    table = sb.evaluate(str(avid[0]), data=str(tmp_path))
    assert [line["encoder"] for line in table] == ["untrained network", "trained network"]
    assert all(len(line["folds"]) == 3 for line in table)


def test_clips_are_embedded_by_both_backbones(avid: tuple[Path, dict], films: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "features.npz"
    found = sb.embed(str(avid[0]), data=str(films), out=str(out))
    with np.load(out) as file:
        assert set(file) == {"video", "audio", "names", "label_class"}
        names = file["names"].tolist()
        assert sorted(names) == sorted(f"{('low', 'high')[i % 2]}/{i:02d}.mp4" for i in range(24))
        assert file["label_class"].tolist() == [name.split("/")[0] for name in names]
        for kind in ("video", "audio"):
            assert np.array_equal(file[kind], found[kind].numpy()) and file[kind].dtype == np.float32
    config = TrainConfig.load(RunFolder(avid[0]).config)
    clip = load_clips(str(films), config.video, config.sound).train
    network = sb.load_backbone(avid[0] / "audio_backbone.safetensors")
    windows = [config.sound.plain(clip.at(place).read([0])[2].float() / 32767) for place in (0, 0.5, 1)]
    with torch.no_grad():
        torch.testing.assert_close(found["audio"][0], torch.stack([network(w)[0] for w in windows]).mean(0))


def test_what_is_no_clip_is_told_apart(avid: tuple[Path, dict], films: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    backbone = str(avid[0] / "video_backbone.safetensors")
    for wrong, told in [
        (lambda: sb.train("avid", data=str(tmp_path)), "a.png: a picture without a sound file beside it"),
        (lambda: sb.train("avid", data="shapes"), "shapes is a set of pictures"),
        (lambda: sb.train("simclr", data=str(films)), "videos or sounds .avid and avid-cma take them"),
        (lambda: sb.train("simclr", data="bounce"), "bounce is a set of clips"),
        (lambda: sb.evaluate(str(avid[0]), data=str(tmp_path)), "No clips found"),
        (lambda: sb.evaluate(backbone, data=str(tmp_path)), "name the run's folder"),
        (lambda: sb.embed(backbone, data=str(tmp_path)), "name the run's folder"),
        (lambda: sb.embed(str(avid[0]), data=str(films), out="features.pt"), "ends in .npz"),
    ]:
        with pytest.raises(UserError, match=told):
            wrong()


def test_a_picture_network_over_frames_and_log_mel_learn_too(films: Path, tmp_path: Path) -> None:
    flags = FAST | {"backbone": "resnet10-w8-cifar", "max_steps": 1, "mel": 32}
    summary = sb.train("avid", data=str(films), out=str(tmp_path / "run"), **flags)
    model = sb.load_backbone(tmp_path / "run" / "audio_backbone.safetensors")
    assert summary["steps"] == 1 and len(model.standardise.mean) == 32


@pytest.mark.parametrize("recipe", ["imagenet", "small"])
@pytest.mark.parametrize("method", ["avid", "avid-cma"])
def test_published_recipes_run(method: str, recipe: str, films: Path, tmp_path: Path) -> None:
    hyper = FAST["hyper"] | ({"positives": 3} if method == "avid-cma" else {})
    flags = FAST | {"recipe": recipe, "hyper": hyper, "max_steps": 1, "data": str(films)}
    assert sb.train(method, out=str(tmp_path / "run"), **flags)["steps"] == 1


def test_a_picture_method_has_no_audio_backbone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--audio-backbone: SimCLR learns from pictures alone"):
        sb.train("simclr", data="shapes", audio_backbone="conv2d-10")
    with pytest.raises(UserError, match="hyper.agreement: Input should be 'consensus'"):
        sb.train("avid-cma", data="bounce", hyper={"agreement": 3.0})


@pytest.mark.long
def test_two_devices_draw_the_report_together(films: Path, tmp_path: Path) -> None:
    """Its positives are mined by all ranks, so none may leave before."""
    script, run = tmp_path / "script.py", tmp_path / "run"
    flags = FAST | {"data": str(films), "out": str(run), "devices": 2, "max_steps": 1, "eval_every": 0}
    script.write_text(f"import torch, semblance as sb\ntorch.set_num_threads(1)\nsb.train('avid', **{flags!r})\n")
    subprocess.run([sys.executable, script], check=True, timeout=120, capture_output=True)
    assert "Clips that agree" in (run / "report.html").read_text() and (run / "summary.json").exists()


@pytest.mark.long
def test_the_networks_a_run_began_with_outlive_a_stop(avid: tuple[Path, dict], films: Path, tmp_path: Path) -> None:
    """Before its first checkpoint or after it, and though the run they came from is gone by then."""
    hyper = FAST["hyper"] | {"positives": 3, "refresh_epochs": 1}
    source = Path(shutil.copytree(avid[0], tmp_path / "avid"))
    flags = FAST | {"data": str(films), "hyper": hyper, "from_run": str(source), "max_steps": 4, "eval_every": 0}
    whole = sb.train("avid-cma", out=str(tmp_path / "whole"), **flags)
    assert whole["table"][1]["encoder"] == "networks it began with"
    stops = {
        "before the first checkpoint": ("semblance.commands.train.fit", KeyboardInterrupt),
        "while they are measured": ("semblance.commands.measure.status", KeyboardInterrupt),
        "after the last step": ("semblance.commands.train.finish", KeyboardInterrupt),
    }
    for name, (where, stop) in stops.items():
        with mock.patch(where, side_effect=stop), pytest.raises(KeyboardInterrupt, match="Stopped"):
            sb.train("avid-cma", out=str(tmp_path / name), **flags)
    shutil.rmtree(source)
    for name in stops:
        resumed = sb.train(resume=str(tmp_path / name))
        assert resumed["table"] == whole["table"]
        state, undisturbed = (checkpoint.load(RunFolder(tmp_path / n).checkpoint)["method"] for n in (name, "whole"))
        for key, value in state.items():
            assert torch.equal(value, undisturbed[key])


def test_networks_of_clips_start_with_those_of_a_run(
    films: Path, avid: tuple[Path, dict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = FAST | {"data": str(films), "lr": 0.0, "weight_decay": 0.0}
    summary = sb.train("avid-cma", init=str(avid[0]), out=str(tmp_path / "two"), **given)
    assert summary["table"][1]["encoder"].endswith("began with")
    for file in ("video_backbone.safetensors", "audio_backbone.safetensors"):
        theirs, own = (sb.load_backbone(folder / file).state_dict() for folder in (avid[0], tmp_path / "two"))
        assert all(torch.equal(own[key], value) for key, value in theirs.items())
    assert capsys.readouterr().err.count("starts with") == 2
