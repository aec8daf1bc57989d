"""Splits and classes are told from names."""

import re

import pytest

from semblance.data.splits import Part, is_held_out, split


def classes(part: Part | None) -> list[str]:
    assert part is not None
    return part.attributes["class"].classes if part.attributes else []


def labels(part: Part | None) -> list[str]:
    """The class of each picture of a part."""
    assert part is not None
    return part.attributes["class"].names if part.attributes else []


CLASSES = [f"{kind}/{i}.png" for kind in ("cat", "dog", "fox") for i in range(100)]


def test_a_tenth_of_class_folders_is_held_out() -> None:
    parts = split(CLASSES)
    assert parts.test is not None
    assert 15 <= len(parts.test.names) <= 45
    assert sorted(parts.train.names + parts.test.names) == sorted(CLASSES)
    assert classes(parts.train) == classes(parts.test) == ["cat", "dog", "fox"]
    assert labels(parts.train) == [name.split("/")[0] for name in parts.train.names]


def test_held_out_pictures_do_not_depend_on_order_or_other_files() -> None:
    before, after = split(CLASSES).test, split([*reversed(CLASSES), "cat/new.png", "ape/new.png"]).test
    assert before is not None and after is not None
    assert {n for n in after.names if "new" not in n} == set(before.names)


def test_held_out_pictures_are_the_same_below_another_top_folder() -> None:
    plain, nested = split(CLASSES).test, split([f"set/pictures/{name}" for name in CLASSES]).test
    assert plain is not None and nested is not None
    assert [name.removeprefix("set/pictures/") for name in nested.names] == plain.names


def test_hold_out_is_fixed_for_good() -> None:
    """Changing the hash would silently move test pictures of old runs into training."""
    assert [i for i in range(40) if is_held_out(f"fox/{i}.png")] == [0, 24, 26, 32]


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation", "Test"])
@pytest.mark.parametrize("top", ["", "set/"])
def test_train_and_test_folders_are_the_splits(test: str, top: str) -> None:
    parts = split([f"{top}{part}/{c}/{i}.png" for part in ("train", test, "extra") for c in "ab" for i in range(3)])
    assert parts.test is not None
    assert {name.split("/")[-3] for name in parts.train.names} == {"train"}
    assert {name.split("/")[-3] for name in parts.test.names} == {test}
    assert labels(parts.test) == [*"aaabbb"] and classes(parts.train) == ["a", "b"]


def test_test_is_preferred_to_val_unless_only_val_has_classes() -> None:
    train, val = ([f"{part}/{c}/1.png" for c in "ab"] for part in ("train", "val"))
    with_classes, flat = ["test/a/2.png", "test/b/2.png"], ["test/1.png", "test/2.png"]
    assert split(train + val + with_classes).test.names == with_classes  # type: ignore[union-attr]
    assert split(train + val + flat).test.names == val  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "names",
    [
        ["1.png", "2.png"],
        ["cat/1.png", "cat/2.png"],
        ["cat/1.png", "dog/2.png", "3.png"],
        ["photos/1.png", "photos/more/2.png"],
    ],
)
def test_no_classes_no_labels_no_hold_out(names: list[str]) -> None:
    parts = split(names)
    assert parts.train.names == sorted(names)
    assert not parts.train.attributes and parts.test is None


def test_train_alone_is_descended_and_held_out_from() -> None:
    parts = split([f"set/train/{name}" for name in CLASSES])
    assert parts.test is not None and classes(parts.train) == ["cat", "dog", "fox"]


def test_the_class_is_the_first_folder_of_a_split() -> None:
    parts = split(["train/a/x/1.png", "train/b/2.png", "test/a/y/z/3.png", "test/b/4.png"])
    assert labels(parts.train) == labels(parts.test) == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["cat/1.png", "dog/2.png", "3.png"], "3.png lies beside them"),
        (["set/train/a/1.png", "set/test/a/1.png", "3.png"], "3.png lies beside them"),
        ([name for c in ("fox", "hen") for i in range(40) if is_held_out(name := f"{c}/{i}.png")], "Too few"),
        (["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png", "more/1.png"], "1 pictures beside train/"),
        (["train/a/1.png", "train/b/1.png", "test/c/1.png", "test/d/1.png"], "share no class"),
        (["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/d/1.png"], "No training picture.* d"),
    ],
)
def test_what_a_person_may_not_expect_is_told(names: list[str], told: str) -> None:
    (note,) = split(names).notes
    assert re.search(told, note)


def test_what_is_as_expected_is_not_told() -> None:
    for names in (CLASSES, ["1.png", "2.png"], [f"{part}/{c}/1.png" for part in ("train", "test") for c in "ab"]):
        assert split(names).notes == []


def test_disjoint_classes_are_no_classes() -> None:
    parts = split(["train/a/1.png", "train/b/1.png", "test/c/1.png", "test/d/1.png"])
    assert not parts.train.attributes and not parts.test.attributes  # type: ignore[union-attr]
