"""Data sets known by name."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from semblance.data import load
from semblance.data.sources.named import NAMES
from semblance.errors import UserError


def test_digits_are_scikit_learns_enlarged() -> None:
    source = load("digits", image_size=32)
    assert source.test is not None and len(source.train) + len(source.test) == 1797
    assert 100 < len(source.test) < 260 and source.train.canvas == 32
    digits = load_digits()
    for part in (source.train, source.test):
        pixels, _ = part.read(range(len(part)))
        assert pixels.shape[1:] == (3, 32, 32)
        assert part.attributes["class"].values.tolist() == digits.target[list(part.items)].tolist()
        grey = torch.nn.functional.avg_pool2d(pixels[:, 0].float(), 4) * 16 / 255
        assert (grey - torch.from_numpy(digits.images[list(part.items)])).abs().mean() < 1  # of 16 levels


def test_digits_do_not_depend_on_the_seed() -> None:
    a, b = load("digits", image_size=32, seed=0), load("Digits", image_size=32, seed=1)
    assert torch.equal(a.train.pixels, b.train.pixels)


def test_shapes_are_drawn_at_the_image_size_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semblance.data.sources.named._SHAPES_TRAIN", 30)
    monkeypatch.setattr("semblance.data.sources.named._SHAPES_TEST", 10)
    a, again, b = (load("shapes", image_size=24, seed=seed) for seed in (0, 0, 1))
    assert len(a.train) == 30 and a.test is not None and len(a.test) == 10
    known = a.train.attributes["class"]
    assert a.train.canvas == 24 and known.classes and int(known.values.max()) < len(known.classes)
    assert torch.equal(a.train.pixels, again.train.pixels) and not torch.equal(a.train.pixels, b.train.pixels)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"shapes", "digits"}))
def test_missing_set_says_where_it_was_looked_for_and_how_to_get_it(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    with pytest.raises(UserError, match="--download") as error:
        load(name, image_size=32, data_root=tmp_path / "root")
    assert str(tmp_path / "root") in str(error.value)


def test_mnist_files_are_read(tmp_path: Path) -> None:
    """torchvision's layout: idx files under MNIST/raw."""
    pytest.importorskip("torchvision")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pictures = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    header = {1: b"\0\0\x08\x01", 3: b"\0\0\x08\x03"}
    for stem, n in (("train", 6), ("t10k", 2)):
        for kind, array in (("images-idx3", pictures[:n]), ("labels-idx1", np.arange(n, dtype=np.uint8))):
            data = header[array.ndim] + b"".join(side.to_bytes(4, "big") for side in array.shape) + array.tobytes()
            (raw / f"{stem}-{kind}-ubyte").write_bytes(data)
            (raw / f"{stem}-{kind}-ubyte.gz").write_bytes(gzip.compress(data))
    source = load("mnist", image_size=28, data_root=tmp_path)
    assert source.test is not None and source.test.attributes["class"].values.tolist() == [0, 1]
    assert torch.equal(source.train.pixels, torch.from_numpy(pictures)[:, None].expand(6, 3, 28, 28))
    assert source.train.canvas == 28 and len(source.train.attributes["class"].classes) == 10
