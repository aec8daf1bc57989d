"""The report of a run: one self-contained HTML file, without network or script."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from semblance.report.gallery import Gallery
from semblance.runtime.atomic_files import write_text
from semblance.shown import shortened, shown

ROOM, ROOM_BESIDE_CLIPS = 2_600_000, 600_000  # bytes for pictures on the map and among the neighbours


def write_report(
    path: Path,
    *,
    config: dict[str, Any],
    metrics: list[dict[str, Any]],
    summary: dict[str, Any],
    constants: dict[str, float],
    views: Tensor | None,
    gallery: Gallery | None,
    clips: Any = None,
    groups: int | None = None,
    usage: Sequence[str] = (),
) -> None:
    """Write the report of one run to `path`; every part whose input is missing is left out.

    config: resolved configuration, flat or nested. metrics: the lines of metrics.jsonl, in order.
    summary: method, family, paper, data, backbone, training_seconds, samples_per_second, test_images (how many pictures
    the accuracies are measured on), table (one dict of accuracies in [0, 1] per "encoder", with "label_free" numbers),
    verdict, skipped ([name, reason]).
    clips: the ClipPage (report/clips.py) of a method for clips. groups: prototypes or clusters that the method has.
    constants: named levels of the loss. views: uint8 (n_images, 1 + V, 3, S, S), the original first.
    usage: lines of Python that use the backbone.
    """
    # jinja2, matplotlib and scikit-learn are heavy: only a run that writes its report pays for them.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from semblance.report import (
        contact_sheets,
        curves,
        embedded,
        found,
        glossary,
        label_free,
        layout,
        neighbours,
        projection,
        words,
    )  # fmt: skip

    seen = embedded.Embedded.of(gallery, ROOM_BESIDE_CLIPS if clips else ROOM) if gallery is not None else None
    table, tested = summary.get("table") or [], words.tested(summary) or 0
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_one_line,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shortened": shortened, "is_path": words.is_path, "is_trained": words.is_trained}
    accuracies, drawn = words.accuracies(summary), curves.draw(metrics, constants, table, groups)
    numbers = label_free.label_free_numbers(table)
    placed, search = (projection.project(seen), neighbours.search(seen)) if seen else (None, None)
    on_page = {name for name, _, _ in accuracies} | (drawn.names if drawn else set())
    on_page -= (glossary.LABEL_FREE.keys() - glossary.WORDS.keys()) if numbers else set()  # explained in their table
    on_page |= {name for name, part in (("neighbours", search), ("untrained", table), ("collapse", True)) if part}
    on_page |= {placed.method} if placed else set()
    page = environment.get_template("page.html.j2").render(
        title=" on ".join(str(summary[key]) for key in ("method", "data") if summary.get(key)) or "Run",
        summary=summary,
        percent=words.percent,
        test_images=words.number(tested) if tested else "",
        course=words.course(summary, metrics),
        judged=summary.get("verdict"),
        verdict=words.verdict(summary),
        warnings=words.warnings(summary, metrics) + (seen.warnings if seen else []),
        accuracies=layout.even_rows(accuracies, layout.in_threes(accuracies)),
        label_free=numbers,
        config=words.flat(config),
        numbers=words.flat(words.unshown(summary)),
        skipped=summary.get("skipped") or [],
        curves=drawn,
        sheets=contact_sheets.contact_sheets(views, clips.columns if clips else ()) if views is not None else [],
        map=placed,
        neighbours=search,
        clips=clips,
        recall=found.recall_curve(clips.ranks) if clips else "",
        retrieval=found.retrieval_rows(clips.retrieval, tested) if clips else [],
        usage=usage,
        explained=glossary.explained(on_page),
    )
    write_text(path, page)


def _one_line(value: Any) -> Any:
    """Whatever is put into the page, as names are shown; what is HTML already stays."""
    return shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
