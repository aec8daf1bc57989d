"""Splits and classes are told from names."""

import random
import re
from hashlib import blake2b
from itertools import pairwise

import pytest

from semblance.data.splits import LabelOptions, Part, check_split, hold_out, is_held_out, split
from semblance.errors import UserError


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


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_a_file_added_moves_at_most_one_other_of_its_own_class(share: float) -> None:
    """Sets grow a file at a time, classes of every size among them; whatever the hash held out stays so."""
    draw = random.Random(1)
    for _ in range(60):
        groups: dict[str, str] = {}
        before: set[str] = set()
        all_held = True
        for _ in range(40):
            group = draw.choice("aaaabbc")
            name = f"{group}/{draw.random()}.png"
            groups[name] = group
            names = {name: name for name in groups}
            after = hold_out(names, groups, share)
            moved = (before ^ after) - {name}
            assert all_held or len(moved) <= 1 and all(groups[other] == group for other in moved)
            by_hash = {name for name in names if is_held_out(name, share)}
            assert by_hash <= after or len(by_hash) == len(names)
            for c in set(groups.values()):
                members = {name for name in groups if groups[name] == c}
                forced = (after & members) - by_hash
                assert len(members) < 2 or after & members or len(by_hash) == len(names)
                assert len(forced) == (len(members) > 1 and not by_hash & members)
            before, all_held = after, len(by_hash) == len(names)  # then nothing is held out


def test_the_lowest_hash_of_a_class_is_held_out_where_none_is() -> None:
    few = [f"{c}/{n}.png" for c in ("cat", "dog") for n in range(40) if not is_held_out(f"{c}/{n}.png")]
    names = [n for c in ("cat", "dog") for n in few if n.startswith(c)][:3] + few[-3:] + ["fox/1.png"]
    parts = split(names)
    assert parts.test is not None
    lowest = [min((n for n in names if n.startswith(c)), key=_number) for c in ("cat", "dog")]
    assert parts.test.names == lowest and "No held-out picture is of the class fox" in parts.notes[0]


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def test_larger_shares_hold_out_the_same_and_more() -> None:
    names = [f"{i}.png" for i in range(4000)]
    held = [{name for name in names if is_held_out(name, share)} for share in (0.05, 0.1, 0.25, 0.5, 0.9)]
    assert all(few < more for few, more in pairwise(held)) and held[1] == {n for n in names if _number(n) % 10 == 0}
    for part, share in zip(held, (0.05, 0.1, 0.25, 0.5, 0.9), strict=True):
        assert len(part) / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("none", "none"),
        (0, "none"),
        ("None", "none"),
        (0.2, "0.2"),
        ("0.20", "0.2"),
        (" train = A , Test=b/c", "train=A,test=b/c"),
    ],
)
def test_what_a_person_says_of_the_split_has_one_spelling(given: str | float, kept: str) -> None:
    assert check_split(given) == kept == check_split(kept)


@pytest.mark.parametrize("given", ["1", "-0.1", "nan", "half", "valid=x", "train=", "train=a,b", "", "inf"])
def test_what_is_no_split_is_refused(given: str) -> None:
    for refuse in (check_split, lambda given: LabelOptions(split=given)):
        with pytest.raises(UserError, match="train=Training,test=Testing"):
            refuse(given)


def test_a_person_may_say_the_share() -> None:
    whole = split(CLASSES, LabelOptions(split="none"))
    assert whole.test is None and whole.train.names == sorted(CLASSES) and labels(whole.train)
    fifth = split(CLASSES, LabelOptions(split="0.2"))
    assert fifth.test is not None and set(fifth.test.names) > set(split(CLASSES).test.names)  # type: ignore[union-attr]
    pooled = split([f"{part}/{n}" for part in ("train", "test") for n in CLASSES], LabelOptions(split="0.2"))
    assert pooled.test is not None and {n.split("/")[0] for n in pooled.test.names} == {"train", "test"}
    assert classes(pooled.train) == ["cat", "dog", "fox"]
    assert split([f"{i}.png" for i in range(50)], LabelOptions(split="0.2")).test is not None


def test_unlabelled_folders_label_nothing() -> None:
    parts = split(CLASSES, LabelOptions(unlabelled=True))
    assert parts.test is None and not parts.train.attributes and len(parts.train.names) == 300
    parts = split(["train/a/1.png", "train/b/1.png", "test/a/2.png"], LabelOptions(unlabelled=True))
    assert parts.test is not None and parts.test.names == ["test/a/2.png"] and not parts.test.attributes


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
