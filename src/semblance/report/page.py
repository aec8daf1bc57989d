"""The report of a run: one self-contained HTML file, without network or script."""

from pathlib import Path
from typing import Any

from torch import Tensor

from semblance.report.gallery import Gallery
from semblance.runtime.atomic_files import write_text
from semblance.shown import shown


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
) -> None:
    """Write the report of one run to `path`; every part whose input is missing is left out.

    config: resolved configuration, flat or nested. metrics: the lines of metrics.jsonl, in order.
    summary: method, family, paper, data, backbone, training_seconds, samples_per_second, test_images (how many pictures
    the accuracies are measured on), table (one dict of accuracies in [0, 1] per "encoder"), verdict, skipped ([name,
    reason]).
    clips: the ClipPage (report/clips.py) of a method for clips.
    constants: named levels of the loss. views: uint8 (n_images, 1 + V, 3, S, S), the original first.
    """
    # jinja2, matplotlib and scikit-learn are heavy: only a run that writes its report pays for them.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from semblance.report import contact_sheets, curves, neighbours, projection, words

    seen = neighbours.Embedded.of(gallery) if gallery is not None else None
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_one_line,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        title=" on ".join(str(summary[key]) for key in ("method", "data") if summary.get(key)) or "Run",
        summary=summary,
        percent=words.percent,
        test_images=words.number(tested) if (tested := words.tested(summary)) else "",
        facts=words.facts(summary, metrics),
        judged=summary.get("verdict"),
        verdict=words.verdict(summary),
        warnings=words.warnings(summary, metrics) + (seen.warnings if seen else []),
        accuracies=words.accuracies(summary),
        config=words.flat(config),
        numbers=words.flat(words.unshown(summary)),
        skipped=summary.get("skipped") or [],
        curves=curves.draw(metrics, constants, summary.get("table") or []),
        sheets=contact_sheets.contact_sheets(views, clips.columns if clips else ()) if views is not None else [],
        map=projection.project(seen) if seen else None,
        neighbours=neighbours.search(seen) if seen else None,
        clips=clips,
    )
    write_text(path, page)


def _one_line(value: Any) -> Any:
    """Whatever is put into the page, as names are shown; what is HTML already stays."""
    return shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
