"""The data of the audio-visual benchmarks, out of the archives that NOTES.md of the shared data describes.

python benchmarks/clips.py grid SHARED OUT     GRID's clips, cropped to the mouth, as a folder with labels.csv
python benchmarks/clips.py avmnist SHARED OUT  MNIST digits, each with a spoken one, as OUT.npz

semblance train avid --data OUT ...
"""

import argparse
import csv
import gzip
import io
import tarfile
from pathlib import Path

import numpy as np

from semblance.data.bounce import encode
from semblance.data.media import decode_sound
from semblance.data.pyav import pyav

MOUTH = (66, 122, 36, 100)  # rows and columns of GRID's 128 x 160 frames: mouth and chin of its one talker
FPS, GRID_RATE, DIGIT_RATE = 25, 24_000, 8_000


def grid(shared: Path, out: Path) -> None:
    """Frames cropped to the mouth, encoded again; the sound at 24 kHz."""
    top, bottom, left, right = MOUTH
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(shared / "grid_s1_dev.tar") as tar:
        for member in tar:
            name = Path(member.name).name
            if name == "labels.csv":
                text = _read(tar, member).decode().replace("clips/", "")
                (out / name).write_text(text)
            elif name.endswith(".mp4"):
                data = _read(tar, member)
                with pyav().open(io.BytesIO(data)) as container:
                    frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
                cropped = np.stack([f[top:bottom, left:right] for f in frames])
                sound = decode_sound(data, GRID_RATE).numpy()
                (out / name).write_bytes(encode(cropped, sound, fps=FPS, rate=GRID_RATE))


def avmnist(shared: Path, out: Path, train: int = 3000, test: int = 1000) -> None:
    """The first pairs of either split, one second of sound each."""
    spoken: dict[str, np.ndarray] = {}
    with tarfile.open(shared / "fsdd_wav.tar.xz") as tar:
        for member in tar:
            if member.name.endswith(".wav"):
                sound = decode_sound(_read(tar, member), DIGIT_RATE).numpy()[:DIGIT_RATE]
                spoken[Path(member.name).name] = np.pad(sound, (0, DIGIT_RATE - len(sound)))
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
    args = parser.parse_args()
    {"grid": grid, "avmnist": avmnist}[args.set](args.shared, args.out)
