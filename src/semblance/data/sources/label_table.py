"""Labels in a CSV file, as people and spreadsheets write them."""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from posixpath import commonpath, dirname, normpath, splitext
from unicodedata import normalize

from semblance.data.sources.kinds import twins
from semblance.data.split_folders import TRAIN, UNLABELLED, named_part
from semblance.data.splits import LabelTable, may_be_none
from semblance.data.tally import Tally
from semblance.errors import UserError
from semblance.shown import shown

SPLIT, SOUND = "split", "sound"
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_SNIFFED = 200  # lines
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


def read_tables(
    given: Mapping[str, bytes], files: Collection[str], sounds: Collection[str] | None = None
) -> LabelTable:
    r"""What tables say of files; given: the bytes of each by its name, whose folder its names are relative to.

    files: names in the data set. The first column names them relative to the table, with `/` or `\`, or by any end of
    the path that one file alone has, such as its own name, with or without the extension; folders that all rows have
    in front and the set has not are left away. Where that column names none, the first one that does is taken. The
    column `split`, in any case, says what is held out: train, training, 1, true or yes; test, val, dev and the like,
    0, false or no. So does one called is_train or is_test, of 1 and 0. Where there are `sounds`, the column `sound`
    names the sound file of each. All others are labels; blank cells say nothing. Commas, semicolons, tabs, bars or
    spaces separate, in UTF-8 or UTF-16; where the first row names a file there are no headings. What several rows say
    differently of one file is left out.

    Raises UserError where a table cannot be read, or all of them name no file.
    """
    tally = Tally()
    table = LabelTable(" and ".join([*given][:2] if len(given) < 3 else [next(iter(given)), f"{len(given) - 1} more"]))
    rows: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    unsure: dict[str, set[str]] = {}  # the columns that rows of one file contradict each other in
    for name, data in given.items():
        folder = dirname(name)
        index = _Index(files, folder)
        sheet = _read(name, data, index)
        table.notes.append(sheet.told)
        columns += [column for column in sheet.columns if column not in columns]
        found = sheet.found(index)
        inside = f"{folder}/" if folder else ""
        table.missing += [(f"{inside}{_plain(cell)}", name) for cell, file in found if file is None]
        known = _Index(sounds or (), folder)
        for (_, file), row in zip(found, sheet.rows, strict=True):
            if file is None:
                continue
            own = {column: cell for column, cell in zip(sheet.columns, row, strict=True) if cell}
            if sounds is not None and SOUND in own:
                own[SOUND] = known.find(own[SOUND]) or f"{inside}{_plain(own[SOUND])}"
            if file not in rows:
                rows[file] = own
                continue
            differing = unsure.setdefault(file, set())
            differing |= {column for column, cell in own.items() if rows[file].get(column, cell) != cell}
            told = "contradicting, which counts as blank" if differing else "alike"
            tally.add(f"Named several times in {table.name}, {told}", file)
            rows[file] = {c: cell for c, cell in (rows[file] | own).items() if c not in differing}
    if not rows:
        cell = table.missing[0][0] if table.missing else "none"
        there = f"there is {shown(min(files))}" if files else "there is none"
        raise UserError(f"{shown(table.name)} names no file of the data set: it names {shown(cell)}, {there}.")
    table.named = set(rows)
    table.sounds = {file: row[SOUND] for file, row in rows.items() if SOUND in row} if sounds is not None else {}
    if SPLIT in columns:
        table.held = _held({file: row.get(SPLIT, "") for file, row in rows.items()}, table.name, tally)
    for column in columns:
        if column != SPLIT and (column != SOUND or sounds is None):
            table.labels[column] = {file: row[column] for file, row in rows.items() if column in row}
            said = table.labels[column]
            tally.add(f"The column {shown(column)} is blank", *(file for file in rows if file not in said))
            doubtful = sorted(filter(may_be_none, set(said.values())))
            told = (
                f"The column {shown(column)} says {_listed(doubtful)}, taken for a class; leave blank what is not known"
            )
            tally.add(told, *(file for file, value in said.items() if value in doubtful))
            alike = twins(sorted(set(said.values())))
            told = f"The column {shown(column)} says {_listed(alike)}, alike but for case or accents"
            tally.add(told, *(file for file, value in said.items() if value in alike))
    table.notes += tally.lines()
    return table


@dataclass
class _Sheet:
    """Rows without the column of names; told: how the table was understood."""

    names: list[str]
    columns: list[str]
    rows: list[list[str]]
    told: str

    def found(self, index: "_Index") -> list[tuple[str, str | None]]:
        """Each name with the file that it is, if it is any."""
        names = [_plain(name) for name in self.names]
        found = [index.find(name) for name in names]
        folders = {dirname(name) for name in names}
        if not any(found) and "" not in folders and len({folder.startswith("/") for folder in folders}) == 1:
            common = commonpath(folders)
            for start in [*(m.end() for m in re.finditer("/", common)), len(common) + 1]:
                found = [index.find(name[start:]) for name in names]
                if any(found):
                    break
        return list(zip(self.names, found, strict=True))


class _Index:
    """The files of a folder, or where it holds none of all, by every end of their paths that one of them alone has."""

    def __init__(self, files: Iterable[str], folder: str) -> None:
        self.folder = folder
        self.files = {normalize("NFC", file): file for file in files}
        self.suffixes = {splitext(file)[1].lower() for file in self.files} - {""}

    @cached_property
    def ends(self) -> dict[str, str | None]:
        """The one file with each end, such as b/1.png and 1.png of a/b/1.png; None where there are several."""
        return self._ends((name, name) for name in self.files)

    @cached_property
    def bare_ends(self) -> dict[str, str | None]:
        """The same without extensions."""
        return self._ends((splitext(name)[0], name) for name in self.files)

    def _ends(self, named: Iterable[tuple[str, str]]) -> dict[str, str | None]:
        inside = f"{self.folder}/" if self.folder and any(n.startswith(f"{self.folder}/") for n in self.files) else ""
        ends: dict[str, str | None] = {}
        for short, name in named:
            if name.startswith(inside):
                parts = short.split("/")
                for start in range(len(parts)):
                    end = "/".join(parts[start:])
                    ends[end] = None if end in ends else self.files[name]
        return ends

    def find(self, name: str) -> str | None:
        """The file of a plain name; None where there is none or more than one."""
        name = normalize("NFC", _plain(name))
        inside = normpath(f"{self.folder}/{name}".lstrip("/"))
        return self.files.get(inside) or self.files.get(name) or self.ends.get(name) or self.bare_ends.get(name)

    def names_a_file(self, cell: str) -> bool:
        """Whether a cell is the name of a file, be it there or not, rather than a heading."""
        return splitext(cell)[1].lower() in self.suffixes or (not cell.isalpha() and self.find(cell) is not None)


def _plain(name: str) -> str:
    r"""A relative name with `/`: of .\a\b.png and C:\a\b.png too."""
    name = re.sub(r"^[A-Za-z]:(?=[\\/])", "", name.strip()).replace("\\", "/")
    return normpath(name) if name else ""


def _read(name: str, data: bytes, index: _Index) -> _Sheet:
    text, encoding = _decoded(name, data)
    said = re.match(r"sep=(.)\r?\n", text)  # as spreadsheets write it
    text = text[said.end() :] if said else text
    some = "".join(islice(io.StringIO(text, newline=""), _SNIFFED))
    fits = {delimiter: _fit([row for _, row in _rows(name, some, delimiter)], index) for delimiter in _DELIMITERS}
    delimiter = said[1] if said else max(fits, key=lambda delimiter: fits[delimiter])
    rows = _rows(name, text, delimiter)
    if not rows:
        raise UserError(f"{shown(name)} has no rows.")
    heads = rows[0][1]
    used = max(place for _, row in rows for place, cell in enumerate(row, 1) if cell)
    heads = heads[: max(used, len(heads) - next((n for n, cell in enumerate(reversed(heads)) if cell), 0))]
    headed = not any(map(index.names_a_file, heads))
    for line, row in rows:
        while len(row) > len(heads) and not row[-1]:
            row.pop()
        if len(row) != len(heads):
            told = f"line {line + bool(said)} has more or fewer cells than the {len(heads)} columns"
            raise UserError(f"{shown(name)}: {told}.")
    cells = [row for _, row in rows[headed:]]
    if not cells:
        raise UserError(f"{shown(name)} has no rows.")
    order = sorted(range(len(heads)), key=lambda i: headed and not heads[i])  # what pandas numbers has no heading
    of_names = next((i for i in order if any(index.find(row[i]) for row in cells)), 0)
    columns = [i for i in range(len(heads)) if i != of_names]
    _say_the_part([heads[i] if headed else "" for i in columns], cells, columns)
    titles = _titles([heads[i] if headed else "" for i in columns], cells, columns)
    headings = f"{shown(heads[of_names])} names them" if headed else "it has no headings"
    others = [
        f"{shown(heads[i])}, taken for the split" if headed and title == SPLIT != heads[i].lower() else shown(title)
        for title, i in zip(titles, columns, strict=True)
    ]
    separator = _DELIMITERS.get(delimiter, shown(delimiter))
    told = (
        f"{shown(name)}: {len(cells):,} row{'s' * (len(cells) != 1)}, {encoding}, separated by {separator}; "
        f"{headings}; other columns: {', '.join(others) or 'none'}."
    )
    return _Sheet([row[of_names] for row in cells], titles, [[_filled(row[i]) for i in columns] for row in cells], told)


def _rows(name: str, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Rows that are not blank, each with the number of its last line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f"{shown(name)} cannot be read: {error}. Save it as comma-separated UTF-8.") from error
    return [(line, row) for line, row in rows if any(row)]


def _fit(rows: Sequence[Sequence[str]], index: _Index) -> tuple[float, ...]:
    """How well a delimiter makes columns of equal rows that name files; the more the better."""
    width = len(rows[0]) if rows else 0
    names = sum(any(map(index.find, row)) for row in rows)
    return names > 0, width > 1, sum(len(row) == width for row in rows) / max(1, len(rows)), names, width


def _decoded(name: str, data: bytes) -> tuple[str, str]:
    """The text of a table and its encoding."""
    encoding = "UTF-8-sig"
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        encoding = "UTF-16"
    elif b"\0" in data[:2]:
        encoding = "UTF-16-LE" if data[1:2] == b"\0" else "UTF-16-BE"
    try:
        return data.decode(encoding), encoding.removesuffix("-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{shown(name)} cannot be read: {error}. Save it as comma-separated UTF-8.") from error


def _titles(heads: Sequence[str], cells: Sequence[Sequence[str]], columns: Sequence[int]) -> list[str]:
    """A name of its own for each column; `split` and `sound` as they are written here. Where none is called split, one
    that names train and a held-out part, and nothing else, is it."""
    titles: list[str] = []
    said = any(head.lower() == SPLIT for head in heads)
    for place, (head, i) in enumerate(zip(heads, columns, strict=True), 1):
        title = head.lower() if head.lower() in (SPLIT, SOUND) else head
        kinds = {part and part[0] for part in map(named_part, {row[i] for row in cells} - {""})}
        tells = bool(kinds) and None not in kinds and not said and SPLIT not in titles
        if tells and (not head or TRAIN in kinds and len(kinds) > 1):  # a class of things may be called test
            title = SPLIT
        elif not head:
            title = "label" if len(columns) == 1 else f"label {place}"
        titles.append(title if title not in titles else f"{title} {place}")
    return titles


def _say_the_part(heads: Sequence[str], cells: Sequence[list[str]], columns: Sequence[int]) -> None:
    """Turn yes and no in a column called is_train, or is_test, into train and test, if there is no other split."""
    if any(head.lower() == SPLIT for head in heads):
        return
    for head, i in zip(heads, columns, strict=True):
        part = named_part(head) if re.match(r"(?i)(is|in)(?![a-z])|is_?(?=train|test|val)", head) else None
        if part and {row[i].lower() for row in cells} <= {*_YES, *_NO, ""}:
            for row in cells:
                if row[i]:
                    row[i] = TRAIN if (part[0] == TRAIN) == (row[i].lower() in _YES) else "test"
            return


def _listed(values: Sequence[str]) -> str:
    return ", ".join(map(shown, values[:4])) + ", ..." * (len(values) > 4)


def _filled(cell: str) -> str:
    """A cell; "" for what stands for nothing."""
    return "" if cell.lower() == "nan" else cell


def _held(said: Mapping[str, str], name: str, tally: Tally) -> dict[str, bool]:
    """Whether each file is held out; empty where the column `split` does not say so of some and not of others."""
    values = {value.lower() for value in said.values()} - {""}
    held: dict[str, bool] = {}
    # Of several tables each may have its own words; beside words of no part a number says nothing.
    numbers = all(named_part(value) for value in values - {*_YES, *_NO})
    for file, value in said.items():
        kind = named_part(value)
        if kind or (numbers and value):
            held[file] = kind[0] not in (TRAIN, UNLABELLED) if kind else value.lower() in _NO
    column = f"The column {SPLIT} of {shown(name)}"
    if len(set(held.values())) < 2:
        told = ", ".join(map(shown, sorted(values)[:3])) or "nothing"
        tally.add(f"{column} is not used, since it does not say both train and test (but {told})", *said)
        return {}
    if numbers:
        words = " or ".join(sorted(values & {*_YES}))
        tally.add(f"{column} says {words}, taken for training", *(f for f in held if said[f].lower() in _YES))
    tally.add(f"{column} is blank, taken for training", *(file for file, value in said.items() if not value))
    unclear = [file for file, value in said.items() if value and file not in held]
    tally.add(f"{column} says neither train nor test, taken for training", *unclear)
    return held
