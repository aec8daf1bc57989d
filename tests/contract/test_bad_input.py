"""Damaged files and wild configurations: read, or refused with a reason; no crash, no hang, nothing unnamed."""

import io
import os
import random
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from small_media import film, no_hang, sound, tone
from tiny import tiny_config

from semblance import systems
from semblance.data import load, load_clips
from semblance.data.clips.media import decode_clip, decode_sound
from semblance.data.pictures.decode import decode
from semblance.data.pictures.images import Images
from semblance.data.sources.bounce import encode
from semblance.errors import UserError
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.resolve import resolve
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import View


def picture(kind: str = "PNG", seed: int = 0) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def damaged(whole: bytes, chance: random.Random) -> bytes:
    """Cut short, with flipped bits near the head or anywhere, with a hole, zeros, or a piece twice."""
    data, n = bytearray(whole), len(whole)
    at, length = chance.randrange(n), chance.randrange(1, 200)
    match chance.choice(["cut", "head", "bits", "hole", "zeros", "twice"]):
        case "cut":
            del data[at:]
        case "head":
            for _ in range(3):
                data[chance.randrange(min(n, 300))] = chance.randrange(256)
        case "bits":
            for _ in range(8):
                data[chance.randrange(n)] ^= 1 << chance.randrange(8)
        case "hole":
            del data[at : at + length]
        case "zeros":
            data[at : at + length] = bytes(length)
        case "twice":
            data[at:at] = data[at : at + length]
    return bytes(data)


MEDIA: dict[str, tuple[Callable[[], bytes], Callable[[bytes], Any], int]] = {
    **{
        kind: (lambda k=kind: picture(k), lambda data: decode(data, 16), 150)
        for kind in Image.SAVE
        if kind in {"PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM", "TGA", "ICO", "AVIF"}
    },
    "MP4": (film, lambda data: decode_clip(data, 16, 8.0, 8000), 150),
    "WAV": (sound, lambda data: decode_sound(data, 8000), 150),
}


@pytest.mark.filterwarnings("ignore")  # Pillow's, about broken tags
@pytest.mark.parametrize("kind", MEDIA)
def test_damaged_bytes_are_read_or_refused(kind: str, counts: Counter) -> None:
    if kind in ("MP4", "WAV"):
        pytest.importorskip("av", reason="PyAV is not installed")
    make, read, tries = MEDIA[kind]
    whole, chance = make(), random.Random(kind)
    read(whole)
    refused = 0
    for _ in range(tries):
        with no_hang():
            try:
                read(damaged(whole, chance))
            except (OSError, ValueError) as error:
                assert not isinstance(error, UserError) and str(error)
                refused += 1
    assert refused > 0
    counts["damaged files tried"] += tries


def test_a_small_file_that_unpacks_to_hours_is_refused() -> None:
    """A sound that claims one sample a second, whose resampling would take gigabytes."""
    pytest.importorskip("av", reason="PyAV is not installed")
    whole = bytearray(sound())
    whole[24:28] = struct.pack("<I", 1)
    with no_hang(), pytest.raises(ValueError, match="1 samples per second"):
        decode_sound(bytes(whole), 24_000)


def png_that_claims(width: int, height: int) -> bytes:
    """A small file whose head, with a right checksum, declares a huge picture, and whose body unpacks to zeros."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(10_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


ODD_NAMES = [
    "ünïcödé 图片 🐈.png", "new\nline.png", "[bold]markup[/bold].png", "quote'\".png", " spaces .png", "-dash.png",
    "percent%s{}.png", "UPPER.PNG", "two.dots.png", "x" * 240 + ".png", "\udcff\udcfe.png",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("memory_fraction", [0.25, 0.0], ids=["memory", "disk"])
def test_a_folder_of_everything_that_goes_wrong(memory_fraction: float, tmp_path: Path, counts: Counter) -> None:
    """Every file is a picture of its own or named with a reason."""
    good = {name: picture(seed=i) for i, name in enumerate(ODD_NAMES)}
    good |= {"png-named.jpg": picture(seed=90), "deep/er/still.png": picture(seed=91)}
    bad = {
        "empty.png": b"", "text.jpg": b"no picture", "cut.png": picture()[:300], "film.png": b"\0\0\0\x18ftypmp42" * 9,
        "huge.png": png_that_claims(60_000, 60_000), "wide.png": png_that_claims(2**31 - 1, 1),
        "nothing.png": png_that_claims(0, 5), "html.gif": b"<html>404 not found</html>", "script.ps.png": b"%!PS\n",
    }  # fmt: skip
    for name, data in (good | bad).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "itself.png").symlink_to(tmp_path / "itself.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "to-pipe.png").symlink_to(tmp_path / "pipe.png")
    with no_hang():
        source = load(str(tmp_path), image_size=16, memory_fraction=memory_fraction)
        parts = [part for part in (source.train, source.test) if part is not None]
        for part in parts:
            part.read(range(len(part)))
    own = {str(part.items[i]) for part in parts for i in part.readable.tolist()}
    assert own == set(good)
    skipped = dict(source.skipped)
    assert set(skipped) == set(bad) | {"itself.png", "gone.png"}
    assert all(skipped.values())
    counts["bad files in folders"] += len(skipped)


def test_a_folder_of_bad_clips(tmp_path: Path, counts: Counter) -> None:
    """Whole films stay; what has no sound, no picture, too little or damage is named."""
    pytest.importorskip("av", reason="PyAV is not installed")
    frames = np.zeros((16, 32, 32, 3), np.uint8)
    files = {f"good {i} [i].mp4": film() for i in range(4)}
    bad = {
        "empty.mp4": b"", "text.mkv": b"no film", "cut.mp4": film()[: len(film()) // 2], "picture.mp4": picture(),
        "sound.mp4": sound(), "short.mp4": encode(frames[:2], tone(0.25), fps=8, rate=8000),
        "zeros.avi": bytes(5000), "no picture.wav": sound(), "no sound.png": picture(),
    }  # fmt: skip
    for name, data in (files | bad).items():
        (tmp_path / name).write_bytes(data)
    with no_hang():
        source = load_clips(
            str(tmp_path), ClipView(View(16), frames=4, fps=8.0), SoundView(seconds=1.0, rate=8000, fft=256, hop=80)
        )
    assert {*source.train.items, *source.test.items} == set(files)
    assert set(dict(source.skipped)) == set(bad) and all(dict(source.skipped).values())
    counts["bad files in folders"] += len(bad)


WILD = [
    None, 0, -1, 1, 2, 3, 2.5, 1e30, -1e-30, nan, inf, -inf, True, False, "", "x", "0", "-1", "nan", "../..", "\0",
    "🐈", [], ["x"], {}, {"x": 1}, 10**40, b"x", (), object(),
]  # fmt: skip


def test_wild_flags_are_resolved_or_refused(method: str, counts: Counter) -> None:
    """One to three flags of a sound configuration set to anything."""
    chance = random.Random(method)
    flags = {name: value for name, value in tiny_config(method).model_dump().items() if name in FLAGS}
    cls = systems.get(method)
    hyper = [*cls.__init__.__kwdefaults__]
    tries = 120
    for _ in range(tries):
        wild = dict(flags)
        for name in chance.sample(sorted(flags), chance.randint(1, 3)):
            wild[name] = chance.choice(WILD)
        if isinstance(wild["hyper"], dict) and chance.random() < 0.5:
            wild["hyper"] = wild["hyper"] | {chance.choice([*hyper, "x"]): chance.choice(WILD)}
        with no_hang():
            try:
                assert isinstance(resolve(wild), TrainConfig)
            except UserError as error:
                assert str(error)
    counts["configurations tried"] += tries


FLAGS = {
    "method", "data", "data_root", "recipe", "backbone", "audio_backbone", "image_size", "epochs", "max_steps",
    "batch_size", "micro_batch", "optimizer", "lr", "weight_decay", "warmup_epochs", "clip_grad", "hyper", "without",
    "seed", "devices", "precision", "channels_last", "compile", "workers", "eval_every",
}  # fmt: skip


def test_a_damaged_config_yaml_is_read_or_refused(tmp_path: Path, counts: Counter) -> None:
    path, chance, tries = tmp_path / "config.yaml", random.Random(0), 200
    tiny_config("swav").save(path)
    whole = path.read_bytes()
    for _ in range(tries):
        path.write_bytes(damaged(whole, chance))
        with no_hang():
            try:
                TrainConfig.load(path)
            except UserError as error:
                assert str(path) in str(error)
    for text in ("", "[]", "a: b", "- 1", "{", "!!python/object/apply:os.system ['true']", yaml.dump({"method": "x"})):
        path.write_text(text)
        with pytest.raises(UserError):
            TrainConfig.load(path)
    counts["configurations tried"] += tries + 7


def test_pictures_that_vanish_during_training_are_named(tmp_path: Path) -> None:
    """Between two readings: the next one stands in, by its name."""
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(picture(seed=i))
    images: Images = load(str(tmp_path), image_size=16, memory_fraction=0.0).train
    first, _ = images.read([0, 1])
    gone = str(images.items[0])
    (tmp_path / gone).unlink()
    second, _ = images.read([0, 1])
    assert torch.equal(second[0], first[1]) and torch.equal(second[1], first[1])
    assert dict(images.skipped) == {gone: "No such file or directory"}


@pytest.mark.parametrize("name", ["data", "labels", "data_root", "out", "from_run"])
@pytest.mark.parametrize("value", ["~nobody-has-this-name/x", "a\0b"])
def test_names_that_no_file_can_have_are_refused(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").write_bytes(picture())
    given = {"data": "cifar10" if name == "data_root" else str(tmp_path), name: value}
    with pytest.raises(UserError, match="zero byte" if "\0" in value else ".") as told:
        resolve(given)
        load(given["data"], image_size=8, labels=given.get("labels"), data_root=given.get("data_root", "data"))
        RunFolder.check_free(given.get("out"))
        raise UserError("fine")
    assert name in ("out",) or str(told.value) != "fine"
