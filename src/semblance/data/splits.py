"""Which samples are held out, and what each is labelled by: by folders, by a table, or as a person says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import torch
from torch import Tensor

from semblance.data.samples import UNKNOWN, Attribute
from semblance.data.split_folders import Arranged, arrange, folder_of, unmatched
from semblance.data.tally import Tally
from semblance.errors import UserError
from semblance.shown import as_bytes, shown

TENTH = 0.1
# What people, spreadsheets and libraries write where nothing is known. Some of it is a class now and then ("none" of
# defects, "NA" of countries, -1 of two), so it is taken for one, and told.
_MAY_BE_NONE = frozenset((
    "-1", "-1.0", "n/a", "#n/a", "na", "<na>", "nat", "null", "none", "nil", "?", "-", "--", "unknown", "unlabelled",
    "unlabeled", "missing", "undefined",
))  # fmt: skip
FOLDERS = "folders"  # as --labels


@dataclass(frozen=True)
class LabelOptions:
    """What a person says of labels and split, instead of what folders and files say.

    unlabelled: folders, tables and arrays label nothing.
    labels: a CSV file (sources/label_table.py), or "folders": the first folders are the classes, whatever their names.
    split: "none": nothing is held out. A share such as "0.2": so much is, by the hash of names. Or folders by part:
        "train=Training,test=Testing"; a part may be named several times, and what is named for none is left out, or
        where no train= is named, trained on.
    """

    unlabelled: bool = False
    labels: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if self.split is not None:
            object.__setattr__(self, "split", check_split(self.split))

    @property
    def table(self) -> str | None:
        """The CSV file."""
        return None if self.labels == FOLDERS else self.labels

    @property
    def share(self) -> float | None:
        """The share to be held out by hash, 0 for "none"; None where it is not said."""
        return None if self.split is None or "=" in self.split else 0.0 if self.split == "none" else float(self.split)

    @property
    def folders(self) -> dict[str, list[str]]:
        """Folders by part, where they are said."""
        said: dict[str, list[str]] = {}
        for entry in self.split.split(",") if self.split and "=" in self.split else ():
            part, _, folder = entry.partition("=")
            said.setdefault(part.strip().lower(), []).append(folder.strip())
        return said


def check_split(given: str | float) -> str:
    """A value of `split` in its one spelling; a UserError where it is none."""
    text = str(given).strip()
    wanted = "give none, a share such as 0.2, or folders as train=Training,test=Testing"
    if text.lower() in ("none", "0", "0.0"):
        return "none"
    if "=" not in text:
        try:
            share = float(text)
        except ValueError:
            raise UserError(wanted) from None
        if not 0 < share < 1:
            raise UserError(f"the share held out lies between 0 and 1: {wanted}")
        return f"{share:g}"
    entries = [entry.partition("=") for entry in text.split(",")]
    if any(part.strip().lower() not in ("train", "test") or not folder.strip() for part, _, folder in entries):
        raise UserError(wanted)
    return ",".join(f"{part.strip().lower()}={folder.strip()}" for part, _, folder in entries)


@dataclass
class LabelTable:
    """What a table says of the files that it names, by their names in the data set.

    labels: by column and name; what is blank is missing. held: whether each is held out, where the table says it.
    sounds: the sound file of each, where it is another. named: all files that it names. missing: names that are of no
    file, each with the table's. notes: how it was understood, in sentences.
    """

    name: str
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    held: dict[str, bool] = field(default_factory=dict)
    sounds: dict[str, str] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    missing: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def told(self) -> list[str]:
        """The notes, and one that counts the missing."""
        tally = Tally()
        tally.add(f"Named by {shown(self.name)}, but not there", *(name for name, _ in self.missing))
        return [*self.notes, *tally.lines()]


@dataclass
class Part:
    """Names of the samples of one part, in order, and what they are labelled by."""

    names: list[str]
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass
class Split:
    """notes: what may surprise a person, in sentences. labels_by, split_by: what said so, as "by folder"."""

    train: Part
    test: Part | None
    notes: list[str] = field(default_factory=list)
    labels_by: str = ""
    split_by: str = ""


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(as_bytes(name), digest_size=8).digest(), "big")


def is_held_out(name: str, share: float = TENTH) -> bool:
    """Whether a sample belongs to the held-out part: a hash of its own name, so that other files do not matter.

    A larger share holds out the same samples and more.
    """
    rest, tenth = divmod(_hash(name), 10)
    return (tenth << 32) + rest % 2**32 < round(10 * share * 2**32)


def hold_out(names: Mapping[str, str], groups: Mapping[str, str] | None = None, share: float = TENTH) -> set[str]:
    """The held-out ones of some names, by the hash that is_held_out takes; empty where that would be all of them.

    A group that the hash leaves without a held-out one gives the one of lowest hash, if it has two: so a file added
    moves at most one other, of its own group.

    names: by name, what is hashed. groups: the class of each name, one group without it; names without a class are
    held out by their hash alone.
    """
    held = {name for name, hashed in names.items() if is_held_out(hashed, share)}
    members: dict[str, list[str]] = {}
    for name in names:
        if (group := "" if groups is None else groups.get(name)) is not None:
            members.setdefault(group, []).append(name)
    held |= {min(m, key=lambda n: _hash(names[n])) for m in members.values() if len(m) > 1 and held.isdisjoint(m)}
    return set() if len(held) == len(names) else held


def hold_out_rows(
    items: Sequence[object], label: Attribute | None, share: float | None = None, *, clips: bool = False
) -> Tensor:
    """Which rows of arrays are held out, by their names (numbers as a rule) and classes, as hold_out: bool (N,).

    Of pictures, those with a label, which alone can be measured."""
    rows = list(map(str, items))
    names = {row: row for row in rows}
    groups = None
    if label is not None:
        groups = {name: group for name, group in zip(names, label.names, strict=True) if group}
        names = names if clips else {name: name for name in groups}
    held = hold_out(names, groups, TENTH if share is None else share)
    return torch.tensor([row in held for row in rows], dtype=torch.bool)


def may_be_none(label: str) -> bool:
    """Whether a class is called as what is not known often is."""
    return label.strip().lower() in _MAY_BE_NONE


def split(
    names: Sequence[str], options: LabelOptions | None = None, table: LabelTable | None = None, *, clips: bool = False
) -> Split:
    """Split files by their names, which are relative to the data set with `/` between folders, and label them.

    split_folders.arrange says what folders tell; a table, where there is one, labels instead of them, and its column
    `split` splits; options overrule both. Where nothing tells a split, a tenth is held out by the hash of names, of
    each class one at least (hold_out): of pictures those that have a label, since labels are what they are measured by.
    """
    options, kind = options or LabelOptions(), "clip" if clips else "picture"
    names = sorted(names)
    found = arrange(names, options.folders, as_classes=options.labels == FOLDERS)
    shorts = dict(sorted((found.train | (found.test or {})).items()))
    notes = list(found.notes)
    by_table = table is not None and bool(table.held) and options.share is None and not options.folders
    if by_table:
        shorts, notes = {name: name for name in names}, []  # folders have no say in it
    if table is not None and (unnamed := [name for name in shorts if name not in table.named]):
        count = f"{len(unnamed):,} of {len(shorts):,} {kind}s"
        notes.append(f"{count} are not named by {shown(table.name)}, as {shown(unnamed[0])}.")
    labels, labels_by = _labels(found, shorts, options, table, notes, clips=clips)
    if table is not None and by_table:
        held, split_by = {name for name in names if table.held.get(name)}, f"by {table.name}"
    elif options.share is None and found.test is not None:
        held, split_by = set(found.test), "by --split" if options.folders else "by folder"
    else:
        share, split_by = TENTH if options.share is None else options.share, "by hash"
        some = set().union(*labels.values()) if not clips and (labels or options.share is None) else shorts
        whole = clips and not (found.classes and table is None)  # the whole names of clips are hashed, as ever
        hashed = {name: name if whole else short for name, short in shorts.items() if name in some}
        held = hold_out(hashed, next(iter(labels.values()), None), share) if share else set()
        if hashed and share and not held:
            notes.append(f"Too few {kind}s to hold some out.")
    if not set(shorts) - held:
        notes.append("Nothing would be left to train on, so nothing is held out.")
        held = set()
    parts = [Part([n for n in shorts if n not in held]), Part([n for n in shorts if n in held])]
    for column, known in labels.items():
        classes = [{known[name] for name in part.names if name in known} for part in parts]
        if held:
            told = unmatched(classes[0], classes[1], of=kind)
            notes += [f"{shown(column)}: {note}" if len(labels) > 1 else note for note in told]
        if not held or classes[0] & classes[1]:
            index = {name: i for i, name in enumerate(sorted(classes[0] | classes[1]))}
            for part in parts:
                values = [index[known[name]] if name in known else UNKNOWN for name in part.names]
                part.attributes[column] = Attribute(torch.tensor(values), list(index))
    if not any(part.attributes for part in parts) and not options.unlabelled:
        labels_by = ""
    return Split(parts[0], parts[1] if held else None, notes, labels_by, split_by if held else "")


def _labels(
    found: Arranged, shorts: Mapping[str, str], options: LabelOptions, table: LabelTable | None, notes: list[str],
    *, clips: bool,
) -> tuple[dict[str, dict[str, str]], str]:  # fmt: skip
    """Labels by attribute and name, and what said them."""
    if options.unlabelled:
        return {}, "by --unlabelled"
    if table is None:
        notes += found.class_notes
        known = {n: c for n, s in shorts.items() if n not in found.unlabelled and (c := folder_of(s))}
        return ({"class": known}, "by folder") if found.classes else ({}, "")
    labels = {}
    for column, values in table.labels.items():
        known = {name: values[name] for name in shorts if name in values}
        if 1 < len(set(known.values())) <= len(known) // 2:
            labels[column] = known
        elif known:
            each, of = len(set(known.values())), len(known)
            told = f"it has {each:,} different value{'s' * (each > 1)} for {of:,} file{'s' * (of > 1)}"
            notes.append(f"The column {shown(column)} of {shown(table.name)} is no label: {told}.")
    if len(labels) == 1 and not clips:  # what pictures are labelled by is called so everywhere
        (column, known), *_ = labels.items()
        return {"class": known}, f"by {shown(column)} of {shown(table.name)}"
    return labels, f"by {shown(table.name)}"
