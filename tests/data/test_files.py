"""Folders and tars of images, read into memory or on demand."""

import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semblance.data import Images, load
from semblance.data.splits import is_held_out
from semblance.errors import UserError


def write(path: Path, seed: int = 0, size: tuple[int, int] = (24, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def pack(folder: Path, archive: Path, mode: str) -> Path:
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        tar.add(folder, folder.name)
    return archive


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Folder of two classes of 40 pictures each, differing in size."""
    root = tmp_path / "pets"
    for c, name in enumerate(("fox", "dog")):
        for i in range(40):
            write(root / name / f"{i}.png", 100 * c + i, (20 + i % 3, 24))
    return root


def same(a: Images | None, b: Images | None) -> None:
    """The same pictures, sizes and labels in the same order, read through the common door."""
    assert a is not None and b is not None and len(a) == len(b) and a.canvas == b.canvas
    for x, y in zip(a.read(range(len(a))), b.read(range(len(b))), strict=True):
        assert torch.equal(x, y)
    ours, theirs = ({name: known.names for name, known in images.attributes.items()} for images in (a, b))
    assert ours == theirs


@pytest.mark.parametrize("names", [["1.png", "2.PNG"], ["a/b/c/1.png", "a/2.png", "3.png"], ["ü/雪 1.png", "ü/é.png"]])
def test_pictures_at_any_depth_are_found(tmp_path: Path, names: list[str]) -> None:
    for i, name in enumerate(names):
        write(tmp_path / name, i)
    source = load(str(tmp_path), image_size=24)
    assert [str(item) for item in source.train.items] == sorted(names)
    assert not source.train.attributes and source.test is None
    pixels, sizes = source.train.read([0])
    assert torch.equal(
        pixels[0].permute(1, 2, 0), torch.from_numpy(np.asarray(Image.open(tmp_path / min(names))).copy())
    )
    assert sizes.tolist() == [[24, 24]] and sizes.dtype == torch.int32


def test_hidden_and_other_files_are_ignored(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    for name in (".hidden.png", ".git/2.png", "__MACOSX/3.png"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "labels.json").write_text("{}")
    train = load(str(tmp_path), image_size=24).train
    assert list(train.items) == ["1.png"] and not train.skipped


def readable(images: Images) -> Images:
    return images.subset(images.readable)


@pytest.mark.parametrize("memory_fraction", [0.25, 0.0], ids=["memory", "disk"])
def test_unreadable_files_are_stood_in_for_and_named(classes: Path, memory_fraction: float) -> None:
    whole = load(str(classes), image_size=24)
    (classes / "fox" / "broken.png").write_bytes((classes / "fox" / "0.png").read_bytes()[:500])
    (classes / "fox" / "empty.jpg").touch()
    (classes / "dog" / "text.png").write_text("no picture")
    (classes / "dog" / "gone.png").symlink_to(classes / "nowhere.png")
    source = load(str(classes), image_size=24, memory_fraction=memory_fraction)
    assert source.test is not None
    for images in (source.train, source.test):
        pixels, _ = images.read(range(len(images)))
        broken = set(range(len(images))) - set(images.readable.tolist())
        for i in broken:
            stand_in = next(j % len(images) for j in range(i, i + len(images)) if j % len(images) not in broken)
            assert torch.equal(pixels[i], pixels[stand_in])
    assert len(source.train) + len(source.test) == len(whole.train) + len(whole.test) + 4
    skipped = dict(source.skipped)
    assert set(skipped) == {"fox/broken.png", "fox/empty.jpg", "dog/text.png", "dog/gone.png"}
    assert skipped["fox/empty.jpg"] == "empty file" and "No such file" in skipped["dog/gone.png"]
    same(readable(source.train), whole.train)
    same(readable(source.test), whole.test)


def test_labels_name_the_class_folder(classes: Path) -> None:
    source = load(str(classes), image_size=24)
    assert source.test is not None
    for images in (source.train, source.test):
        assert images.attributes and images.attributes["class"].values.dtype == torch.int64
        assert images.attributes["class"].names == [str(item).split("/")[0] for item in images.items]


def test_adding_a_file_moves_no_other(classes: Path) -> None:
    before = load(str(classes), image_size=24)
    write(classes / "fox" / "another.png")
    after = load(str(classes), image_size=24)
    assert before.test is not None and after.test is not None
    assert set(before.train.items) <= set(after.train.items) and set(before.test.items) <= set(after.test.items)


def test_symlink_loops_end(classes: Path) -> None:
    whole = load(str(classes), image_size=24).train
    os.symlink(classes, classes / "fox" / "loop")
    os.symlink(classes / "dog", classes / "dog" / "self")
    assert len(load(str(classes), image_size=24).train) == len(whole)


def test_linked_folders_are_followed(classes: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    os.symlink(classes / "fox", tmp_path / "links" / "a")
    os.symlink(classes / "dog", tmp_path / "links" / "b")
    assert load(str(tmp_path / "links"), image_size=24).train.attributes["class"].classes == ["a", "b"]


@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.xz", "w:xz"), ("tar.gz", "w:gz"), ("tgz", "w:gz")])
def test_a_tar_is_read_as_the_folder(classes: Path, tmp_path: Path, suffix: str, mode: str) -> None:
    (classes / "fox" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    folder = load(str(classes), image_size=24)
    packed = load(str(pack(classes, tmp_path / f"pets.{suffix}", mode)), image_size=24)
    same(folder.train, packed.train)
    same(folder.test, packed.test)
    assert [f"pets/{item}" for item in folder.train.items] == [str(item) for item in packed.train.items]
    skipped = packed.train.skipped + (packed.test.skipped if packed.test else [])
    assert [name for name, _ in skipped] == ["pets/fox/broken.png"]


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_on_disk_equal_those_in_memory(classes: Path, tmp_path: Path, packed: bool) -> None:
    (classes / "fox" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    path = pack(classes, tmp_path / "pets.tar", "w") if packed else classes
    memory, disk = load(str(path), image_size=24), load(str(path), image_size=24, memory_fraction=0)
    assert memory.train.pixels is not None and disk.train.pixels is None
    same(memory.train, disk.train)
    same(memory.test, pickle.loads(pickle.dumps(disk)).test)  # as worker processes get it
    assert [str(item) for item in memory.train.items] == [str(item) for item in disk.train.items]


def test_threads_do_not_change_the_order(classes: Path) -> None:
    same(load(str(classes), image_size=24, workers=1).train, load(str(classes), image_size=24, workers=7).train)


def test_a_compressed_tar_too_large_for_memory_says_to_unpack(classes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unpack it"):
        load(str(pack(classes, tmp_path / "pets.tar.gz", "w:gz")), image_size=24, memory_fraction=0)


@pytest.mark.parametrize("kind", ["tar", "tar.xz"])
def test_damaged_tar_is_a_clear_error(classes: Path, tmp_path: Path, kind: str) -> None:
    path = pack(classes, tmp_path / f"pets.{kind}", "w:xz" if kind == "tar.xz" else "w")
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"no archive" * 100):
        path.write_bytes(data)
        with pytest.raises(UserError, match="cannot be read as a tar"):
            load(str(path), image_size=24)


def test_folder_without_images_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"No images found in .*\.jpg .*\.png"):
        load(str(tmp_path), image_size=24)


def test_folder_of_unreadable_files_names_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match="a.png: empty file"):
        load(str(tmp_path), image_size=24)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.zip").touch()
    with pytest.raises(UserError, match="unpack or convert"):
        load(str(tmp_path / "set.zip"), image_size=24)


def test_an_existing_path_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "digits" / "1.png")
    monkeypatch.chdir(tmp_path)
    assert len(load("digits", image_size=24).train) == 1


def test_unknown_name_suggests_the_nearest_and_the_place_looked_in(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Did you mean 'cifar10'\?.*file or folder .*cifar-10"):
        load("cifar-10", image_size=24)


def test_real_photographs_of_many_shapes(shared_data: Path, tmp_path: Path) -> None:
    """The first files of an archive of photographs, as folder: canvas, sizes and content are plausible."""
    archive = shared_data / "clothing10_160.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive.name} not present")
    with tarfile.open(archive, "r|xz") as tar:
        for count, member in enumerate(m for m in tar if m.name.endswith(".jpg")):
            data = tar.extractfile(member)
            assert data is not None
            (tmp_path / Path(member.name).name).write_bytes(data.read())
            if count == 39:
                break
    train = load(str(tmp_path), image_size=64).train
    pixels, sizes = train.read(range(40))
    assert train.canvas == 96 and not train.skipped
    assert (sizes.min(1).values == 160).all() and (sizes.max(1).values > 160).any()
    assert (pixels.float().std((1, 2, 3)) > 10).all()


@pytest.mark.parametrize("memory_fraction", [0.25, 0.0])
def test_held_out_pictures_that_are_all_unreadable_do_not_stop_training(classes: Path, memory_fraction: float) -> None:
    held = [p for p in classes.rglob("*") if p.is_file() and is_held_out(p.relative_to(classes).as_posix())]
    assert held
    for path in held:
        path.write_bytes(b"no picture")
    source = load(str(classes), image_size=32, memory_fraction=memory_fraction)
    names = {p.relative_to(classes).as_posix() for p in held}
    assert source.test is None
    assert (
        {name for name, _ in source.skipped} == names
        if memory_fraction
        else "No picture is held out" in source.notes[0]
    )
