"""What is said of data as people have it: made small, loaded, and every line that a run would print.

    python benchmarks/told.py > docs/told.md

Pictures are 24 px of noise. Under each situation: notes, unreadable files, or the error that ends the run.
"""

import csv
import io
import os
import tarfile
import tempfile
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from semblance.data import load, load_clips
from semblance.errors import UserError
from semblance.shown import shown
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import View

rng = np.random.default_rng(0)
SITUATIONS: dict[str, Callable[[Path], dict | None]] = {}


def situation(title: str) -> Callable:
    return lambda make: SITUATIONS.setdefault(title, make)


def picture(path: Path, top: int = 255, mode: type = np.uint8, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (24, 24, 3) if mode is np.uint8 else (24, 24)
    Image.fromarray(rng.integers(0, top, shape, endpoint=True).astype(mode)).save(path, **options)
    return path


def classes(root: Path, *names: str, count: int = 6) -> None:
    for name in names:
        for i in range(count):
            picture(root / name / f"{i}.png")


@situation("Photographs of a phone, a camera and a friend")
def _(root: Path) -> None:
    classes(root, "cat", "dog")
    for name in ("cat/1.HEIC", "cat/2.cr2", "dog/3.mp4", "dog/4.zip", "notes.txt", "dog/Thumbs.db", "@eaDir/1.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(99) if name.endswith("HEIC") else b"no picture")
    picture(root / "dog/5", format="PNG")


@situation("Training/ beside Testing/")
def _(root: Path) -> None:
    classes(root / "Training", "cat", "dog")
    classes(root / "Testing", "cat", "dog", count=2)


@situation("train/images/CLASS beside val/images/CLASS")
def _(root: Path) -> None:
    classes(root / "train/images", "cat", "dog")
    classes(root / "val/images", "cat", "dog", count=2)


@situation("Albums by date")
def _(root: Path) -> None:
    classes(root, "2019", "2020-05", "2021-12-24")


@situation("Two classes of five, with --labels of two columns and --split none")
def _(root: Path) -> dict:
    classes(root / "set", "a", "b", count=5)
    rows = [("file", "animal", "colour"), *((f"{f}/{i}.png", f, i % 2) for f in "ab" for i in range(4))]
    text = io.StringIO()
    csv.writer(text, delimiter=";").writerows(rows)
    (root / "labels.csv").write_text(text.getvalue(), encoding="utf-8-sig")
    return {"data": root / "set", "labels": str(root / "labels.csv"), "split": "none"}


@situation("Cat/ beside cat/, and a class whose name is not UTF-8")
def _(root: Path) -> None:
    classes(root, "Cat", "cat", os.fsdecode(b"caf\xe9"))


@situation("A stack of pages, a broken EXIF, a damaged file")
def _(root: Path) -> None:
    pages = [Image.new("L", (24, 24), i) for i in range(5)]
    pages[0].save(root / "stack.tif", save_all=True, append_images=pages[1:])
    picture(root / "exif.png", exif=b"Exif\0\0nonsense")
    (root / "cut.jpg").write_bytes(picture(root / "whole.jpg").read_bytes()[:200])


@situation("12-bit values in 16-bit PNGs")
def _(root: Path) -> None:
    for i in range(8):
        picture(root / f"{i}.png", 4095, np.uint16)


@situation("A .npy of uint16, 0 to 4,095")
def _(root: Path) -> dict:
    np.save(root / "x.npy", rng.integers(0, 4095, (9, 24, 24), endpoint=True).astype(np.uint16))
    return {"data": root / "x.npy"}


@situation("A .npz whose labels hold -1, and share only one class between parts")
def _(root: Path) -> dict:
    x = rng.integers(0, 255, (12, 24, 24, 3)).astype(np.uint8)
    labels = np.array([0, 0, 1, 1, 1, -1])
    np.savez(root / "x.npz", x_train=x[:6], y_train=labels, x_test=x[6:], y_test=np.array([1, 1, 2, 2, 2, -1]))
    return {"data": root / "x.npz"}


@situation("A tar with links, a name twice, and one that leads out")
def _(root: Path) -> dict:
    data = picture(root / "a.png").read_bytes()
    with tarfile.open(root / "set.tar", "w") as tar:
        for name in ("a/1.png", "a/1.png", "b/2.png", "../3.png"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (("b/4.png", "../a/1.png"), ("b/5.png", "gone.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return {"data": root / "set.tar"}


@situation("Folders that link to each other")
def _(root: Path) -> None:
    classes(root, "a", "b", "c")
    for name in "abc":
        for other in "abc":
            (root / name / f"to_{other}").symlink_to(root / other)


@situation("A picture of a terabyte, and one of 60,000 x 60,000 pixels in a few kilobytes")
def _(root: Path) -> None:
    picture(root / "1.png")
    with (root / "2.png").open("wb") as file:
        file.truncate(1 << 40)
    Image.MAX_IMAGE_PIXELS, was = None, Image.MAX_IMAGE_PIXELS
    Image.new("1", (60_000, 60_000)).save(root / "3.png")
    Image.MAX_IMAGE_PIXELS = was


@situation("Clips: pictures with sounds, one of them mute; what is no clip; a table that names some")
def _(root: Path) -> dict:
    for i in range(6):
        picture(root / f"{i}.png")
        with wave.open(str(root / f"{i}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes((rng.normal(size=16_000) * 3000 * (i > 0)).astype(np.int16).tobytes())
    picture(root / "lonely.png")
    (root / "notes.mp4").write_text("v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n")
    (root / "half.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(99))
    (root / "labels.csv").write_text(
        "Clip;Speaker;Split\n0.png;ann;1\n1.png;ann;1\n2.png;bob;1\n3.png;bob;0\n9.png;bob;0\n"
    )
    return {"clips": True}


@situation("Only raw camera files")
def _(root: Path) -> None:
    for i in range(3):
        (root / f"{i}.nef").write_bytes(b"raw")


def main() -> None:
    print("# What is said of data\n\nWritten by `python benchmarks/told.py`, which makes each of these small.")
    for title, make in SITUATIONS.items():
        print(f"\n**{title}**\n")
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "data"
            root.mkdir()
            given = {"data": root} | (make(root) or {})
            try:
                name = str(given.pop("data"))
                if given.pop("clips", False):
                    source = load_clips(name, ClipView(View(24), 4, 4.0), SoundView(seconds=1.0))
                else:
                    source = load(name, image_size=24, **given)
                told = [*source.notes, *(f"{name}: {why}" for name, why in source.skipped)]
            except UserError as error:
                told = [f"semblance: {line}" for line in str(error).splitlines()]
            print("\n".join(f"    {shown(line).replace(folder, '...')}" for line in told))


if __name__ == "__main__":
    main()
