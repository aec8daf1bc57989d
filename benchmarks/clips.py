"""The data of the audio-visual benchmarks, out of the archives that NOTES.md of the shared data describes.

python benchmarks/clips.py grid SHARED OUT     the moving mouth of GRID's clips, in pieces, as OUT.npz
python benchmarks/clips.py avmnist SHARED OUT  MNIST digits, each with a spoken one, as OUT.npz

semblance train avid --data OUT.npz ...
"""

import argparse
import csv
import gzip
import io
import tarfile
from pathlib import Path

import numpy as np

from semblance.data.clips.media import decode_sound
from semblance.data.clips.pyav import pyav

MOUTH = (76, 112, 51, 87)  # rows and columns of GRID's 128 x 160 frames: around the mouth of its one talker
FPS, PIECES, GRID_RATE, DIGIT_RATE = 25, 3, 24_000, 8_000


def grid(shared: Path, out: Path) -> None:
    """What moves about the mouth in every clip, in pieces of a second: three of each clip, one after the other.

    Frames are what differs from the mean of the clip's, doubled, on grey: what stands still tells nothing of the sound.
    `color_train`, `digit_train` (and `_test`) are of whole clips.
    """
    top, bottom, left, right = MOUTH
    with tarfile.open(shared / "grid_s1_dev.tar") as tar:
        files = {Path(member.name).name: _read(tar, member) for member in tar if member.isfile()}
    rows = list(csv.DictReader(io.StringIO(files["labels.csv"].decode())))
    arrays: dict[str, np.ndarray] = {"rate": np.array(GRID_RATE)}
    for split in ("train", "test"):
        chosen = [row for row in rows if row["split"] == split]
        frames, sounds = [], []
        for row in chosen:
            data = files[Path(row["clip"]).name]
            with pyav().open(io.BytesIO(data)) as container:
                shown = [f.to_ndarray(format="rgb24")[top:bottom, left:right] for f in container.decode(video=0)]
            shown += shown[-1:] * (PIECES * FPS - len(shown))  # five clips lack one
            moving = np.stack(shown) - np.mean(shown, 0)
            frames.append((128 + 2 * moving).round().clip(0, 255).astype(np.uint8))
            heard = decode_sound(data, GRID_RATE).numpy()[: PIECES * GRID_RATE]
            sounds.append(np.pad(heard, (0, PIECES * GRID_RATE - len(heard))))
        arrays[f"x_{split}"] = np.concatenate(frames).reshape(-1, FPS, *frames[0].shape[1:])
        arrays[f"sound_{split}"] = np.concatenate(sounds).reshape(-1, GRID_RATE)
        arrays |= {f"{name}_{split}": np.array([row[name] for row in chosen]) for name in ("color", "digit")}
    np.savez(out.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]


def avmnist(shared: Path, out: Path, noise: float, train: int = 3000, test: int = 1000) -> None:
    """The first pairs of either split, one second of sound each, in white noise of so many times its deviation."""
    spoken: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(0)
    with tarfile.open(shared / "fsdd_wav.tar.xz") as tar:
        for member in tar:
            if member.name.endswith(".wav"):
                sound = decode_sound(_read(tar, member), DIGIT_RATE).numpy()[:DIGIT_RATE].astype(np.float32)
                noisy = noise * sound.std() * rng.standard_normal(DIGIT_RATE)
                noisy[: len(sound)] += sound
                spoken[Path(member.name).name] = noisy.round().clip(-32768, 32767).astype(np.int16)
    with gzip.open(shared / "avmnist_pairs.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    arrays: dict[str, np.ndarray] = {"rate": np.array(DIGIT_RATE)}
    for split, name, count in (("train", "train", train), ("test", "t10k", test)):
        with gzip.open(shared / "MNIST" / "raw" / f"{name}-images-idx3-ubyte.gz") as file:
            digits = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
        chosen = [row for row in rows if row["split"] == split][:count]
        arrays[f"x_{split}"] = digits[[int(row["mnist_index"]) for row in chosen]]
        arrays[f"sound_{split}"] = np.stack([spoken[row["fsdd_file"]] for row in chosen])
        arrays[f"y_{split}"] = np.array([int(row["digit"]) for row in chosen])
    np.savez(out.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=("grid", "avmnist"))
    parser.add_argument("shared", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--noise", type=float, default=0.0, help="about the spoken digits: 0.5 makes them as hard as the pictures"
    )
    args = parser.parse_args()
    if args.set == "grid":
        grid(args.shared, args.out)
    else:
        avmnist(args.shared, args.out, args.noise)
