"""`semblance embed`: features of samples by a trained network, of a run or of anybody's."""

import os
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance import modalities
from semblance.commands import begin
from semblance.commands.opened import Opened
from semblance.commands.printing import print_skipped, say, status
from semblance.data import Images, Source, load
from semblance.data.loader import PART
from semblance.data.samples import Samples, Skipped
from semblance.data.sources.listed import is_one_picture, load_listed
from semblance.errors import UserError
from semblance.evaluation.picture_features import streamed
from semblance.runs.features import Features, Spool, check_kind, write
from semblance.runs.options import SAID, flag
from semblance.runs.others import are_of_others, of_others
from semblance.runs.transform import OfPictures
from semblance.runtime.bounded_text import read_bytes
from semblance.runtime.device import best_device
from semblance.runtime.memory import told_when_short
from semblance.runtime.progress import with_progress
from semblance.shown import shown

Data = str | PathLike[str] | Sequence[str | PathLike[str]]
_FEW = 64  # pictures that are read without processes of their own
_MOST = 1 << 21  # pixels that a network sees at once


@dataclass
class _Found:
    """features: of the samples that could be read. skipped: those that could not."""

    features: Features
    samples: str
    notes: list[str] = field(default_factory=list)
    skipped: Skipped = field(default_factory=list)


@told_when_short()
def embed(
    run: str, *, data: Data | None = None, out: Path | None, network: str | None = None, normalise: bool = False,
    **given: Any,
) -> Tensor | dict[str, Tensor]:  # fmt: skip
    """Features of every readable sample, in the order training, held out, or as they are listed: of pictures (N, D), of
    clips by stream. What is written is mapped from the disk, not held."""
    if out is not None:
        check_kind(out)
        with _writing(out):  # before the work, so that it is not done in vain
            out.parent.mkdir(parents=True, exist_ok=True)
    given_paths = _given_paths(data)
    one_by_one = any(map(is_one_picture, given_paths)) and not any(map(os.path.isdir, given_paths))
    paths = given_paths if one_by_one else []
    named = given_paths if len(given_paths) > 1 and not paths else next(iter(given_paths), None)
    if paths and (said := [name for name in SAID if given.get(name)]):
        raise UserError(
            f"Pictures that are named one by one have no labels or parts: leave out {', '.join(map(flag, said))}."
        )
    if are_of_others(run):
        found = _by_others(run, named, paths, network, given, out, normalise)
    else:
        opened = Opened.of(run, network, data=named, **given)
        if opened.modality is modalities.named("pictures"):
            found = _by_run(opened, paths, out, normalise)
        elif paths:
            raise UserError(
                f"{shown(run)} is of {opened.modality.samples}: name a folder or a tar of them with --data."
            )
        else:
            found = _of_modality(opened, normalise)
    _tell(found, out)
    rows = found.features.rows
    return rows["features"] if list(rows) == ["features"] else rows


def _given_paths(data: Data | None) -> list[str]:
    """Paths or names, one or several; none where nothing is given. A .txt holds a path a line, from where it lies."""
    if data is None or isinstance(data, str | PathLike):
        given = [] if data is None else [fspath(data)]
        return _listed(Path(os.path.expanduser(given[0]))) if given and given[0].lower().endswith(".txt") else given
    return [fspath(path) for path in data]


def _listed(file: Path) -> list[str]:
    """Names as the file system has them: bytes that need be no text."""
    try:
        data = read_bytes(file)
        if b"\0" in data:
            raise ValueError("it holds zero bytes, as UTF-16 does; save it as UTF-8")
        lines = [os.fsdecode(line.removesuffix(b"\r")) for line in data.removeprefix(BOM_UTF8).split(b"\n")]
    except (OSError, ValueError) as error:
        raise UserError(f"--data {shown(file)} cannot be read as a list of pictures: {error}.") from error
    names = [line for line in lines if line.strip()]
    if not names:
        raise UserError(f"--data {shown(file)} names no pictures: a path a line is wanted.")
    return [str(file.parent / os.path.expanduser(name)) for name in names]


def _by_run(opened: Opened, paths: Sequence[str], out: Path | None, normalise: bool) -> _Found:
    source = pictures_of(opened, paths)
    method = opened.method()
    config = opened.config
    seen = _embedded(method.encoder, opened.transform, source, out, normalise, config.precision, config.workers)
    return _Found(seen, "pictures", source.notes + opened.notes, source.skipped)


def pictures_of(opened: Opened, paths: Sequence[str] = ()) -> Source[Images]:
    """The pictures of a run, or those that are named one by one, seen as they are read as when it is measured."""
    config = opened.config
    about: dict[str, Any] = {"image_size": config.load_size, "grey_levels": config.grey_levels}
    if not paths:
        about |= {name: getattr(config, name) for name in ("data_root", "download", *SAID)}
    return _source(config.data, paths, opened.transform, about)


def _by_others(
    name: str, data: str | list[str] | None, paths: Sequence[str], network: str | None, given: dict[str, Any],
    out: Path | None, normalise: bool,
) -> _Found:  # fmt: skip
    if data is None:
        raise UserError(f"{shown(name)} is no run, which would have data of its own: name pictures with --data.")
    if network is not None:
        raise UserError(f"{shown(name)} is one network: leave out --network.")
    others = of_others(name)
    say(others.notes[0])
    about = {"image_size": 224} | ({} if paths else {n: value for n, value in given.items() if value is not None})
    source = _source(data, paths, others.transform, about)
    seen = _embedded(others.network.to(best_device()), others.transform, source, out, normalise)
    return _Found(seen, "pictures", others.notes[1:] + source.notes, source.skipped)


def _source(
    data: str | list[str], paths: Sequence[str], transform: OfPictures, about: dict[str, Any]
) -> Source[Images]:
    what = f"{len(paths):,} pictures" if len(paths) > 1 else ", ".join([data] if isinstance(data, str) else data)
    say(f"Reading {shown(what)} ...")
    about |= {"canvas": transform.canvas, "see": transform.of_file}
    return load_listed(paths, **about) if paths else load(data, **about)


def _embedded(
    network: nn.Module, transform: OfPictures, source: Source[Images], out: Path | None, normalise: bool,
    precision: str = "32", workers: int = 2,
) -> Features:  # fmt: skip
    """Features of all pictures, kept as they come; none of those that cannot be read."""
    parts = [part for part in (source.train, source.test) if part is not None]

    def look(raw: Sequence[Tensor], index: Tensor) -> Tensor:
        return raw[0] if raw[0].is_floating_point() else transform.of_canvases(raw[0], raw[1])

    with _writing(out):
        spool, kept = Spool(None if out is None else out.parent), []
        for images in parts:
            at, mine = 0, list[int]()
            side = look(images.read([0]), torch.tensor([0])).shape[-1]
            at_once = max(8, min(PART, _MOST // side**2))
            rows = streamed(network, images, look, precision, 0 if len(images) <= _FEW else workers, at_once)
            for some in with_progress(f"Embedding {shown(images.name)}", rows, len(images), len):
                unread = {name for name, _ in images.skipped}
                read = [i for i in range(len(some)) if str(images.items[at + i]) not in unread]
                spool.add(_normalised(some[read].cpu(), normalise))
                mine += [at + i for i in read]
                at += len(some)
            kept.append(images.subset(mine))
        return _features({"features": spool.joined()}, kept)


def _of_modality(opened: Opened, normalise: bool) -> _Found:
    """Of clips, and of samples of somebody else's kind."""
    modality = opened.modality
    source = begin.load(modality, opened.config)
    method = opened.method()
    with status(f"Embedding {modality.samples}"):
        rows, parts = modality.features(method, source, opened.config)
    rows = {name: _normalised(found, normalise) for name, found in rows.items()}
    skipped = list(dict.fromkeys(skipped for part in parts for skipped in part.skipped))
    return _Found(_features(rows, parts), modality.samples, source.notes + opened.notes, skipped)


def _normalised(rows: Tensor, wanted: bool) -> Tensor:
    return F.normalize(rows, dim=1) if wanted else rows


def _features(rows: dict[str, Tensor], parts: Sequence[Samples]) -> Features:
    """With what all parts are labelled by, and of pictures the numbers of their classes."""
    names = [str(item) for part in parts for item in part.items]
    known = [name for name in parts[0].attributes if all(name in part.attributes for part in parts)]
    labels = {name: [value for part in parts for value in part.attributes[name].names] for name in known}
    numbers = None
    if "class" in known and "features" in rows:
        numbers = torch.cat([part.attributes["class"].values for part in parts])
    return Features(rows, names, labels, numbers)


def _tell(found: _Found, out: Path | None) -> None:
    """Write what was found, and say what it is."""
    features = found.features
    if out is not None:
        with _writing(out):
            written = write(out, features)
        widths = " and ".join(f"{name} of {rows.shape[1]} numbers" for name, rows in features.rows.items())
        where = " and ".join(map(shown, written))
        say(f"Wrote {widths} for {len(features.names):,} {found.samples} to {where}.", result=True)
    else:
        told = [f"{len(rows):,} rows of {rows.shape[1]} numbers ({name})" for name, rows in features.rows.items()]
        say(f"{', '.join(told)}; --out FILE.npz keeps them.")
    for name, rows in features.rows.items():
        if lost := sum(int((~some.isfinite()).any(1).sum()) for some in rows.split(PART)):
            found.notes.append(f"{lost:,} of {len(rows):,} rows of {name} hold numbers that are not finite.")
    for note in found.notes:
        say(note)
    print_skipped(found.skipped)


@contextmanager
def _writing(out: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if out is None:
            raise
        raise UserError(f"Cannot write {shown(out)}: {error.strerror}. Choose another --out.") from error
