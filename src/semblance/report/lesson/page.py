"""One self-contained HTML file: recorded runs as arrays of a few bits a number, and the script that plays them."""

from base64 import b64encode
from math import isfinite
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from semblance.report.lesson.recorded import Chapter, Recorded, Sight, places
from semblance.report.lesson.words import COLLAPSED, headline, words
from semblance.runtime.atomic_files import write_text
from semblance.shown import shown

DECADES = 6  # of the spectrum, below 1


def write_lesson(path: Path, chapters: list[Chapter], *, missing: list[str], about: str) -> None:
    """Write the page. missing: titles of methods that were not finished. about: what was trained, in a sentence."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("lesson.html.j2").render(
        chapters=[_told(chapter) for chapter in chapters], missing=missing, about=about
    )
    write_text(path, page)


def _told(chapter: Chapter) -> dict[str, Any]:
    """What the page says and draws of a method."""
    levels = _levels(chapter.runs)
    return {
        "family": chapter.family, "title": chapter.title, "headline": headline(chapter), "idea": chapter.idea,
        "trivial": chapter.trivial, "equation": chapter.equation, "picture": chapter.picture, "paper": chapter.paper,
        "guards": chapter.guards, "classes": [shown(name) for name in chapter.classes],
        "labels": chapter.labels.tolist(), "clips": [vars(clip) for clip in chapter.clips],
        "runs": [
            _packed(run, level, chapter.clips) for run, level in zip(chapter.runs, levels, strict=True)
        ],
    }  # fmt: skip


def _packed(run: Recorded, levels: Tensor | None, clips: list[Sight]) -> dict[str, Any]:
    """A run for the script: numbers as they are, large arrays as base64 of small integers, little endian."""
    log = run.spectrum.clamp(min=10.0**-DECADES).log10()
    return {
        "without": [name.replace("_", " ") for name in run.without], "steps": run.steps,
        "losses": [round(x, 4) if isfinite(x) else None for x in run.losses],
        "deviation": [round(x, 4) for x in run.deviation], "directions": [round(x, 2) for x in run.directions],
        "used": run.in_use, "words": (said := words(run)), "collapsed": [word in COLLAPSED for word in said],
        "places": _base64((places(run) * 32767).round().to(torch.int16)),
        "spectrum": _base64((255 * (log / DECADES + 1)).round().to(torch.uint8)), "columns": log.shape[1],
        "shares": None if run.shares is None else _base64((run.shares * 32767).round().to(torch.int16)),
        "kept": None if levels is None else _base64(levels),
        "correlation": None if run.correlation is None else _base64(
            (run.correlation.clamp(-1, 1) * 127).round().to(torch.int8)
        ),
        "heard": _heard(run, len(clips)),
    }  # fmt: skip


def _levels(runs: list[Recorded]) -> list[Tensor | None]:
    """Rows of the queue or bank as shades: 0 where nothing is kept, else 1 to 255 by where a row lies along the
    direction in which those of the first run vary most. One direction for all runs. uint8 (T, R)."""
    if runs[0].kept is None:
        return [None] * len(runs)
    last = F.normalize(runs[0].kept[-1][runs[0].kept[-1].any(1)], dim=1)
    if not len(last):
        return [torch.zeros(run.kept.shape[:2], dtype=torch.uint8) for run in runs if run.kept is not None]
    axis = torch.linalg.svd(last - last.mean(0), full_matrices=False).Vh[0]
    reach = (last @ axis).abs().max().clamp(min=1e-12)
    return [
        torch.where(run.kept.any(2), 128 + 127 * (F.normalize(run.kept, dim=2) @ axis / reach).clamp(-1, 1), 0)
        .round().to(torch.uint8)
        for run in runs if run.kept is not None
    ]  # fmt: skip


def _heard(run: Recorded, clips: int) -> list[list[int]] | None:
    """For each of the first clips, which of their sounds lies nearest to what is seen, frame by frame."""
    if not clips:
        return None
    video, audio = run.unit.chunk(2, dim=1)
    return (video[:, :clips] @ audio[:, :clips].transpose(1, 2)).argmax(2).tolist()


def _base64(t: Tensor) -> str:
    array = t.contiguous().numpy()
    return b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
