"""Arrays of pictures in .npy and .npz files."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from semblance.data import load
from semblance.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (50, 12, 12), dtype=np.uint8)
RGB = RNG.integers(0, 256, (50, 12, 12, 3), dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> str:
    np.save(path, array)
    return str(path)


@pytest.mark.parametrize("array", [RGB, RGB.transpose(0, 3, 1, 2)])
def test_colour_arrays_are_kept_in_either_layout(tmp_path: Path, array: np.ndarray) -> None:
    source = load(save(tmp_path / "x.npy", array), image_size=12)
    assert torch.equal(source.train.pixels, torch.from_numpy(RGB.transpose(0, 3, 1, 2).copy()))
    assert not source.train.attributes and source.test is None
    assert source.train.read([3])[1].tolist() == [[12, 12]]


@pytest.mark.parametrize("array", [GREY, GREY[..., None], GREY[:, None]])
def test_grey_arrays_fill_three_channels(tmp_path: Path, array: np.ndarray) -> None:
    pixels = load(save(tmp_path / "x.npy", array), image_size=12).train.pixels
    assert torch.equal(pixels, torch.from_numpy(GREY)[:, None].expand(50, 3, 12, 12))


def test_alpha_lies_on_white(tmp_path: Path) -> None:
    clear = np.zeros((2, 5, 5, 4), np.uint8)
    assert (load(save(tmp_path / "x.npy", clear), image_size=5).train.pixels == 255).all()


def test_oblong_arrays_are_resized_to_a_square_and_keep_their_size(tmp_path: Path) -> None:
    train = load(save(tmp_path / "x.npy", GREY[:, :6]), image_size=12).train
    assert train.canvas == 8 and train.read([0, 1])[0].shape == (2, 3, 8, 8)
    assert train.read([0])[1].tolist() == [[6, 12]]


@pytest.mark.parametrize("array", [RGB, GREY[:, :6], RGB.transpose(0, 3, 1, 2)])
def test_a_large_npy_stays_on_disk_with_the_same_pixels(tmp_path: Path, array: np.ndarray) -> None:
    path = save(tmp_path / "x.npy", array)
    memory, disk = load(path, image_size=12).train, load(path, image_size=12, memory_fraction=0).train
    assert disk.pixels is None
    for a, b in zip(memory.read(range(50)), pickle.loads(pickle.dumps(disk)).read(range(50)), strict=True):
        assert torch.equal(a, b)


def test_npz_labels_of_any_kind_become_classes(tmp_path: Path) -> None:
    y = np.array(["owl", "ant"] * 25)
    np.savez(tmp_path / "x.npz", images=GREY, labels=y)
    source = load(str(tmp_path / "x.npz"), image_size=12)
    assert source.train.attributes["class"].classes == ["ant", "owl"] and source.test is not None
    for part in (source.train, source.test):
        assert part.attributes["class"].names == [y[i] for i in part.items]
        assert torch.equal(part.read(range(len(part)))[0][:, 0], torch.from_numpy(GREY[list(part.items)]))
    assert sorted([*source.train.items, *source.test.items]) == list(range(50))
    assert 1 <= len(source.test) <= 12


def test_npz_test_pictures_are_the_test_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=GREY, y=np.arange(50) % 3 + 1, x_test=GREY[:4], y_test=np.array([3, 1, 2, 1]))
    source = load(str(tmp_path / "x.npz"), image_size=12)
    assert len(source.train) == 50 and source.test is not None
    known = source.test.attributes["class"]
    assert known.values.tolist() == [2, 0, 1, 0] and known.classes == ["1", "2", "3"]


def test_npz_without_labels_holds_nothing_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=GREY)
    source = load(str(tmp_path / "x.npz"), image_size=12)
    assert len(source.train) == 50 and source.test is None and not source.train.attributes


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GREY.astype(np.complex64), "complex64"),
        (np.zeros((5, 8), np.uint8), "shape"),
        (np.zeros((5, 8, 8, 7), np.uint8), "shape"),
        (np.zeros((0, 8, 8), np.uint8), "shape"),
    ],
)
def test_other_arrays_are_refused_with_what_to_give(tmp_path: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(save(tmp_path / "x.npy", array), image_size=12)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return (Path.touch, (tmp_path / "sprung",))

    np.save(tmp_path / "x.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([Trap()], dtype=object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(UserError, match="cannot be read"):
            load(str(tmp_path / name), image_size=12)
    assert not (tmp_path / "sprung").exists()


def test_npz_errors_say_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, pictures=GREY)
    with pytest.raises(UserError, match="no array named x.*pictures"):
        load(str(path), image_size=12)
    np.savez(path, x=GREY, y=np.arange(3))
    with pytest.raises(UserError, match="50 pictures but labels of shape"):
        load(str(path), image_size=12)
    np.savez(path, x=GREY)
    with pytest.raises(UserError, match="GiB"):
        load(str(path), image_size=12, memory_fraction=0)
    path.write_bytes(b"no zip")
    with pytest.raises(UserError, match="cannot be read"):
        load(str(path), image_size=12)


def test_labels_may_be_a_column(tmp_path: Path) -> None:
    """As Keras saves them."""
    pictures = np.zeros((6, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=pictures, y_train=np.array([[1], [3]] * 3), x_test=pictures, y_test=[1, 3] * 3)
    source = load(str(tmp_path / "a.npz"), image_size=8)
    assert source.train.attributes and source.train.attributes["class"].values.tolist() == [0, 1] * 3


def test_parts_without_a_common_label_are_not_compared(tmp_path: Path) -> None:
    pictures = np.zeros((6, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=pictures, y_train=[1, 3] * 3, x_test=pictures, y_test=["a", "b"] * 3)
    source = load(str(tmp_path / "a.npz"), image_size=8)
    assert not source.train.attributes and "share no label" in source.notes[0]
