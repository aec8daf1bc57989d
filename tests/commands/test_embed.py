"""Features as people use them: by any weights, of any pictures, in any usual file."""

import csv
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from command_line import run as semblance
from PIL import Image
from safetensors.torch import load_file, save_file

import semblance as sb
from semblance.errors import UserError
from semblance.nets.backbones import backbone
from semblance.runs.features import WRITERS

SHORT = {
    "recipe": "quick", "backbone": "resnet10-w8", "image_size": 32, "batch_size": 4, "max_steps": 1, "workers": 0,
    "hyper": {"hidden": 16}, "precision": "32", "channels_last": False, "compile": False,
}  # fmt: skip


def noise(seed: int, height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two classes, several sizes and every usual kind, one broken."""
    root = tmp_path_factory.mktemp("data") / "pictures"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
    for i in range(8):
        noise(i, 18 + 9 * i, 60 - 6 * i).save(root / ("cat", "dog")[i % 2] / f"{i}.png")
    turned = noise(8, 60, 80)
    exif = turned.getexif()
    exif[274] = 6
    turned.save(root / "cat" / "turned.jpg", exif=exif)
    noise(9, 700, 900).save(root / "dog" / "large.jpg", quality=95)
    clear = noise(10, 50, 70)
    clear.putalpha(noise(11, 50, 70).convert("L"))
    clear.save(root / "cat" / "clear.png")
    grey = np.asarray(noise(12, 55, 45).convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(root / "dog" / "deep.png")
    Image.fromarray(grey // 16).save(root / "dog" / "deep.tiff")
    noise(13, 50, 40).convert("P").save(root / "cat" / "palette.gif")
    noise(14, 44, 66).convert("CMYK").save(root / "cat" / "print.jpg", quality=95)
    noise(15, 33, 31).convert("LA").save(root / "dog" / "la.png")
    (root / "dog" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return root


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    sb.train(data=pictures, out=out, **SHORT)
    return out


def rows_by_name(vectors: torch.Tensor, file: Path) -> dict[str, torch.Tensor]:
    with np.load(file) as found:
        return dict(zip(map(str, found["names"]), vectors, strict=True))


@pytest.mark.parametrize("loaded", [False, True])
def test_transform_shows_a_backbone_what_embed_shows_it(
    loaded: bool, run: Path, pictures: Path, tmp_path: Path
) -> None:
    """Bit for bit from a file; of pixels in memory the same but for JPEG that was decoded smaller."""
    backbone = sb.load_backbone(run)
    rows = rows_by_name(sb.embed(run, out=tmp_path / "a.npz"), tmp_path / "a.npz")
    assert len(rows) == 16 and not any("broken" in name for name in rows)
    for name, row in rows.items():
        with Image.open(pictures / name) as picture:
            if loaded:
                picture.load()
            view = backbone.transform(picture)
            assert view.shape == (3, 32, 32) and view.dtype == torch.float32
            picture.load()  # it is left as it was
        with torch.no_grad():
            close = 0.05 if loaded and name == "dog/large.jpg" else 1e-5
            assert torch.allclose(backbone(view[None])[0], row, atol=close * float(row.abs().max())), name


def test_features_hang_on_no_other_picture(run: Path, pictures: Path) -> None:
    """Of sizes by which a set of its own would be kept otherwise."""
    names = ["cat/0.png", "dog/7.png", "cat/turned.jpg"]
    whole = sb.embed(run, data=[pictures / name for name in names])
    for name, row in zip(names, whole, strict=True):
        assert torch.allclose(sb.embed(run, data=pictures / name)[0], row, atol=1e-6)


def test_a_list_keeps_its_order_and_names_what_it_left_out(
    run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [str(pictures / name) for name in ("dog/1.png", "cat/0.png", "nowhere.png", "dog/1.png", "dog/broken.png")]
    out = tmp_path / "new" / "rows.npy"
    assert semblance(monkeypatch, "embed", str(run), "--data", *named, "--out", str(out), "--normalise") == 0
    told = capsys.readouterr().out
    assert "2 unreadable files were skipped" in told and "nowhere.png: No such file" in told and "broken.png" in told
    rows = np.load(out)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6) and np.array_equal(rows[0], rows[2])
    assert (tmp_path / "new" / "rows.names.csv").read_text().split() == ["name", named[0], named[1], named[0]]
    one = sb.embed(run, data=named[1], normalise=True)
    assert np.allclose(one.numpy(), rows[1:2], atol=1e-6)


def test_a_file_may_list_pictures(run: Path, pictures: Path, tmp_path: Path) -> None:
    """From where it lies; whatever the case of what is written."""
    (pictures / "mine.txt").write_text("dog/1.png\n\n" + str(pictures / "cat/0.png") + "\n")
    sb.embed(run, data=pictures / "mine.txt", out=tmp_path / "rows.NPZ")
    (pictures / "mine.txt").unlink()
    found = np.load(tmp_path / "rows.NPZ")
    assert list(found["names"]) == [str(pictures / name) for name in ("dog/1.png", "cat/0.png")]
    (tmp_path / "none.txt").write_text("\n")
    (tmp_path / "wide.txt").write_text("dog/1.png\n", encoding="utf-16")
    for name, told in (
        ("none.txt", "names no pictures"), ("away.txt", "cannot be read as a list"), ("wide.txt", "save it as UTF-8"),
        ("~nobody/x.txt", "cannot be read as a list"),
    ):  # fmt: skip
        with pytest.raises(sb.UserError, match=told):
            sb.embed(run, data=tmp_path / name)


def test_a_list_holds_names_as_the_file_system_does(run: Path, pictures: Path, tmp_path: Path) -> None:
    """Whatever a person may have named a picture, and an editor may have put before the first."""
    names = [b"~1.png", b" lead.png", b"trail .png", b"caf\xe9.png", "\u2028.png".encode()]
    for name in names:
        shutil.copy(pictures / "cat" / "0.png", os.path.join(os.fsencode(tmp_path), name))
    (tmp_path / "mine.txt").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(names) + b"\n \n")
    sb.embed(run, data=tmp_path / "mine.txt", out=tmp_path / "rows.npz")
    with np.load(tmp_path / "rows.npz") as found:
        assert [os.path.basename(os.fsencode(str(name))) for name in found["names"]] == names


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_kind_of_file_holds_the_same(suffix: str, run: Path, pictures: Path, tmp_path: Path) -> None:
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        with pytest.raises(UserError, match="pip install 'semblance.parquet.'"):
            sb.embed(run, out=tmp_path / "a.parquet")
        return
    out = tmp_path / f"a{suffix}"
    vectors = sb.embed(run, out=out)
    sb.embed(run, out=tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as file:
        wanted = {"name": file["names"].tolist(), "class": file["label_class"].tolist(), "rows": file["features"]}
        assert [("cat", "dog")[label] for label in file["labels"]] == wanted["class"]
    assert np.array_equal(vectors.numpy(), wanted["rows"])
    if suffix == ".npz":
        return
    if suffix == ".parquet":
        from pyarrow import parquet

        table = parquet.read_table(out).to_pydict()
        found = {"name": table["name"], "class": table["class"], "rows": np.float32(table["features"])}
    else:
        with open(out if suffix == ".csv" else tmp_path / "a.names.csv", newline="") as file:
            heading, *lines = csv.reader(file)
        assert heading[:2] == ["name", "class"] and heading[2:3] in ([], ["f0"])
        rows = np.load(out) if suffix == ".npy" else np.float32([line[2:] for line in lines])
        found = {"name": [line[0] for line in lines], "class": [line[1] for line in lines], "rows": rows}
    assert found["name"] == wanted["name"] and found["class"] == wanted["class"]
    assert np.array_equal(found["rows"], wanted["rows"])


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    """A model of timm's and a folder with it as timm writes one for a hub."""
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=7, pretrained_cfg_overlay={"input_size": (3, 64, 64)})
    with torch.no_grad():
        model(torch.rand(8, 3, 64, 64))
    folder = tmp_path_factory.mktemp("hub") / "model"
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    return model.eval().reset_classifier(0) or model, folder


def test_weights_of_others_see_what_their_makers_show_them(
    theirs: tuple[torch.nn.Module, Path], pictures: Path, tmp_path: Path
) -> None:
    model, folder = theirs
    vectors = sb.embed(folder, data=pictures, out=tmp_path / "a.npz")
    steps = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    rows = rows_by_name(vectors, tmp_path / "a.npz")
    assert len(rows) == 16
    for name in ("cat/0.png", "dog/large.jpg"):
        with torch.no_grad(), Image.open(pictures / name) as picture:
            assert torch.allclose(model(steps(picture.convert("RGB"))[None])[0], rows[name], rtol=1e-4, atol=1e-5)
    backbone = sb.load_backbone(folder)
    with torch.no_grad(), Image.open(pictures / "dog" / "deep.png") as picture:
        assert torch.allclose(
            backbone(backbone.transform(picture)[None])[0], rows["dog/deep.png"], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("file", ["plain.pth", "moco.pth.tar", "bare.safetensors"])
def test_a_file_of_others_is_taken_for_the_network_that_it_is_whole_for(
    file: str, theirs: tuple[torch.nn.Module, Path], pictures: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    state = theirs[0].state_dict()
    if file == "moco.pth.tar":
        state = {f"module.encoder_q.{name}": value for name, value in state.items()} | {
            "module.queue": torch.zeros(2, 2)
        }
        torch.save({"state_dict": state, "epoch": 3}, tmp_path / file)
    else:
        (save_file if file.endswith(".safetensors") else torch.save)(state, tmp_path / file)
    backbone = sb.load_backbone(tmp_path / file)
    assert all(torch.equal(value, theirs[0].state_dict()[name]) for name, value in backbone.state_dict().items())
    picture = pictures / "cat" / "0.png"
    vectors = sb.embed(tmp_path / file, data=picture)
    assert "is resnet18" in capsys.readouterr().err
    with torch.no_grad(), Image.open(picture) as opened:
        assert torch.allclose(backbone(backbone.transform(opened)[None]), vectors, rtol=1e-4, atol=1e-5)


def test_a_folder_that_semblance_exported_is_opened_as_its_run(run: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    shutil.copy(run / "backbone.safetensors", tmp_path / "hub" / "model.safetensors")  # as export --to hub writes it
    (tmp_path / "hub" / "config.json").write_text('{"architecture": "resnet18", "pretrained_cfg": {}}')
    assert torch.equal(sb.embed(tmp_path / "hub", data=pictures), sb.embed(run, data=pictures))
    assert sb.evaluate(tmp_path / "hub", data="digits", eval_samples=40)
    sb.export(tmp_path / "hub", to="timm", out=tmp_path / "again.pth", data=pictures)
    with pytest.raises(UserError, match="--data"):
        sb.embed(tmp_path / "hub")
    sb.train(
        data=pictures,
        out=tmp_path / "run",
        init=tmp_path / "hub",
        **{k: v for k, v in SHORT.items() if k != "backbone"},
    )
    assert "resnet10-w8" in (tmp_path / "run" / "config.yaml").read_text()


def test_weights_in_an_older_file_of_a_hub_are_not_taken_for_ours(
    theirs: tuple[torch.nn.Module, Path], pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text((theirs[1] / "config.json").read_text())
    torch.save(load_file(theirs[1] / "model.safetensors"), tmp_path / "pytorch_model.bin")
    picture = pictures / "cat" / "0.png"
    assert torch.equal(sb.embed(tmp_path, data=picture), sb.embed(theirs[1], data=picture))


def test_a_network_of_small_pictures_is_told_by_its_stem(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {f"backbone.{n}": v for n, v in backbone("resnet18-cifar").state_dict().items()}},
        tmp_path / "x.ckpt",
    )
    found = sb.load_backbone(tmp_path / "x.ckpt")
    assert found.transform(noise(0, 50, 40)).shape == (3, 32, 32)
    assert isinstance(found.maxpool, torch.nn.Identity)


def test_weights_of_no_usual_network_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semblance.runs.others.USUAL", ("resnet18", "resnet50", "vit_tiny_patch16_224"))
    torch.save(timm.create_model("resnet26").state_dict(), tmp_path / "x.pth")
    with pytest.raises(
        UserError, match=r"the nearest is resnet50: .*semblance train --init .*--backbone NAME"
    ) as refused:
        sb.load_backbone(tmp_path / "x.pth")
    assert len(refused.value.args) == 1
    torch.save(backbone("resnet18-w8").state_dict(), tmp_path / "x.pth")
    with pytest.raises(UserError, match="the nearest is resnet18: .*another shape, as bn1.weight"):
        sb.load_backbone(tmp_path / "x.pth")


def test_a_stopped_run_hands_out_its_checkpoint(run: Path, pictures: Path, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    sb.train("byol", data=pictures, out=stopped, **SHORT)
    whole, views = sb.load_backbone(stopped), torch.rand(2, 3, 32, 32)
    for name in ("backbone.safetensors", "summary.json"):
        (stopped / name).unlink()
    again = sb.load_backbone(stopped)
    with torch.no_grad():
        assert torch.equal(again(views), whole(views)) and again.transform == whole.transform
    (stopped / "config.yaml").write_text((stopped / "config.yaml").read_text().replace("max_steps: 1", "max_steps: 9"))
    assert len(sb.embed(stopped)) == 16


def test_what_cannot_be_embedded_says_what_can(run: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"no weights")
    for wrong, told in (
        (lambda: sb.embed(run, out="a.txt"), "ends in .npz, .npy, .csv or .parquet"),
        (lambda: sb.embed("timm:resnet18"), "name pictures with --data"),
        (lambda: sb.embed("timm:resnet81", data=pictures), "Did you mean.*resnet18"),
        (lambda: sb.embed("timm:resnet18", data=pictures, network="teacher"), "leave out --network"),
        (lambda: sb.embed(tmp_path / "x.pth", data=pictures), "as no file of torch.save does"),
        (lambda: sb.embed(tmp_path / "nowhere", data=pictures), "No trained backbone.*Train one with"),
        (lambda: sb.embed("resnett18", data=pictures), "No trained backbone at resnett18. Did you mean resnet18"),
        (lambda: sb.embed(run, data=[]), "names no pictures: the list is empty"),
        (lambda: sb.evaluate(run, data=[]), "names no pictures: the list is empty"),
        (lambda: sb.embed(run, data=["no.png"]), "Nor is there a file or folder"),
        (lambda: sb.embed(run, data=[pictures / "cat" / "0.png"], labels="folders"), "leave out --labels"),
    ):
        with pytest.raises(UserError, match=told):
            wrong()


def test_a_pair_of_networks_has_transforms_of_frames_and_of_sound(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (10, 8, 20, 20, 3), dtype=np.uint8)
    sounds = (rng.standard_normal((10, 24_000)) * 3000).astype(np.int16)
    np.savez(tmp_path / "clips.npz", x_train=frames, sound_train=sounds, rate=8000)
    pair = {"backbone": "r2plus1d-10-small-w4", "audio_backbone": "conv2d-10-small-w4", "image_size": 16}
    options = SHORT | pair | {"hyper": {"hidden": 16, "negatives": 4}}
    options = {name: value for name, value in options.items() if name != "channels_last"}
    run = tmp_path / "run"
    sb.train("avid", data=tmp_path / "clips.npz", out=run, **options)
    video, audio = (sb.load_backbone(run / f"{kind}_backbone.safetensors") for kind in ("video", "audio"))
    seen = video.transform([Image.fromarray(frame) for frame in frames[0][: video.transform.frames]])
    heard = audio.transform(np.zeros(audio.transform.sound.samples, np.float32))
    with torch.no_grad():
        assert video(seen[None]).shape == (1, video.num_features)
        assert audio(heard[None]).shape == (1, audio.num_features)
    with pytest.raises(UserError, match="frames, .* a second"):
        video.transform(Image.fromarray(frames[0, 0]))
    with pytest.raises(UserError, match="samples of one channel"):
        audio.transform(np.zeros(7))
    for file in run.glob("*.safetensors"):
        file.unlink()
    again = sb.load_backbone(run / "video_backbone.safetensors")
    with torch.no_grad():
        assert torch.equal(again(seen[None]), video(seen[None])) and again.transform == video.transform
    with pytest.raises(UserError, match="holds one array"):
        sb.embed(run, out=tmp_path / "a.npy")
    sb.embed(run, out=tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="") as file:
        heading = next(csv.reader(file))
    assert heading[0] == "name" and {"video0", "audio0"} <= set(heading)


@pytest.mark.long
def test_memory_does_not_grow_with_the_number_of_pictures(run: Path, tmp_path: Path) -> None:
    """Of 500 and of 6,000 links to one picture, to every kind of file: less than 20 MB more."""
    (tmp_path / "p.png").write_bytes((noise(0, 40, 40).save(tmp_path / "q.png") or tmp_path / "q.png").read_bytes())
    peaks = {}
    for count in (500, 6000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for i in range(count):
            (folder / f"{i:05d}.png").hardlink_to(tmp_path / "p.png")
        script = (
            "import json, resource, semblance as sb\n"
            f"sb.embed({str(run)!r}, data={str(folder)!r}, out={str(tmp_path / 'a.npy')!r})\n"
            "print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
        )
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        peaks[count] = json.loads(ended.stdout.splitlines()[-1])
    assert peaks[6000] - peaks[500] < 20_000  # KiB
