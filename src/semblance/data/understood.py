"""How a data set was understood, in one line that is always told."""

from collections.abc import Sequence
from typing import Any

from semblance.data.samples import UNKNOWN, Source
from semblance.shown import shown

ALL = ("--unlabelled", "--labels FILE.csv", "--split ...")  # flags for files
OF_ARRAYS = ("--unlabelled", "--split ...")
_NAMED = 5


def understood(source: Source[Any], labels_by: str, split_by: str, flags: Sequence[str] = ALL) -> str:
    """Classes, split and counts, and the flags that overrule them.

    labels_by, split_by: what said so, as "by folder"; "" where nothing did.
    """
    parts = [part for part in (source.train, source.test) if part is not None]
    names = list(dict.fromkeys(name for part in parts for name in part.attributes))
    labels = [_counts([part.attributes[name] for part in parts if name in part.attributes]) for name in names]
    told = [_classes(counts, unknown) for counts, unknown in labels]
    if names != ["class"]:
        told = [f"{shown(name)} of {classes}" for name, classes in zip(names, told, strict=True)]
    known = f"{', '.join(told) or 'no classes'} {labels_by}".strip()
    held = f"{len(source.test):,} held out {split_by}" if source.test is not None else "none held out"
    which = " or ".join([", ".join(flags[:-1]), flags[-1]])
    return f"Understood: {known}, {len(source.train):,} to train on, {held}; {which} overrule this."


def _counts(attributes: Sequence[Any]) -> tuple[dict[str, int], int]:
    """Samples by class, and those without a label."""
    classes, counts = attributes[0].classes, [0] * len(attributes[0].classes)
    unknown = 0
    for attribute in attributes:
        unknown += int((attribute.values == UNKNOWN).sum())
        found = attribute.values[attribute.known].bincount(minlength=len(classes)).tolist()
        counts = [a + b for a, b in zip(counts, found, strict=True)]
    return dict(zip(classes, counts, strict=True)), unknown


def _classes(counts: dict[str, int], unknown: int) -> str:
    """2 classes (cats 120, dogs 118); of many the first few, and the range of counts."""
    if len(counts) <= _NAMED:
        told = ", ".join(f"{shown(name)} {count:,}" for name, count in counts.items())
    else:
        low, high = min(counts.values()), max(counts.values())
        each = f"{low:,} each" if low == high else f"{low:,} to {high:,} each"
        told = f"{', '.join(shown(name) for name in list(counts)[:3])}, ...; {each}"
    plural = "class" if len(counts) == 1 else "classes"
    return f"{len(counts):,} {plural} ({told}{f'; {unknown:,} without one' if unknown else ''})"
