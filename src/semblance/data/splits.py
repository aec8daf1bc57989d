"""Which pictures are held out, and which class each shows, told from relative names alone."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import PurePosixPath

from semblance.shown import as_bytes

_HELD_OUT = ("test", "val", "valid", "validation")


def is_of_kind(name: str, extensions: Collection[str]) -> bool:
    """Whether a file of this relative name has one of these extensions, and is neither hidden nor made by macOS."""
    path = PurePosixPath(name)
    return path.suffix.lower() in extensions and not any(p.startswith(".") or p == "__MACOSX" for p in path.parts)


@dataclass
class Part:
    """Names of the pictures of one split, sorted, and the index of each one's class where there are classes."""

    names: list[str]
    labels: list[int] | None = None


@dataclass
class Split:
    """notes: what may surprise a person about the names, in sentences."""

    train: Part
    test: Part | None
    classes: list[str]
    notes: list[str] = field(default_factory=list)


def is_held_out(name: str) -> bool:
    """Whether a picture belongs to the held-out tenth: a hash of its own name, so that other files do not matter."""
    return int.from_bytes(blake2b(as_bytes(name), digest_size=8).digest(), "big") % 10 == 0


def split(names: Sequence[str]) -> Split:
    """Split pictures by their names, which are relative to the data set with `/` between folders.

    Folders that hold everything are entered first. `train/` beside `test/` (or `val/`, `valid/`, `validation/`) are
    the splits; what lies beside them is left out. Otherwise, where every picture lies in one of two or more class
    folders, a tenth is held out; without classes nothing is. The class is the first folder within the split.
    """
    names = sorted(names)
    inner = dict(zip(names, _descend(names), strict=True))
    tops: dict[str, dict[str, str]] = {}
    for name, short in inner.items():
        top, slash, rest = short.partition("/")
        if slash:
            tops.setdefault(top.lower(), {})[name] = rest
    beside = [top for top in _HELD_OUT if top in tops]
    if "train" in tops and beside:
        # ImageNet and others ship a test folder without classes beside a val folder with them.
        test = next((top for top in beside if _classes(tops[top].values())), beside[0])
        parts = _labelled(tops["train"], tops[test])
        if left_out := [name for name in names if name not in tops["train"] and name not in tops[test]]:
            parts.notes.append(f"{len(left_out):,} pictures beside train/ and {test}/ are left out, as {left_out[0]}.")
        return parts
    if not _classes(inner.values()):
        return Split(Part(names), None, [], _loose(inner.values()))
    held = {name: short for name, short in inner.items() if is_held_out(short)}
    if len(held) == len(inner):
        return Split(Part(names), None, [], ["Too few pictures to hold some out."])
    return _labelled({name: short for name, short in inner.items() if name not in held}, held)


def _descend(names: list[str]) -> list[str]:
    """The names without the folders that all of them share."""
    while all("/" in name for name in names) and len({name.split("/")[0] for name in names}) == 1:
        names = [name.split("/", 1)[1] for name in names]
    return names


def _classes(inner: Iterable[str]) -> list[str]:
    """Class folders, sorted; none unless every picture lies in one and there are two at least."""
    folders = _folders(inner)
    return sorted(folders) if "" not in folders and len(folders) > 1 else []


def _folders(inner: Iterable[str]) -> set[str]:
    """The first folders of names; "" where one has none."""
    return {name.rpartition("/")[0].split("/")[0] for name in inner}


def _loose(inner: Iterable[str]) -> list[str]:
    """A note on pictures that lie beside what would be class folders or splits."""
    inner = list(inner)
    loose = [name for name in inner if "/" not in name]
    if not loose or len(loose) == len(inner):
        return []
    return [f"The folders are not taken for classes, since {loose[0]} lies beside them; move it into one or away."]


def _labelled(train: dict[str, str], test: dict[str, str]) -> Split:
    classes = _classes([*train.values(), *test.values()])
    notes = [] if classes else _loose([*train.values(), *test.values()])
    ours, theirs = (_folders(part.values()) for part in (train, test))
    if classes and test and not ours & theirs:
        classes, notes = [], ["The training and the test pictures share no class folder, so the folders are ignored."]
    elif classes and theirs - ours:
        notes = [f"No training picture is of the test class {', '.join(sorted(theirs - ours))}."]
    index = {name: i for i, name in enumerate(classes)}

    def part(inner: dict[str, str]) -> Part:
        return Part(list(inner), [index[short.split("/")[0]] for short in inner.values()] if classes else None)

    return Split(part(train), part(test) if test else None, classes, notes)
