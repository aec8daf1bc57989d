"""Which pictures are held out, and which class each shows, told from relative names alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from os import fsencode

_HELD_OUT = ("test", "val", "valid", "validation")


@dataclass
class Part:
    """Names of the pictures of one split, sorted, and the index of each one's class where there are classes."""

    names: list[str]
    labels: list[int] | None = None


@dataclass
class Split:
    train: Part
    test: Part | None
    classes: list[str]


def is_held_out(name: str) -> bool:
    """Whether a picture belongs to the held-out tenth: a hash of its own name, so that other files do not matter."""
    return int.from_bytes(blake2b(fsencode(name), digest_size=8).digest(), "big") % 10 == 0


def split(names: Sequence[str]) -> Split:
    """Split pictures by their names, which are relative to the data set with `/` between folders.

    Folders that hold everything are descended first. `train/` beside `test/` (or `val/`, `valid/`, `validation/`) are
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
        return _labelled(tops["train"], tops[test])
    if not _classes(inner.values()):
        return Split(Part(names), None, [])
    held = {name: short for name, short in inner.items() if is_held_out(short)}
    return _labelled({name: short for name, short in inner.items() if name not in held}, held)


def _descend(names: list[str]) -> list[str]:
    """The names without the folders that all of them share."""
    while all("/" in name for name in names) and len({name.split("/")[0] for name in names}) == 1:
        names = [name.split("/", 1)[1] for name in names]
    return names


def _classes(inner: Iterable[str]) -> list[str]:
    """Class folders, sorted; none unless every picture lies in one and there are two at least."""
    folders = {name.rpartition("/")[0].split("/")[0] for name in inner}
    return sorted(folders) if "" not in folders and len(folders) > 1 else []


def _labelled(train: dict[str, str], test: dict[str, str]) -> Split:
    classes = _classes([*train.values(), *test.values()])
    index = {name: i for i, name in enumerate(classes)}

    def part(inner: dict[str, str]) -> Part:
        return Part(list(inner), [index[short.split("/")[0]] for short in inner.values()] if classes else None)

    return Split(part(train), part(test) if test else None, classes)
