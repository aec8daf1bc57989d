"""Arrays of pictures in .npy and .npz files."""

import pickle
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch

from semblance.data import load
from semblance.data.sources.arrays import load_npz
from semblance.data.sources.npz import Npz
from semblance.data.splits import LabelOptions, is_held_out
from semblance.errors import UserError
from semblance.runtime.memory import Limits

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


@pytest.mark.parametrize(
    ("y", "y_test", "told"),
    [
        ([0, 1, 2] * 2, [0, 1, 3] * 2, "No training sample is of the test label 3, and no held-out one is of 2."),
        ([0, 1, -1] * 2, [0, 1, -1] * 2, "4 labels are -1 or blank: those samples have none."),
        ([0.0, 1.0, np.nan] * 2, [0, 1, 1] * 2, "2 labels are -1 or blank: those samples have none."),
        (["a", "b", ""] * 2, ["a", "b", "b"] * 2, "2 labels are -1 or blank: those samples have none."),
        (["0", "1", "-1"] * 2, [0, 1, 1] * 2, "2 labels are -1 or blank: those samples have none."),
        ([-1, 1, 1] * 2, [-1, 1, -1] * 2, "The labels are -1 and 1, taken for two classes."),
        ([0, 1, 1] * 2, None, "Only one of the training and the test part has labels."),
    ],
)
def test_labels_that_do_not_match_or_are_none_are_told(tmp_path: Path, y: list, y_test: list | None, told: str) -> None:
    pictures = np.zeros((6, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=pictures, y_train=y, x_test=pictures, **({"y_test": y_test} if y_test else {}))
    source = load(str(tmp_path / "a.npz"), image_size=8)
    assert source.notes[0] == told and source.notes[-1].startswith("Understood: ") and len(source.notes) == 2
    known = source.train.attributes["class"]
    assert "-1" not in known.classes or known.classes == ["-1", "1"]
    assert [name or "none" for name in known.names] == [
        "none" if str(v) in ("-1", "nan", "") and -1 not in y[:1] else str(int(v)) if isinstance(v, float) else str(v)
        for v in y
    ]


@pytest.mark.parametrize("parts", [{"y": [-1] * 50}, {"y": [np.nan] * 50, "x_test": GREY, "y_test": [-1] * 50}])
def test_labels_of_which_none_is_one_are_no_labels(tmp_path: Path, parts: dict) -> None:
    np.savez(tmp_path / "x.npz", x=GREY, **parts)
    source = load(str(tmp_path / "x.npz"), image_size=12)
    assert not source.train.attributes and len(source.notes) == 2
    assert "labels are -1 or blank" in source.notes[0] and "no classes, 50 to train on" in source.notes[1]


def test_unlabelled_rows_are_trained_on_and_every_class_is_held_out_of(tmp_path: Path) -> None:
    y = np.array([0, 1, 2, -1, -1] * 10)
    np.savez(tmp_path / "x.npz", x=GREY, y=y, names=y)
    source = load(str(tmp_path / "x.npz"), image_size=12)
    assert source.test is not None and set(source.test.attributes["class"].names) == {"0", "1", "2"}
    assert source.notes[0] == "Arrays that are not used: names."
    assert "3 classes (0 10, 1 10, 2 10; 20 without one) by the file" in source.notes[-1]
    before = {i for i in range(50) if y[i] >= 0 and is_held_out(str(i))}
    assert before <= set(source.test.items) and len(set(source.test.items) - before) <= 3


def test_a_person_may_say_what_of_arrays_is_held_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=GREY, y=np.arange(50) % 3)
    np.savez(tmp_path / "two.npz", x=GREY, y=np.arange(50) % 3, x_test=GREY[:5], y_test=np.arange(5) % 3)
    one, two, plain = (str(tmp_path / name) for name in ("x.npz", "two.npz", "x.npy"))
    np.save(plain, GREY)
    assert load(one, image_size=12, split="none").test is None
    assert load(one, image_size=12, unlabelled=True).test is None
    half, tenth = load(one, image_size=12, split="0.5"), load(one, image_size=12)
    assert half.test is not None and tenth.test is not None and {*tenth.test.items} < {*half.test.items}
    left = load(two, image_size=12, split="none")
    assert left.test is None and "The 5 samples of the test part are left out" in left.notes[0]
    for fraction in (0.25, 0):
        source = load(plain, image_size=12, split="0.5", memory_fraction=fraction)
        assert source.test is not None and len(source.train) + len(source.test) == 50
        assert "no classes" in source.notes[-1]
    for path, options, told in (
        (two, {"split": "0.5"}, "brings a test part"),
        (one, {"split": "train=a"}, "is no set of files"),
        (one, {"labels": "l.csv"}, "is no set of files"),
    ):
        with pytest.raises(UserError, match=told):
            load(path, image_size=12, **options)


@pytest.mark.parametrize(
    "labels",
    [np.arange(50).astype("M8[D]"), np.full(50, "NaT", "m8[s]"), np.ones(50, complex), np.zeros(50, [("a", int)])],
)
def test_labels_that_are_neither_numbers_nor_text_are_refused(tmp_path: Path, labels: np.ndarray) -> None:
    np.savez(tmp_path / "x.npz", x=GREY, y=labels)
    with pytest.raises(UserError, match="give whole numbers or text"):
        load(str(tmp_path / "x.npz"), image_size=12)


def test_labels_of_one_part_only_are_told_and_those_that_may_mean_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=GREY, y=np.arange(50))
    source = load(str(tmp_path / "x.npz"), image_size=12)
    assert source.test is not None and not source.train.attributes and not source.test.attributes
    assert source.notes[0] == "The training and the test part share no class, so these are ignored."
    np.savez(tmp_path / "x.npz", x=GREY, y=np.array(["a", "b", "N/A", "a", "b"] * 10))
    source = load(str(tmp_path / "x.npz"), image_size=12)
    assert source.notes[0] == "10 labels are N/A, taken for a class; give -1 or blank if it is none."


def test_each_part_has_its_own_bytes_and_floats_one_scale(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for train, test in ((RGB, RGB / 255), (RGB / 255, RGB), (RGB.astype(np.uint16), RGB)):
        np.savez(path, x_train=train, x_test=test)
        source = load(str(path), image_size=12)
        assert source.test is not None and torch.equal(source.train.pixels, source.test.pixels)
    for train in (RGB.astype(float), RGB.astype(np.uint16) * 16):
        np.savez(path, x_train=train, x_test=RGB / 255)
        with pytest.raises(UserError, match="from 0 to 1, where others of the set go to .* on one scale"):
            load(str(path), image_size=12)


def test_arrays_of_an_archive_are_read_in_any_order(tmp_path: Path) -> None:
    x, path = np.random.default_rng(0).normal(size=(40, 5, 3)), tmp_path / "x.npz"
    np.savez_compressed(path, x=x, turned=np.asfortranarray(x), one=np.array(3), none=np.empty((0, 4)))
    found = Npz(path, Limits(1 << 20, 1), "")
    assert [*found] == ["x", "turned", "one", "none"] and found["one"].whole() == 3 and not found["none"].whole().size
    for rows in (slice(3, 9), slice(9, 12), slice(20, 21), slice(0, 2), slice(35, 99), slice(5, 5)):
        assert np.array_equal(found["x"][rows], x[rows]) and np.array_equal(found["turned"][rows], x[rows])
    assert np.array_equal(found["x"].whole(), x) and np.array_equal(found["turned"].whole(), x)


def npy(array: np.ndarray) -> bytes:
    np.save(file := BytesIO(), array)
    return file.getvalue()


@pytest.mark.parametrize("labels", [npy(np.array([{}] * 50)), npy(np.arange(50))[:-9], b"?", b"", "encrypted", "large"])
def test_of_an_archive_only_what_is_used_must_be_readable(tmp_path: Path, labels: bytes | str) -> None:
    """Labels of objects, cut short, none at all, encrypted, and larger than memory."""
    path, limits = tmp_path / "x.npz", Limits(1 << 20, 1)
    for name in ("labels", "other"):
        with ZipFile(path, "w", ZIP_DEFLATED) as file:
            file.writestr("images.npy", npy(GREY))
            file.writestr(f"{name}.npy", labels if isinstance(labels, bytes) else npy(np.zeros(1 << 18)))
        if labels == "encrypted":
            data = bytearray(path.read_bytes())
            data[data.rfind(b"other.npy" if name == "other" else b"labels.npy") - 38] |= 1  # flags of its entry
            path.write_bytes(data)
        source = load_npz(path, 12, limits, LabelOptions(unlabelled=name == "labels"))
        assert torch.equal(source.train.pixels[:, 0], torch.from_numpy(GREY))
        assert f"Arrays that are not used: {name}." in source.notes
    with ZipFile(path, "a") as file:
        file.writestr("labels.npy", file.read("other.npy") if isinstance(labels, bytes) else npy(np.zeros(1 << 18)))
    if labels != "encrypted":
        with pytest.raises(UserError, match="labels.npy in .* cannot be read" if labels != "large" else "of memory"):
            load_npz(path, 12, limits, LabelOptions())


PEAK = """
import resource, sys
from semblance.data import load
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
before, pixels = peak(), load(sys.argv[1], image_size=64).train.pixels
print((peak() - before) / pixels.nbytes)
"""


def test_an_archive_that_unpacks_to_much_more_takes_memory_once(tmp_path: Path) -> None:
    path, count = tmp_path / "zeros.npz", 8_000
    with ZipFile(path, "w", ZIP_DEFLATED) as file, file.open("x.npy", "w") as member:
        about = {"descr": "|u1", "fortran_order": False, "shape": (count, 64, 64, 3)}
        np.lib.format.write_array_header_1_0(member, about)
        for _ in range(20):
            member.write(bytes(count // 20 * 64 * 64 * 3))
    assert path.stat().st_size < 1 << 20
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.5
