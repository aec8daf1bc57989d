"""Whole runs on clips: AVID, and CMA from it, from files to the folder they leave."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import semblance as sb
from semblance.data.bounce import encode
from semblance.engine import checkpoint
from semblance.engine.folder import RunFolder
from semblance.errors import UserError

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


def test_the_report_plays_sounds_from_itself(avid: tuple[Path, dict]) -> None:
    page = (avid[0] / "report.html").read_text()
    assert "data:audio/wav;base64," in page and "data:image/webp;base64," in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")


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


def test_cma_goes_on_from_avid(avid: tuple[Path, dict], films: Path, tmp_path: Path) -> None:
    hyper = FAST["hyper"] | {"positives": 3, "refresh_epochs": 1}
    flags = FAST | {"data": str(films), "hyper": hyper, "from_run": str(avid[0]), "lr": 0.0, "max_steps": 1}
    sb.train("avid-cma", out=str(tmp_path / "cma"), **flags)
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
    with pytest.raises(UserError, match="no checkpoint"):
        sb.train("avid-cma", data=str(films), **flags | {"from_run": str(tmp_path)})


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
