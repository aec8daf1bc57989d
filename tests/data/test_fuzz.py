"""Every loader on damaged files: read, or refused in words; nothing else escapes, nothing hangs.

    PYTHONPATH=tests python tests/data/test_fuzz.py 200

tries two hundred times as many mutants as CI and prints the table of docs/correctness.md.
"""

import io
import random
import struct
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_media import film, no_hang, sound

from semblance.data import load
from semblance.data.clips.media import decode_clip, decode_sound, probe
from semblance.data.pictures.decode import Cuts, cut_file, decode, look_at, read_size
from semblance.errors import UserError

KINDS = [
    "PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM", "TGA", "ICO", "AVIF", "JPEG2000", "DDS", "SPIDER", "PCX", "SGI",
    "QOI", "IM", "ICNS", "MSP", "XBM", "BLP", "DIB", "MPO",
]  # fmt: skip
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 20, 3), dtype=np.uint8)


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pictures() -> Iterator[bytes]:
    """A small file of each kind, and those whose heads say more: EXIF, pages, depth, palettes, alpha."""
    modes = {"SPIDER": "F", "MSP": "1", "XBM": "1", "BLP": "P"}
    for kind in KINDS:
        size = (32, 32) if kind == "ICNS" else (20, 24)
        yield written(Image.fromarray(NOISE).resize(size).convert(modes.get(kind, "RGB")), kind)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "AVIF"):
        yield written(Image.fromarray(NOISE), kind, exif=exif)
    deep = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 16)
    for kind in ("PNG", "TIFF", "JPEG2000", "PPM"):
        yield written(deep, kind)
    yield written(Image.fromarray(NOISE[..., 0].astype(np.float32)), "TIFF", compression="tiff_deflate")
    pages = [Image.fromarray(NOISE[:, ::-1])]
    for kind in ("TIFF", "GIF", "WEBP", "PNG"):
        yield written(Image.fromarray(NOISE), kind, save_all=True, append_images=pages)
    yield written(Image.fromarray(NOISE).convert("RGBA"), "PNG")
    yield written(Image.fromarray(NOISE).quantize(8), "PNG", transparency=1)
    yield written(Image.fromarray(NOISE), "JPEG", progressive=True)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def tar(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        for name in ("a/1.png", "a/2.png", "b/ü.png", "b/2.txt"):
            data = written(Image.fromarray(NOISE), "PNG")
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def a_crop(height: int, width: int) -> list[Cuts]:
    return [Cuts(torch.tensor([[0, 0, height, width]]), 8, True)]


def loaded(suffix: str, *fractions: float) -> Callable[[bytes], Any]:
    """Loads the bytes as a file of that name, with these shares of memory; with 0 pictures are left on disk."""

    def read(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"x{suffix}")
            path.write_bytes(data)
            for fraction in fractions:
                source = load(str(path), image_size=8, memory_fraction=fraction)
                source.train.read(range(min(2, len(source.train))))

    return read


GREY = RNG.integers(0, 256, (9, 6, 6), dtype=np.uint8)
LOADERS: dict[str, tuple[Callable[[], list[bytes]], Callable[[bytes], Any], int]] = {  # files, reader, mutants in CI
    "read_size": (lambda: [*pictures()], read_size, 600),
    "look_at": (lambda: [*pictures()], look_at, 300),
    "decode": (lambda: [*pictures()], lambda data: decode(data, 16), 600),
    "cut_file": (lambda: [*pictures()], lambda data: cut_file(data, a_crop), 300),
    ".npy": (lambda: [npy(GREY), npy(GREY.astype(np.uint16) * 16), npy(GREY / 255)], loaded(".npy", 0.25, 0), 150),
    ".npz": (
        lambda: [
            npz(x=GREY, y=np.arange(9) % 2),
            npz(x_train=GREY, x_test=GREY, y_train=np.array(["a", "b", "c"] * 3)),
        ],
        loaded(".npz", 0.25),
        150,
    ),
    ".tar": (lambda: [tar("w")], loaded(".tar", 0.25, 0), 60),
    ".tar.gz": (lambda: [tar("w:gz"), tar("w:xz"), tar("w:bz2")], loaded(".tar.gz", 0.25), 60),
    "probe": (lambda: [film(), sound()], probe, 60),
    "decode_clip": (lambda: [film()], lambda data: decode_clip(data, 16, 8.0, 8000), 60),
    "decode_sound": (lambda: [film(), sound()], lambda data: decode_sound(data, 8000), 60),
}


def mutant(whole: bytes, chance: random.Random) -> bytes:
    """Cut short, with bytes changed near the head or anywhere, numbers made extreme, a hole, zeros, a piece twice."""
    data, n = bytearray(whole), len(whole)
    at, length = chance.randrange(n), chance.randrange(1, 200)
    match chance.choice(["cut", "head", "head", "bits", "number", "number", "hole", "zeros", "twice"]):
        case "cut":
            del data[at:]
        case "head":
            for _ in range(3):
                data[chance.randrange(min(n, 300))] = chance.randrange(256)
        case "bits":
            for _ in range(8):
                data[chance.randrange(n)] ^= 1 << chance.randrange(8)
        case "number":
            form = chance.choice(["<H", ">H", "<I", ">I", "<Q"])
            value = chance.choice([0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63])
            at = chance.randrange(min(n, 400))
            bits = struct.calcsize(form) * 8
            data[at : at + bits // 8] = struct.pack(form, value % 2**bits)
        case "hole":
            del data[at : at + length]
        case "zeros":
            data[at : at + length] = bytes(length)
        case "twice":
            data[at:at] = data[at : at + length]
    return bytes(data)


def fuzz(name: str, tries: int) -> tuple[Counter[str], list[str]]:
    """How many mutants were read and refused, and what else they raised."""
    make, read, _ = LOADERS[name]
    files, chance, counts, escaped = make(), random.Random(name), Counter[str](), []
    allowed = (UserError,) if name.startswith(".") else (OSError, ValueError)
    for i in range(tries):
        data = mutant(files[i % len(files)], chance)
        try:
            with no_hang():
                read(data)
            counts["read"] += 1
        except allowed as error:
            counts["refused"] += 1
            if not str(error) or "\n" in str(error) or isinstance(error, UserError) is not name.startswith("."):
                escaped.append(f"{name} {i}: {type(error).__name__}({error})")
        except Exception as error:
            escaped.append(f"{name} {i}: {type(error).__name__}({error})")
    return counts, escaped


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LOADERS)
def test_what_is_damaged_is_read_or_refused_in_words(name: str) -> None:
    counts, escaped = fuzz(name, LOADERS[name][2])
    assert not escaped
    assert counts["refused"]


if __name__ == "__main__":
    print("| loader | mutants | read | refused | escaped |\n|---|---|---|---|---|")
    for name, (_, _, tries) in LOADERS.items():
        counts, escaped = fuzz(name, int(sys.argv[1]) * tries)
        print(
            f"| {name} | {int(sys.argv[1]) * tries:,} | {counts['read']:,} | {counts['refused']:,} | {len(escaped)} |"
        )
        print(*escaped[:5], sep="\n", file=sys.stderr)
