"""Which folders are parts, which are classes, and which are neither."""

import random
import re
from collections.abc import Sequence
from itertools import product

import pytest

from semblance.data.split_folders import arrange
from semblance.data.splits import LabelOptions, Split, split
from semblance.errors import UserError


def files(*folders: str, each: int = 6) -> list[str]:
    """Pictures cat and dog in folders; CLASS stands for the class within a path, or ends it."""
    paths = [f if "CLASS" in f else f"{f}/CLASS" for f in folders]
    return [f"{path.replace('CLASS', c)}/{i}.png" for path in paths for c in ("cat", "dog") for i in range(each)]


def held(parts: Split) -> set[str]:
    return set(parts.test.names) if parts.test else set()


PAIRS = [
    ("train", "test"), ("Training", "Testing"), ("TRAIN", "TEST"), ("seg_train", "seg_test"), ("train", "dev"),
    ("train", "eval"), ("train_set", "test_set"), ("trainset", "testset"), ("TrainSet", "ValidSet"),
    ("train2017", "val2017"), ("TRAINset", "TESTset"),
    ("train-images", "validation-images"), ("my training data", "my validation data"), ("01_train", "02_holdout"),
    ("imagenet_train", "imagenet_val"), ("training", "evaluation"), ("trainval", "test"), ("Train Images", "Held Out"),
    ("cats-vs-dogs.train", "cats-vs-dogs.test"), ("images_train", "images_valid"), ("trn", "tst"),
    ("train", "Validate"),
]  # fmt: skip


@pytest.mark.parametrize(
    "where", ["{}", "set/{}", "{0}/{0}", "{}/images", "{}/IMAGES/photos", "images/{}", "{}/CLASS/images", "CLASS/{}"]
)
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_parts_are_known_by_their_words_wherever_they_lie(pair: tuple[str, str], where: str) -> None:
    train, test = (files(where.format(name)) for name in pair)
    parts = split(train + test)
    assert set(parts.train.names) == set(train) and held(parts) == set(test)
    assert parts.train.attributes["class"].classes == ["cat", "dog"] and parts.split_by == "by folder"
    for part in (parts.train, parts.test):
        assert part is not None
        assert all(
            f"/{name}/" in f"/{path}" for name, path in zip(part.attributes["class"].names, part.names, strict=True)
        )


def test_images_are_entered_in_one_part_alone() -> None:
    train, test = files("train/images"), [name for name in files("test") if "/cat/" in name]
    parts = split(train + test)
    assert held(parts) == set(test) and parts.train.attributes["class"].classes == ["cat", "dog"]
    assert parts.notes == ["No held-out picture is of the class dog."]


@pytest.mark.parametrize(
    "folders",
    [
        ["Training", "PublicTest", "PrivateTest"], ["train_large", "train_small", "test"],
        ["train", "val_easy", "val_hard"],
        ["bounding_box_train", "bounding_box_test", "query"], ["my_train", "my_val", "junk"],
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("inner", ["", "/CLASS"])
def test_parts_may_have_words_of_their_own(folders: Sequence[str], inner: str) -> None:
    names = files(*folders) if inner else [f"{folder}/{i}.png" for folder in folders for i in range(6)]
    parts = split(names)
    assert parts.split_by == "by folder" and all("train" in name.lower() for name in parts.train.names)
    assert held(parts) and all(re.search("test|val", name.lower()) for name in held(parts))
    assert (parts.train.attributes["class"].classes if inner else []) == (["cat", "dog"] if inner else [])


def test_a_test_part_without_classes_measures_nothing() -> None:
    """Where the training part has them, as competitions ship them: a tenth of that is held out."""
    for test in ("test", "test/test", "test1"):
        train = files("train", each=20)
        parts = split([*train, *(f"{test}/{i}.png" for i in range(6))])
        assert parts.split_by == "by hash" and {*parts.train.names, *held(parts)} == set(train)
        assert parts.train.attributes["class"].classes == ["cat", "dog"]
        assert parts.notes == [f"6 pictures beside train/ are left out, as {test}/0.png."]


@pytest.mark.parametrize(
    "pair",
    [
        ("images", "masks"), ("imgs", "annotations"), ("train/images", "train/masks"), ("train", "train_labels"),
        ("train_images", "train_gt"), ("train", "ground_truth"), ("images/train", "masks/train"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_masks_are_no_pictures(pair: Sequence[str]) -> None:
    names = [f"{folder}/{i}.png" for folder in pair for i in range(6)]
    parts = split(names)
    assert not parts.train.attributes and all(name.startswith(f"{pair[0]}/") for name in parts.train.names)
    (note,) = parts.notes
    assert note.startswith("Left out in folders of masks or labels (--labels folders takes them): 6 files, as ")
    assert len(split(names, LabelOptions(labels="folders")).train.names) > 6


@pytest.mark.parametrize(
    "folders", [["face", "face_mask"], ["with_mask", "without_mask"], ["mask", "no_mask"], ["label", "logo"]]
)
def test_things_that_are_masks_are_classes(folders: Sequence[str]) -> None:
    parts = split([f"{folder}/{i}.png" for folder in folders for i in range(6)])
    assert parts.train.attributes["class"].classes == sorted(folders)


def test_domains_of_pairs_are_classes() -> None:
    """horse2zebra and its like: trainA, trainB, testA, testB."""
    parts = split([f"{part}{c}/{i}.jpg" for part in ("train", "test") for c in "AB" for i in range(3)])
    assert len(parts.train.names) == len(held(parts)) == 6
    assert parts.train.attributes["class"].names == ["a"] * 3 + ["b"] * 3


@pytest.mark.parametrize(
    "folders",
    [
        ["test", "bus", "car"], ["train", "bus", "car"], ["train", "test", "bus"], ["dev", "marketing"],
        ["valid", "invalid"], ["test tube", "train station"], ["blood test", "urine test"], ["contest", "protrain"],
        ["testing ground", "training ground", "parking ground"], ["attestation", "evaluator"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_classes_that_are_called_like_parts_are_classes(folders: Sequence[str]) -> None:
    names = [f"{folder}/{i}.png" for folder in folders for i in range(5)]
    parts = split(names)
    assert parts.train.attributes["class"].classes == sorted(folders) and parts.split_by == "by hash"


def test_parts_beside_classes_are_told() -> None:
    (note,) = split([f"{folder}/{i}.png" for folder in ("train", "test", "bus") for i in range(5)]).notes
    assert "test/ and train/ are not taken for splits, since bus/ lies beside" in note


@pytest.mark.parametrize(("val", "test"), product(["val", "Validation"], ["test", "Testing"]))
def test_without_a_part_to_train_on_the_lesser_one_is(val: str, test: str) -> None:
    parts = split(files(val, test))
    assert {name.split("/")[0] for name in parts.train.names} == {val} and parts.test is not None
    assert {name.split("/")[0] for name in parts.test.names} == {test}
    assert any("val is trained on, test is held out" in note for note in parts.notes)


def test_what_is_called_unlabelled_is_trained_on_without_labels() -> None:
    parts = split(files("train", "unlabeled", "test"))
    names = parts.train.attributes["class"].names
    assert [not name for name in names] == [name.startswith("unlabeled") for name in parts.train.names]
    assert len(names) == 24 and len(held(parts)) == 12
    alone = split(files("train", "unlabeled", each=30))
    assert held(alone) and all(name.startswith("train/") for name in held(alone))


def test_what_lies_beside_parts_is_left_out_and_counted() -> None:
    parts = split([*files("train", "test", "val", "old"), "readme.png"])
    (note,) = parts.notes
    assert note.startswith("25 pictures beside train/ and test/ are left out, as ")
    assert len(parts.train.names) == len(held(parts)) == 12


@pytest.mark.parametrize(
    "folders",
    [
        ["2019", "2020"], ["2019", "2020-05", "2021 Holiday", "Wedding"], ["DCIM", "2020_12_24"],
        ["100CANON", "101CANON"], ["100APPLE", "101_PANA"], ["20190503", "20190504", "201906"],
        ["Jan 2019", "February 2020"], ["3 May 2019", "June 4, 2020"], ["Paris, 3 May 2019", "Rome, June 4, 2020"],
        ["Album 1", "Album 2"], ["My Album", "photo_album"], ["Camera", "Screenshots"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_dates_and_cameras_are_no_classes(folders: Sequence[str]) -> None:
    names = [f"{folder}/{i}.png" for folder in folders for i in range(5)]
    parts = split(names)
    assert not parts.train.attributes and parts.test is None
    assert "called by dates, albums or cameras" in parts.notes[0] and "--labels folders takes them" in parts.notes[0]
    taken = split(names, LabelOptions(labels="folders"))
    assert taken.train.attributes["class"].classes == sorted(folders) and taken.notes == []


@pytest.mark.parametrize(
    "folders",
    [
        ["1", "2"],
        ["0001", "0002"],
        ["19", "2"],
        ["10000001", "10000002"],
        ["1234", "n01440764"],
        ["Maybach 2012", "Acura TL 2001"],
    ],
)
def test_numbers_are_classes(folders: Sequence[str]) -> None:
    assert split([f"{folder}/{i}.png" for folder in folders for i in range(5)]).train.attributes


def test_a_person_may_say_which_folders_are_parts() -> None:
    names = files("Left", "Right", "Far")
    parts = split(names, LabelOptions(split="train=Left,test=right"))
    assert {n.split("/")[0] for n in parts.train.names} == {"Left"} and {n.split("/")[0] for n in held(parts)} == {
        "Right"
    }
    assert parts.train.attributes["class"].classes == ["cat", "dog"] and parts.split_by == "by --split"
    assert parts.notes == ["12 pictures are in no folder of --split, as Far/cat/0.png."]
    parts = split(names, LabelOptions(split="train=Left,train=Far,test=Right"))
    assert len(parts.train.names) == 24 and parts.notes == []
    deep = split(files("x/a/b", "x/c/d"), LabelOptions(split="train=a/b,test=x/c/d"))
    assert len(deep.train.names) == len(held(deep)) == 12 and deep.train.attributes["class"].classes == ["cat", "dog"]
    rest = split(files("train", "val", "mine"), LabelOptions(split="test=mine"))
    assert len(rest.train.names) == 24 and rest.train.attributes["class"].classes == ["cat", "dog"]
    with pytest.raises(UserError, match="no folder Middle in the data. There are: Far"):
        split(names, LabelOptions(split="test=Middle"))
    with pytest.raises(UserError, match="nothing to train on"):
        split(names, LabelOptions(split="test=Left,test=Right,test=Far"))


def test_folders_are_classes_where_a_person_says_so() -> None:
    names = [*files("train", "test"), "loose.png"]
    parts = split(names, LabelOptions(labels="folders"))
    assert parts.train.attributes["class"].classes == ["test", "train"] and parts.split_by == "by hash"
    assert parts.train.attributes["class"].names[parts.train.names.index("loose.png")] == ""


def test_no_name_is_lost_or_doubled() -> None:
    """Over random trees: every picture is trained on, held out, or counted as left out."""
    draw = random.Random(0)
    words = ["train", "test", "Val", "images", "cat", "dog", "2019", "100CANON", "unlabeled", "a_train", "b_test", "x"]
    for _ in range(3000):
        tree = {"/".join(draw.choices(words, k=draw.randint(0, 4)) + [f"{i}.png"]) for i in range(draw.randint(1, 12))}
        names = sorted(tree)
        parts = split(names)
        kept = parts.train.names + (parts.test.names if parts.test else [])
        assert len(kept) == len(set(kept)) and parts.train.names == sorted(parts.train.names) and parts.train.names
        left_out = len(names) - len(kept)
        told = [int(note.split()[0]) for note in parts.notes if "left out" in note]
        assert told == ([left_out] if left_out else []), (names, parts.notes)
        assert arrange(names).train.keys() <= set(names)
