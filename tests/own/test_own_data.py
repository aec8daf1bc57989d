"""Arrays, Datasets, several paths and functions as pictures: the same whichever way they are given."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mine
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import semblance as sb
from semblance.data import Images, Source, load
from semblance.data.loader import read_ahead
from semblance.data.samples import UNKNOWN
from semblance.errors import UserError
from semblance.runtime.named import handed_over

PICTURES = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3)).astype(np.uint8)


def loaded(given: Any, **options: Any) -> Source[Images]:
    with handed_over({"given": given}):
        return load("given", image_size=16, **options)


def test_arrays_in_all_layouts_are_the_same_pictures() -> None:
    whole = loaded(PICTURES).train
    for other in (torch.tensor(PICTURES), PICTURES.transpose(0, 3, 1, 2), torch.tensor(PICTURES).permute(0, 3, 1, 2)):
        assert torch.equal(loaded(other).train.pixels, whole.pixels)
    grey = loaded(PICTURES[..., 0]).train.pixels
    assert torch.equal(grey[:, 0], torch.tensor(PICTURES[..., 0])) and torch.equal(grey[:, 0], grey[:, 2])
    with pytest.raises(UserError, match="array has shape .30, 16., one|give pictures as"):
        loaded(PICTURES[:, :, 0, 0])


class Pictures(Dataset):
    """Items as they are given."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


@pytest.mark.parametrize(
    "make",
    [
        Image.fromarray, torch.tensor, lambda x: torch.tensor(x).permute(2, 0, 1), lambda x: x,
        lambda x: torch.tensor(x).permute(2, 0, 1) / 255, lambda x: (x,),
    ],
)  # fmt: skip
def test_items_of_every_kind_are_the_same_pictures(make: Callable[[Any], Any]) -> None:
    found = loaded(Pictures([make(picture) for picture in PICTURES])).train
    assert torch.equal(found.pixels, loaded(PICTURES).train.pixels)
    assert list(map(str, found.items)) == [str(i) for i in range(30)]


def test_labels_are_numbers_or_text_and_a_tenth_is_held_out_as_of_arrays(tmp_path: Path) -> None:
    labels = [i % 3 for i in range(30)]
    np.savez(tmp_path / "set.npz", x=PICTURES, y=labels)
    file = load(str(tmp_path / "set.npz"), image_size=16)
    pairs = loaded(TensorDataset(torch.tensor(PICTURES), torch.tensor(labels)))
    assert pairs.test is not None and file.test is not None
    assert list(map(str, pairs.test.items)) == list(map(str, file.test.items))
    assert torch.equal(pairs.train.attributes["class"].values, file.train.attributes["class"].values)
    named = Pictures(list(zip(PICTURES, labels, strict=True)))
    named.classes = ["a", "b", "c"]  # type: ignore[attr-defined]
    assert loaded(named).train.attributes["class"].classes == ["a", "b", "c"]
    part = torch.utils.data.Subset(named, range(len(named)))
    joined = torch.utils.data.ConcatDataset([named])
    assert all(loaded(each).train.attributes["class"].classes == ["a", "b", "c"] for each in (part, joined))
    some = Pictures([(picture, "xyz"[i % 2] if i % 5 else None) for i, picture in enumerate(PICTURES)])
    known = loaded(some, split="none").train.attributes["class"]
    assert known.classes == ["x", "y"] and (known.values == UNKNOWN).sum() == 6
    assert not loaded(some, unlabelled=True).train.attributes
    assert len(loaded(PICTURES, split="0.5").train) < 25


def test_what_a_dataset_holds_is_asked_for_its_classes_only_where_it_is_a_dataset() -> None:
    labelled = [(picture, i % 2) for i, picture in enumerate(PICTURES)]
    for held in ({"dataset": PICTURES}, {"dataset": torch.tensor(PICTURES)}, {"datasets": None}, {"classes": len}):
        given = Pictures(labelled)
        vars(given).update(held)
        assert loaded(given).train.attributes["class"].classes == ["0", "1"]
    parts = [Pictures(labelled[:15]), Pictures(labelled[15:])]
    for part in parts:
        part.classes = np.array(["a", "b"])  # type: ignore[attr-defined]
    joined = torch.utils.data.ConcatDataset(parts)
    assert loaded(joined).train.attributes["class"].classes == ["a", "b"]
    parts[1].classes = ["b", "a"]  # type: ignore[attr-defined]
    assert loaded(joined).train.attributes["class"].classes == ["0", "1"]


def test_bfloat16_is_read_as_float16_is() -> None:
    pictures = (torch.tensor(PICTURES).permute(0, 3, 1, 2) / 255).bfloat16()
    expected = loaded(pictures.float()).train.pixels
    assert torch.equal(loaded(pictures).train.pixels, expected)
    assert torch.equal(loaded(Pictures(list(pictures))).train.pixels, expected)


def test_names_are_those_of_the_dataset() -> None:
    named = Pictures(list(PICTURES))
    named.names = [f"cell {i:02}" for i in range(30)]  # type: ignore[attr-defined]
    held = {str(item) for item in loaded(named, split="0.2").held_out.items}
    other = Pictures(named.items[::-1])
    other.names = named.names[::-1]  # type: ignore[attr-defined]
    assert held < set(named.names) and held == {str(item) for item in loaded(other, split="0.2").held_out.items}
    named.names = ["one"] * 30
    with pytest.raises(UserError, match="Two rows of Pictures have the name one"):
        loaded(named)
    named.names = ["one", "two"]
    assert "Rows are named by index" in loaded(named).notes[0]


def test_a_set_that_memory_does_not_hold_is_the_same_set() -> None:
    held, left = (loaded(mine.Stripes(), memory_fraction=share, split="none").train for share in (0.25, 1e-12))
    assert held.at_hand and not left.at_hand
    requests = [(torch.arange(40), None)]
    (pixels, sizes), (again, _) = held.read(range(40)), next(read_ahead(left, requests, workers=2))  # by processes
    assert torch.equal(pixels, again) and len(set(map(tuple, sizes.tolist()))) == 3
    assert held.skipped == left.skipped == [("3", "KeyError: 'three'")]
    assert torch.equal(held.attributes["class"].values, left.attributes["class"].values)
    assert held.fingerprint() == left.fingerprint()


def test_where_processes_do_not_fork_a_set_that_cannot_be_pickled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    left = loaded(mine.Stripes(), memory_fraction=1e-12, split="none").train
    monkeypatch.setattr("semblance.data.loader.START", "spawn")
    with pytest.raises(UserError, match="cannot be handed to worker processes .*: --workers 0 reads them in this one"):
        next(read_ahead(left, [(torch.arange(40), None)], workers=1))


class OneAtATime(Pictures):
    """As of one open file."""

    busy = False

    def __getitem__(self, i: int) -> Any:
        assert not self.busy
        self.busy = True
        time.sleep(0.002)
        self.busy = False
        return self.items[i]


def test_a_dataset_is_read_one_item_at_a_time() -> None:
    assert not loaded(OneAtATime(list(PICTURES)), workers=4).skipped


def test_an_item_of_another_kind_is_no_unreadable_one_whenever_it_is_met() -> None:
    pictures = [*np.repeat(PICTURES, 5, 0), "x"]  # of which every second is looked at
    with pytest.raises(UserError, match="Item 150 of Pictures is a str"):
        loaded(Pictures([*pictures[:150], "x", pictures[0]]))
    left = loaded(Pictures([*pictures[:149], "x"]), memory_fraction=1e-12, unlabelled=True).train
    with pytest.raises(UserError, match="Item 149 of Pictures is a str"):
        left.read([149])
    with pytest.raises(UserError, match="Item 149 of Pictures is a str"):
        next(read_ahead(left, [(torch.tensor([149]), None)], workers=1))


class Endless(IterableDataset):
    def __iter__(self) -> Any:
        return iter(())


class Nameless(Pictures):
    @property
    def names(self) -> Any:
        raise KeyError("table")


def counting(count: Any) -> Any:
    return type("Counting", (Pictures,), {"__len__": lambda self: count})(list(PICTURES))


class Shaken(Pictures):
    def __getitem__(self, i: int) -> Any:
        return np.random.default_rng().integers(0, 256, (16, 16, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Endless(), "Endless is no map-style Dataset"),
        ((picture for picture in PICTURES), "generator is no map-style Dataset.* list.dataset. is one"),
        (DataLoader(Pictures(list(PICTURES))), "of a DataLoader, its .dataset"),
        (Pictures([]), "is empty"),
        (Shaken(list(PICTURES)), "Item 0 of Shaken is another picture each time"),
        (Pictures([*PICTURES[:9], "x"]), "Item 9 of Pictures is a str: a picture is wanted, or .picture, label."),
        (Pictures([{"image": 1, "label": 2}]), "is a dict with image, label"),
        (Pictures([torch.randn(3, 8, 8)]), "a tensor of float32 .3, 8, 8., from -"),
        (Pictures([PICTURES[0].astype(np.uint16)]), "an array of uint16"),
        (Pictures([torch.tensor(PICTURES[0]).to_sparse()]), "a sparse tensor of uint8 .16, 16, 3.: a picture is"),
        (torch.tensor(PICTURES).to_sparse(), "sparse or quantized tensor cannot be read: .* tensor.to_dense"),
        (counting(30.0), "Counting.__len__ does not give how many items there are: TypeError"),
        (counting(-1), "Counting.__len__ does not give how many items there are: ValueError"),
        (Nameless(list(PICTURES)), "Nameless.names cannot be read: KeyError: 'table'. Mend it"),
        (Pictures([Image.new("I;16", (8, 8))]), "a picture of mode I;16"),
        (Pictures([(PICTURES[0], PICTURES[1])]), "The label of item 0 of Pictures is an array of uint8"),
        (Pictures([(PICTURES[0], {"box": 1})]), "The label of item 0 of Pictures is a dict with box"),
        (lambda: 1 / 0, "fails, called without arguments: ZeroDivisionError: division by zero .line"),
        (3, "int is no map-style"),
    ],
)
def test_what_is_no_set_of_pictures_is_told(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        loaded(given)


def test_labels_that_are_not_asked_for_may_be_anything() -> None:
    items = Pictures([(picture, {"box": 1}) for picture in PICTURES])
    assert not loaded(items, unlabelled=True).attributes
    with pytest.raises(UserError, match="unlabelled=True leaves labels aside"):
        loaded(items)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for i in range(24):
        folder = tmp_path / ("a/cats", "b/dogs", "b/cats")[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PICTURES[i]).save(folder / f"{i // 3}.png")
    return tmp_path


def test_several_paths_are_one_set(folders: Path) -> None:
    two = load([str(folders / "a/cats"), str(folders / "b/dogs")], image_size=16)
    names = sorted(str(item) for part in (two.train, two.test) if part for item in part.items)
    assert names == sorted(f"{kind}/{i}.png" for kind in ("cats", "dogs") for i in range(8))
    assert two.train.attributes["class"].classes == ["cats", "dogs"]
    apart = load([str(folders / "a/cats"), str(folders / "b/cats")], image_size=16)
    assert {str(item).rpartition("/")[0] for item in apart.train.items} == {"a/cats", "b/cats"}
    mixed = load([str(folders / "a/cats"), str(folders / "b/dogs/3.png")], image_size=16, split="none")
    assert len(mixed.train) == 9 and torch.equal(mixed.train.read([0])[0][0], _as_file(folders / "b/dogs/3.png"))
    with pytest.raises(UserError, match="nowhere is not there: of several, each is a folder, a tar or a picture"):
        load([str(folders / "a"), "nowhere"], image_size=16)


def _as_file(path: Path) -> torch.Tensor:
    return torch.tensor(np.asarray(Image.open(path))).permute(2, 0, 1)


def test_a_file_among_several_that_is_nearly_all_holes_is_told_and_not_read(folders: Path, tmp_path: Path) -> None:
    """As in a folder: a sparse file may declare terabytes."""
    whole = next(path for path in folders.rglob("*.png"))
    hole = tmp_path / "hole.png"
    hole.write_bytes(whole.read_bytes())
    with hole.open("r+b") as file:
        file.truncate(1 << 40)
    source = load([str(whole.parent), str(hole)], image_size=16, split="none")
    assert [Path(name).name for name, why in source.skipped if "too large" in why] == ["hole.png"]


def test_several_paths_are_trained_on_and_kept(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders)
    few: dict[str, Any] = {"batch_size": 4, "image_size": 16, "precision": "32", "workers": 0}
    summary = sb.train(data=["a/cats", Path("b/dogs")], max_steps=2, out="run", backbone="resnet10-w8-cifar", **few)
    assert summary["data"].endswith("a/cats and 1 more")
    os.chdir("/")
    assert sb.train(resume=folders / "run", max_steps=3)["steps"] == 3
    assert len(sb.embed(folders / "run")) == 16


def test_a_function_may_return_any_of_these(folders: Path) -> None:
    assert len(loaded(lambda: str(folders / "a")).train) == 8
    assert len(loaded(lambda: [folders / "a/cats", folders / "b/dogs"], split="none").train) == 16
    assert len(loaded(lambda: PICTURES).train) == 30
    assert len(load(f"{mine.__file__}:Stripes", image_size=16, split="none").train) == 40  # a class
