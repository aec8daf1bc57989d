"""What leaves is the same network where it is loaded, or it does not leave."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from command_line import run as semblance
from PIL import Image
from torch import nn

import semblance as sb
from semblance.errors import UserError
from semblance.evaluation.evidence import Evidence
from semblance.evaluation.verdict import Verdict
from semblance.nets.backbones import backbone
from semblance.runs import checkpoint, weights
from semblance.runs.export import again, hub, network, onnx
from semblance.runs.export import timm as timm_target
from semblance.runs.folder import RunFolder
from semblance.runs.resolve import resolve
from semblance.views.view import MEAN, STD

needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript or onnxruntime is missing: pip install '.[onnx]'",
)
SMALL = "resnet10-w8"
WRITE = timm_target.write_weights
PAIR = {
    "recipe": "quick", "backbone": "r2plus1d-10-small-w4", "audio_backbone": "conv2d-10-small-w4", "image_size": 16,
    "batch_size": 4, "max_steps": 1, "hyper": {"hidden": 16, "negatives": 4}, "workers": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pictures that are not square."""
    root = tmp_path_factory.mktemp("data") / "secret pictures"
    root.mkdir()
    for i in range(9):
        pixels = np.random.default_rng(i).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((50, 60), Image.Resampling.BICUBIC).save(root / f"{i}.png")
    return root


def kept(name: str, folder: Path, size: int = 32, **more: Any) -> Path:
    """A backbone of a run, whose norms are not as they begin: where residuals are multiplied by 0, nothing shows."""
    torch.manual_seed(0)
    model = backbone(name)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
        model(torch.rand(8, 3, size, size))
    file = folder / "backbone.safetensors"
    weights.save(file, model, {"backbone": name, "image_size": size, "load_size": size} | more)
    return file


@pytest.mark.parametrize(
    ("name", "to", "out"),
    [
        (SMALL, "timm", "a.safetensors"), ("torchvision/resnet18", "timm", "a.pth"),
        ("resnet18", "torchvision", "a.pth"), ("vit_tiny_patch16_224", "timm", "a.safetensors"),
    ],
)  # fmt: skip
def test_the_lines_that_are_told_load_the_same_network(
    name: str, to: str, out: str, pictures: Path, tmp_path: Path
) -> None:
    """Run here once more, beside the proof's own process."""
    file = kept(name, tmp_path)
    found = sb.export(file, to=to, out=tmp_path / out, data=str(pictures))
    assert found["files"] == [str(tmp_path / out)] and found["differences"][0] < 1e-5
    here: dict[str, Any] = {}
    exec(found["code"][0], here)
    ours = sb.load_backbone(file)
    x = ours.transform(Image.open(pictures / "1.png"))[None]
    with torch.no_grad():
        torch.testing.assert_close(here["network"](x), ours(x), rtol=1e-4, atol=1e-5)
    assert not any(path.name.startswith(".semblance") for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "to", "told"),
    [
        ("resnet10-w8-cifar", "timm", "3x3 stem of small images.*--to onnx takes every network"),
        ("resnet10-w8-sobel", "hub", "edge filters"), ("resnet10-w8", "torchvision", "of another width"),
        ("resnet10", "torchvision", "Unknown torchvision"), ("vit_tiny_patch16_224", "torchvision", "Unknown torch"),
        ("torchvision/mobilenet_v3_small", "timm", "nknown|other tensors"),
        ("efficientnet_b0", "torchvision", "other tensors"),
    ],
)  # fmt: skip
def test_what_a_library_cannot_build_is_refused(name: str, to: str, told: str, pictures: Path, tmp_path: Path) -> None:
    file = kept(name, tmp_path)
    out = tmp_path / "out" / ("hub" if to == "hub" else "a.pth")
    with pytest.raises(UserError, match=told):
        sb.export(file, to=to, out=out, data=str(pictures))
    assert not list(out.parent.iterdir())


def test_options_that_cannot_be(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for options, told in (
        ({"to": "tim", "out": "a.pth"}, "Did you mean 'timm'"), ({"to": "timm", "out": "a.onnx"}, "must end in"),
        ({"to": "timm", "out": "a.pth", "opset": 18}, "--opset go with --to onnx"),
        ({"to": "timm", "out": "a.pth", "licence": "mit"}, "goes with --to hub"),
        ({"to": "hub", "out": "a", "licence": "My own!"}, "as hubs write it"),
        ({"to": "hub", "out": str(tmp_path / "full")}, "name a new folder"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=told):
            sb.export(tmp_path, **options)
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install 'semblance.onnx.'"):
        sb.export(tmp_path, to="onnx", out=tmp_path / "a.onnx")


def test_a_run_keeps_its_own_files(pictures: Path, tmp_path: Path) -> None:
    file = kept(SMALL, tmp_path)
    (tmp_path / "config.yaml").touch()
    before = file.read_bytes()
    with pytest.raises(UserError, match="is a file of the run itself"):
        sb.export(file, to="timm", out=file, data=str(pictures))
    assert file.read_bytes() == before


@pytest.fixture(scope="module")
def stopped(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a teacher that has a checkpoint alone, as one that was stopped."""
    out = tmp_path_factory.mktemp("runs") / "byol"
    sb.train(
        "byol", data=pictures, backbone=SMALL, image_size=32, batch_size=4, max_steps=2, recipe="quick", workers=0,
        precision="32", channels_last=False, compile=False, hyper={"hidden": 16, "dim": 16}, out=out,
    )  # fmt: skip
    for name in ("summary.json", "backbone.safetensors", "report.html"):
        (out / name).unlink()
    return out


def test_a_hub_folder_is_of_a_stopped_run_and_loads_as_timms_do(
    stopped: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "hub"
    arguments = ("export", str(stopped), "--to", "hub", "--out", str(out), "--network", "teacher", "--licence", "mit")
    assert semblance(monkeypatch, *arguments) == 0
    assert "differ by" in capsys.readouterr().out
    teacher = sb.load_backbone(out)
    assert teacher.transform == sb.load_backbone(stopped).transform  # as the run saw pictures, not as timm shows them
    x = teacher.transform(Image.open(pictures / "3.png"))[None]
    model = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    student = sb.load_backbone(stopped)
    with torch.no_grad():
        assert torch.allclose(model(x), teacher(x), rtol=1e-4, atol=1e-6)
        assert not torch.allclose(student(x), teacher(x), rtol=1e-4, atol=1e-6)
    classifier = timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=10)
    assert classifier.get_classifier().out_features == 10
    assert torch.equal(classifier.state_dict()["layer1.0.conv1.weight"], model.state_dict()["layer1.0.conv1.weight"])
    seen = timm.data.resolve_model_data_config(model)
    assert tuple(seen["input_size"]) == (3, 32, 32) and seen["crop_pct"] == 1.0 and seen["interpolation"] == "bilinear"
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: timm\n") and "license: mit" in card and "9 pictures" in card
    assert "semblance train byol --data PICTURES" in card and "This is the teacher." in card
    for private in ("secret", str(tmp_path), str(stopped)):
        assert private not in card and private not in (out / "config.json").read_text()


@pytest.fixture(scope="module")
def finished(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a teacher, which began with weights."""
    out = tmp_path_factory.mktemp("runs") / "byol"
    (labels := out.parent / "l.csv").write_text("".join(f"{i}.png,{i % 2}\n" for i in range(9)))
    torch.save(backbone(SMALL).state_dict(), start := out.parent / "a start.pth")
    sb.train(
        "byol", data=pictures, labels=labels, backbone=SMALL, image_size=32, batch_size=4, max_steps=1, recipe="quick",
        workers=0, hyper={"hidden": 16, "dim": 16}, init=start, lr=0.002, keep="last", hold_norms=False, out=out,
    )  # fmt: skip
    return out


def card_of(run: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **given: Any) -> str:
    """Without the proof."""
    monkeypatch.setattr("semblance.runs.export.proof.prove", lambda *_: 0.0)
    sb.export(run, to="hub", out=out, **given)
    return (out / "README.md").read_text()


def test_the_card_of_a_finished_run_has_its_table(finished: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'it\'s "a" hub\\'
    sb.export(finished, to="hub", out=odd)
    card = (odd / "README.md").read_text()
    summary = json.loads((finished / "summary.json").read_text())
    assert f"| trained backbone | {100 * summary['table'][2]['knn_top1']:.1f} |" in card
    assert f"**{summary['verdict']['headline']}**" in card and summary["protocol"] in card
    assert "license:" not in card and "None was given" in card and "l.csv" not in card


def test_a_card_is_of_the_network_in_its_folder(
    finished: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file alone what its run says, or nothing; of another network than the run's no numbers."""
    whole = card_of(finished, tmp_path / "run", monkeypatch)
    assert "trained by BYOL" in whole and "pictures of a set of the makers' own, to step 1." in whole
    shutil.copytree(pictures, tmp_path / "others", ignore=lambda *_: ["8.png"])
    assert card_of(finished, tmp_path / "other", monkeypatch, data=tmp_path / "others") == whole
    assert card_of(finished / "backbone.safetensors", tmp_path / "file", monkeypatch, data=pictures) == whole
    target = card_of(finished, tmp_path / "target", monkeypatch, network="teacher")
    assert "This is the teacher. The run itself hands out the student" in target
    assert "What was measured" not in target and "kNN" not in target and "trained by BYOL" in target
    bare = card_of(kept(SMALL, tmp_path, network="teacher"), tmp_path / "bare", monkeypatch, data=pictures)
    assert "exported without its run" in bare
    assert weights.read_metadata(tmp_path / "bare")[1]["network"] == "teacher"  # as the file says
    for invented in ("trained by", "SimCLR", "simclr", "step", "## Recipe", "## Data", "9 pictures"):
        assert invented not in bare


def test_a_card_has_no_evidence_of_a_later_step(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    folder = RunFolder(run)
    checkpoint.save(folder.best, checkpoint.load(folder.checkpoint) | {"step": 0})
    summary = json.loads(folder.summary.read_text()) | {"handed_out": "start", "handed_out_step": 0}
    found = Verdict("little", "It lost it.", [Evidence("kNN", 0.5, None, "of the last step")])
    monkeypatch.setattr("semblance.commands.model_card.doctor", lambda _: found)
    assert "- of the last step" in card_of(run, tmp_path / "last", monkeypatch)
    folder.summary.write_text(json.dumps(summary))
    card = card_of(run, tmp_path / "start", monkeypatch)
    assert "to step 0." in card and "It lost it" in card and "of the last step" not in card


def test_the_command_of_a_card_trains_such_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is typed, and gives the same configuration; what no flag says is told."""
    given = {
        "backbone": SMALL, "image_size": 32, "batch_size": 8, "max_steps": 2, "recipe": "quick", "epochs": 3,
        "lr": 0.01, "backbone_lr": 0.003, "weight_decay": 0.0, "clip_grad": 1.5, "decay_1d": True, "flip_p": 0.0,
        "hyper": {"temperature": 0.3}, "without": ["negatives"],
    }  # fmt: skip
    config = resolve(given)
    line, whole = again.command(config)
    assert whole and "bias-lr" not in line
    typed: list[Any] = []
    monkeypatch.setattr("semblance.commands.train.train", lambda options, _: typed.append(options.given))
    assert semblance(monkeypatch, *shlex.split(line)[1:]) == 0
    assert typed[0].pop("data") == "PICTURES" and resolve(typed[0]) == config
    views = [{"size": 32, "count": 2, "scale": [0.5, 1.0]}]
    assert not again.command(resolve({"views": views, "image_size": 32}))[1]


@pytest.mark.parametrize(("name", "first"), [("resnet10", "conv1"), (SMALL, "conv1.0")])
def test_a_folder_for_a_hub_takes_pictures_of_one_channel(
    name: str, first: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card_of(kept(name, tmp_path), tmp_path / "hub", monkeypatch, data=pictures)
    assert json.loads((tmp_path / "hub" / "config.json").read_text())["pretrained_cfg"]["first_conv"] == first
    model = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True, in_chans=1)
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, model.num_features)


def _swap(path: Path, leaving: network.Leaving, about: dict[str, str]) -> None:
    """Two tensors of one shape in each other's place."""
    tensors = leaving.tensors()
    a, b = "layer2.0.bn1.weight", "layer2.0.bn1.running_var"
    tensors[a], tensors[b] = tensors[b], tensors[a]
    wrong = replace(leaving)
    wrong.tensors = lambda: tensors  # type: ignore[method-assign]
    WRITE(path, wrong, about)


def test_a_swapped_tensor_does_not_leave(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = kept(SMALL, tmp_path), tmp_path / "a.safetensors"
    monkeypatch.setattr(timm_target, "write_weights", _swap)
    arguments = ("export", str(file), "--to", "timm", "--out", str(out), "--data", str(pictures))
    assert semblance(monkeypatch, *arguments) == 2
    assert "not the same network, and was taken away" in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backbone.safetensors"]


@pytest.mark.parametrize("wrong", [{"mean": (0.5, 0.5, 0.5)}, {"crop_pct": 0.7}])
def test_a_wrong_configuration_does_not_leave(
    wrong: dict[str, Any], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written into config.json alone."""
    file, dumps = kept(SMALL, tmp_path), json.dumps

    def spoilt(values: Any, **how: Any) -> str:
        if "pretrained_cfg" in values:
            values = values | {"pretrained_cfg": values["pretrained_cfg"] | wrong}
        return dumps(values, **how)

    monkeypatch.setattr(hub, "json", type("json", (), {"dumps": staticmethod(spoilt)}))
    with pytest.raises(UserError, match="was taken away: (at batch 1 its features differ|it says (mean|crop_pct))"):
        sb.export(file, to="hub", out=tmp_path / "hub", data=str(pictures))
    assert not (tmp_path / "hub").exists()


@needs_onnx
@pytest.mark.parametrize("fault", ["fixed batch", "no hooks"])
def test_a_wrong_graph_does_not_leave(
    fault: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = kept("resnet10-w8-sobel", tmp_path)
    own = torch.onnx.export
    if fault == "fixed batch":
        monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: own(*a, **k | {"dynamic_shapes": None}))
    else:
        monkeypatch.setattr(onnx, "_of_one_size", lambda leaving: nn.Sequential(*leaving.network.children()))
    with pytest.raises(UserError, match="not the same network|cannot make ONNX"):
        sb.export(file, to="onnx", out=tmp_path / "a.onnx", data=str(pictures))
    assert not (tmp_path / "a.onnx").exists()


@needs_onnx
@pytest.mark.parametrize(
    ("name", "preprocessing"),
    [("resnet10-w8-cifar-sobel", "inside"), ("resnet10-w8", "beside"), ("vit_tiny_patch16_224", "inside")],
)
def test_a_graph_takes_any_batch(name: str, preprocessing: str, pictures: Path, tmp_path: Path) -> None:
    import onnxruntime

    file, out = kept(name, tmp_path), tmp_path / "a.onnx"
    assert sb.export(file, to="onnx", out=out, data=str(pictures), preprocessing=preprocessing)["differences"][0] < 1e-4
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    ours = sb.load_backbone(file)
    x = torch.stack([ours.transform(Image.open(pictures / f"{i}.png")) for i in range(5)])
    mean, std = (torch.tensor(c)[:, None, None] for c in (MEAN, STD))
    given = x * std + mean if preprocessing == "inside" else x
    with torch.no_grad():
        assert np.allclose(session.run(None, {"pictures": given.numpy()})[0], ours(x).numpy(), rtol=1e-3, atol=1e-4)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["semblance.mean"]) == list(MEAN) and about["semblance.backbone"] == f'"{name}"'


@needs_onnx
def test_both_networks_of_clips_leave(tmp_path: Path) -> None:
    """That of sounds takes spectrograms in dB as they are."""
    import onnxruntime

    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (10, 8, 20, 20, 3), dtype=np.uint8)
    sounds = (rng.standard_normal((10, 24_000)) * 3000).astype(np.int16)
    np.savez(tmp_path / "clips.npz", x_train=frames, sound_train=sounds, rate=8000)
    sb.train("avid", data=tmp_path / "clips.npz", out=tmp_path / "run", **PAIR)
    found = sb.export(tmp_path / "run", to="onnx", out=tmp_path / "net.onnx")
    assert [Path(file).name for file in found["files"]] == ["net_video.onnx", "net_audio.onnx"]
    assert max(found["differences"]) < 1e-4
    heard = sb.load_backbone(tmp_path / "run" / "audio_backbone.safetensors")
    level = heard.transform(np.float32(rng.standard_normal(heard.transform.sound.samples) / 10))
    session = onnxruntime.InferenceSession(found["files"][1], providers=["CPUExecutionProvider"])
    with torch.no_grad():
        rows = session.run(None, {"spectrograms": level[None].numpy()})[0]
        assert np.allclose(rows, heard(level[None]).numpy(), rtol=1e-3, atol=1e-4)
    with pytest.raises(UserError, match="timm has no networks of clips"):
        sb.export(tmp_path / "run", to="timm", out=tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda code: f"import semblance\n{code}", "AssertionError"),  # what only Semblance could load
        (lambda code: code.replace(".eval()", ""), "was taken away"),  # norms take the statistics of a batch
    ],
)
def test_lines_that_do_not_load_the_network_are_not_told(
    fault: Callable[[str], str], told: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = kept(SMALL, tmp_path)
    own = timm_target.write

    def write(path: Path, leaving: network.Leaving, **options: Any) -> network.Written:
        written = own(path, leaving, **options)
        code = written.code
        return replace(written, code=lambda path: fault(code(path)))

    monkeypatch.setattr(timm_target, "write", write)
    with pytest.raises(UserError, match=told):
        sb.export(file, to="timm", out=tmp_path / "a.pth", data=str(pictures))


def test_it_works_from_a_shell(pictures: Path, tmp_path: Path) -> None:
    kept(SMALL, tmp_path)
    command = [sys.executable, "-m", "semblance", "export", "backbone.safetensors", "--to", "timm", "--out", "a.pth"]
    ended = subprocess.run([*command, "--data", str(pictures)], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0 and "timm.create_model" in ended.stdout, ended.stderr
