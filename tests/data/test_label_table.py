"""Labels in CSV files as people and spreadsheets write them."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semblance.data import load
from semblance.data.sources.label_table import read_tables
from semblance.data.splits import LabelTable
from semblance.errors import UserError

FILES = [f"{c}/{i}.png" for c, numbers in (("cat", range(4)), ("dog", range(4, 8))) for i in numbers]
SPECIES = {name: name.split("/")[0] for name in FILES}
HELD = {"cat/0.png", "dog/5.png"}
ROWS = [["file", "species", "split"], *([n, SPECIES[n], "test" if n in HELD else "train"] for n in FILES)]


def read(text: str | bytes, files: Sequence[str] = FILES, name: str = "labels.csv") -> LabelTable:
    return read_tables({name: text if isinstance(text, bytes) else text.encode()}, files)


def written(rows: Sequence[Sequence[str]], delimiter: str = ",", end: str = "\n") -> str:
    return "".join(delimiter.join(row) + end for row in rows)


def out(table: LabelTable) -> set[str]:
    return {name for name, held in table.held.items() if held}


def test_whatever_separates_encodes_and_ends_lines_says_the_same() -> None:
    for delimiter, word in ((",", "commas"), (";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (" ", "spaces")):
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
            for end in ("\n", "\r\n", "\n\n"):
                table = read(written(ROWS, delimiter, end).encode(encoding))
                assert table.labels == {"species": SPECIES} and out(table) == HELD and len(table.held) == 8
                (note,) = table.notes
                assert f"8 rows, {encoding[:5].upper()}" in note and f"separated by {word}; file names them" in note


@pytest.mark.parametrize("heading", ["split", "Split", "SPLIT", " split "])
@pytest.mark.parametrize(
    ("train", "test"),
    [("train", "test"), ("Training", "Validation"), ("TRAIN", "val"), ("1", "0"), ("true", "FALSE"), ("yes", "no"),
     ("1.0", "0.0"), ("train_set", "dev"), ("unlabelled", "test")],
)  # fmt: skip
def test_the_split_in_any_words(heading: str, train: str, test: str) -> None:
    rows = [["file", heading], *([name, test if name in HELD else train] for name in FILES)]
    table = read(written(rows))
    assert out(table) == HELD and not table.labels
    assert any(f"says {train.lower()}, taken for training: 6 files" in n for n in table.notes) == (
        train in "1 true yes 1.0"
    )


@pytest.mark.parametrize("heading", ["Usage", "subset", "a"])
def test_a_column_of_parts_is_the_split_whatever_it_is_called(heading: str) -> None:
    rows = [["file", heading, "of"], *([name, "Test" if name in HELD else "Training", "train"] for name in FILES)]
    table = read(written(rows))
    assert out(table) == HELD and list(table.labels) == ["of"]
    assert f"other columns: {heading}, taken for the split, of." in table.notes[0]
    named = read(written([["file", heading, "split"], *([name, "Test", "train"] for name in FILES)]))
    assert list(named.labels) == [heading]


def test_tables_may_say_the_split_in_words_of_their_own() -> None:
    given = {
        "x/labels.csv": b"file,split\na.png,1\nb.png,0\n",
        "y/labels.csv": b"file,split\na.png,train\nb.png,test\n",
    }
    table = read_tables(given, ["x/a.png", "x/b.png", "y/a.png", "y/b.png"])
    assert out(table) == {"x/b.png", "y/b.png"}
    assert any(note.endswith("says 1, taken for training: 1 file, as x/a.png.") for note in table.notes)


@pytest.mark.parametrize("values", [["train"] * 8, ["test"] * 8, [""] * 8, ["1", "2", "3", "4"] * 2, ["a", "b"] * 4])
def test_a_split_that_is_none_is_told(values: list[str]) -> None:
    table = read(written([["file", "split"], *map(list, zip(FILES, values, strict=True))]))
    assert table.held == {} and "split of labels.csv is not used, since it does not say both" in table.notes[1]


def test_a_split_that_is_blank_or_foreign_in_places_is_told() -> None:
    values = ["train", "", "test", "train", "extra", "test", "", "train"]
    table = read(written([["file", "split"], *map(list, zip(FILES, values, strict=True))]))
    assert out(table) == {FILES[2], FILES[5]}
    assert (
        "The column split of labels.csv is blank, taken for training: 2 files, as cat/1.png, dog/6.png." in table.notes
    )
    assert (
        "The column split of labels.csv says neither train nor test, taken for training: 1 file, as dog/4.png."
        in table.notes
    )


SPELLINGS = {
    "windows": lambda n: n.replace("/", "\\"),
    "dotted": lambda n: f"./{n}",
    "drive": lambda n: f"C:\\Users\\me\\pets\\{n}".replace("/", "\\"),
    "absolute": lambda n: f"/home/me/pets/{n}",
    "in front": lambda n: f"pets/{n}",
    "own name": lambda n: n.split("/")[1],
    "stem": lambda n: n.split("/")[1].removesuffix(".png"),
    "path without extension": lambda n: n.removesuffix(".png"),
    "quoted": lambda n: f'"{n}"',
    "spaces": lambda n: f"  {n} ",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("headed", [True, False])
def test_files_are_found_however_they_are_named(spelling: str, headed: bool) -> None:
    rows = [[SPELLINGS[spelling](name), SPECIES[name]] for name in FILES]
    table = read(written([["image", "species"], *rows] if headed else rows))
    assert table.labels == {"species" if headed else "label": SPECIES} and not table.missing
    assert ("it has no headings" in table.notes[0]) != headed


def test_names_that_several_files_have_are_of_none() -> None:
    files = ["train/1.png", "test/1.png", "train/2.png"]
    table = read("file,l\n1.png,a\n2.png,b\n", files)
    assert table.labels == {"l": {"train/2.png": "b"}} and table.missing == [("1.png", "labels.csv")]
    table = read("file,l\ntest/2.png,a\ntrain/1.png,b\n", files)  # no other file is taken for one that is not there
    assert table.labels == {"l": {"train/1.png": "b"}} and table.missing == [("test/2.png", "labels.csv")]


def test_accents_are_the_same_however_they_are_composed() -> None:
    table = read("file,l\nre\u0301ne.png,a\n", ["r\u00e9ne.png"])
    assert table.labels == {"l": {"r\u00e9ne.png": "a"}}


def test_each_table_is_relative_to_its_own_folder() -> None:
    given = {"cat/labels.csv": b"f,l\n0.png,a\n1.png,b\n", "dog/labels.csv": b"f;l;m\n4.png;a;x\n9.png;b;y\n"}
    table = read_tables(given, [*FILES, "dog/0.png"])
    assert table.labels == {"l": {"cat/0.png": "a", "cat/1.png": "b", "dog/4.png": "a"}, "m": {"dog/4.png": "x"}}
    assert table.missing == [("dog/9.png", "dog/labels.csv")] and table.name == "cat/labels.csv and dog/labels.csv"


def test_rows_of_one_file_agree_or_say_nothing() -> None:
    text = (
        "f,l,m\ncat/0.png,a,x\ncat/0.png,a,x\ncat/1.png,a,x\ncat/1.png,b,x\ncat/1.png,b,x\ncat/2.png,,x\ncat/2.png,c,\n"
    )
    table = read(text)
    assert table.labels == {"l": {"cat/0.png": "a", "cat/2.png": "c"}, "m": dict.fromkeys(FILES[:3], "x")}
    told = [note for note in table.notes if "several times" in note]
    assert (
        "alike: 2 files, as cat/0.png, cat/2.png." in told[0]
        and "which counts as blank: 2 files, as cat/1.png" in told[1]
    )


def test_blank_labels_are_no_class() -> None:
    table = read("f,l\ncat/0.png,a\ncat/1.png,\ncat/2.png,nan\ncat/3.png,  \n")
    assert table.labels == {"l": {"cat/0.png": "a"}}
    assert "The column l is blank: 3 files, as cat/1.png, cat/2.png, cat/3.png." in table.notes


def test_tables_of_spreadsheets_and_of_pandas() -> None:
    assert read("sep=;\nf;l;;\ncat/0.png;a;;\n").labels == {"l": {"cat/0.png": "a"}}
    assert read('f,caption\ncat/0.png,"a, ""b""; c"\n').labels == {"caption": {"cat/0.png": 'a, "b"; c'}}
    assert read("f;caption\ncat/0.png;a, b\ncat/1.png;c, d\n").labels["caption"] == {FILES[0]: "a, b", FILES[1]: "c, d"}
    pandas = read(",file,l\n" + "".join(f"{i},{name},{SPECIES[name]}\n" for i, name in enumerate(FILES)))
    assert pandas.labels["l"] == SPECIES and "file names them" in pandas.notes[0]
    twice = read("f,l,l\ncat/0.png,1,2\n")
    assert twice.labels == {"l": {"cat/0.png": "1"}, "l 2": {"cat/0.png": "2"}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no rows"), ("\n\n", "has no rows"), ("file,label\n", "has no rows"), (b"\0" * 100, "has no rows"),
        ("f,l\nnope.png,a\n", "names no file of the data set: it names nope.png, there is cat/0.png"),
        ("f,l\ncat/0.png,a\ncat/1.png\n", "line 3 has more or fewer cells than the 2"),
        ("f,l\ncat/0.png,a,b\n", "line 2 has more"),
        (b"f,l\ncat/0.png,\xe9\n", "Save it as comma-separated UTF-8"), (b"\xff\xfe\0", "Save it as"),
        ("f,l\ncat/0.png," + "x" * 200_000 + "\n", "field larger"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_told(text: str | bytes, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read(text)


def test_any_bytes_are_a_table_or_a_clear_error() -> None:
    draw = random.Random(0)
    whole = written(ROWS).encode()
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 20)):
            data[draw.randrange(len(data))] = draw.choice([0, 10, 13, 34, 44, 59, 255, draw.randrange(256)])
        try:
            read(bytes(data[: draw.randint(0, len(data))]))
        except UserError:
            continue


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for i in range(24):
        path = tmp_path / "set" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 10 * i, np.uint8)).save(path)
    return tmp_path / "set"


def test_a_table_labels_pictures_instead_of_their_folders(pictures: Path, tmp_path: Path) -> None:
    rows = [
        [f"{i:02}.png", "xyz"[i % 3] if i else "", "mn"[i // 2 % 2], "test" if i > 15 else "train"] for i in range(20)
    ]
    (tmp_path / "l.csv").write_text(written([["file", "letter", "other", "split"], *rows]))
    source = load(str(pictures), image_size=8, labels=str(tmp_path / "l.csv"))
    assert source.test is not None and source.attributes == ["letter", "other"]
    assert [str(item)[-6:-4] for item in source.test.items] == ["16", "18", "17", "19"]
    for part in (source.train, source.test):
        for item, name in zip(part.items, part.attributes["letter"].names, strict=True):
            number = int(str(item)[-6:-4])
            assert name == ("xyz"[number % 3] if 0 < number < 20 else "")
    assert "4 of 24 pictures are not named by l.csv, as a/20.png." in source.notes
    assert source.notes[-1] == (
        "Understood: letter of 3 classes (x 6, y 7, z 6; 5 without one), other of 2 classes (m 10, n 10; 4 without "
        "one) by l.csv, 20 to train on, 4 held out by l.csv; --unlabelled, --labels FILE.csv or --split ... overrule "
        "this."
    )


def test_one_column_is_the_class_of_pictures_and_is_held_out_of(pictures: Path, tmp_path: Path) -> None:
    rows = [
        ["file", "letter", "id"],
        *([f"{i:02}.png", "xyz"[i % 3], str(i)] for i in range(24)),
        ["gone.png", "x", "9"],
    ]
    (tmp_path / "l.csv").write_text(written(rows))
    source = load(str(pictures), image_size=8, labels=str(tmp_path / "l.csv"))
    assert source.test is not None and source.attributes == ["class"]
    assert set(source.test.attributes["class"].names) == set("xyz")
    assert any("The column id of l.csv is no label: it has 24 different values" in note for note in source.notes)
    assert any("Named by l.csv, but not there: 1 file, as gone.png." in note for note in source.notes)
    assert "3 classes (x 8, y 8, z 8) by letter of l.csv" in source.notes[-1]
    with pytest.raises(UserError, match=r"--labels .*nope.csv cannot be read: No such file"):
        load(str(pictures), image_size=8, labels=str(tmp_path / "nope.csv"))
    with pytest.raises(UserError, match=r"--labels /dev/zero is larger than 256 MiB, which no table is"):
        load(str(pictures), image_size=8, labels="/dev/zero")


def test_names_with_spaces_are_whole() -> None:
    names = [f"my cat {i}.png" for i in range(4)]
    assert read("\n".join(["the file of", *names]), names).named == set(names)
    rows = [["file", "kind"], *([name, "a" if i % 2 else "b c"] for i, name in enumerate(names))]
    assert read(written(rows), names).labels == {"kind": dict(zip(names, ["b c", "a"] * 2, strict=True))}


@pytest.mark.parametrize(("heading", "train", "test"), [("is_train", "1", "0"), ("IsTest", "False", "TRUE")])
def test_whether_a_picture_is_of_a_part_is_the_split(heading: str, train: str, test: str) -> None:
    rows = [["file", heading, "test"], *([n, test if n in HELD else train, SPECIES[n]] for n in FILES)]
    table = read(written(rows))
    assert out(table) == HELD and table.labels == {"test": SPECIES}
    assert any(f"{heading}, taken for the split" in note for note in table.notes)


def test_labels_that_may_mean_none_or_differ_in_case_are_told() -> None:
    for words in (["N/A", "cat"], ["-1", "1"], ["cat", "none"], ["?", "dog"]):
        notes = read("file,kind\n" + "".join(f"{n},{words[i % 2]}\n" for i, n in enumerate(FILES))).notes
        (word,) = {*words} - {"cat", "1", "dog"}
        told = f"The column kind says {word}, taken for a class; leave blank what is not known: 4 files, as "
        assert sum(note.startswith(told) for note in notes) == 1 and len(notes) == 2
    notes = read("file,kind\n" + "".join(f"{n},{['Cat', 'cat', 'dog'][i % 3]}\n" for i, n in enumerate(FILES))).notes
    assert notes[1].startswith("The column kind says Cat, cat, alike but for case or accents: 6 files, as ")
