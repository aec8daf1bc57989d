"""Tables as text: headings and cells, for a terminal."""

from typing import Any

Cells = tuple[list[str], list[list[str]]]  # headings, rows

HEADINGS = {"knn_top1": "kNN", "linear_top1": "linear", "svm_top1": "SVM"}
LABEL_FREE = {"view_percentile": "other view nearer than, %", "repeatability": "repeatability, %"}


def of_measures(table: list[dict[str, Any]], shown: list[str], title: str = "encoder") -> Cells:
    """Accuracies in [0, 1] of encoders as percent; the more numerous, encoders or measures, are the rows."""
    if len(shown) > len(table):
        cells = [[_heading(name), *(_percent(row[name]) for row in table)] for name in shown]
        return [f"{title}, %", *(row["encoder"] for row in table)], cells
    cells = [[row["encoder"], *(_percent(row[name]) for name in shown)] for row in table]
    return [title, *(f"{_heading(name)} %" for name in shown)], cells


def without_labels(table: list[dict[str, Any]]) -> list[Cells]:
    """Of each stream, where encoders find the other view of a sample, and what of their spread is of the sample."""
    streams = dict.fromkeys(stream for row in table for stream in row.get("label_free", {}))
    shown: list[Cells] = []
    for stream in streams:
        rows = [(row["encoder"], row["label_free"][stream]) for row in table if stream in row.get("label_free", {})]
        names = [name for name in LABEL_FREE if all(name in found for _, found in rows)]
        cells = [[encoder, *(_with_interval(found[name]) for name in names)] for encoder, found in rows]
        shown.append(([stream if len(streams) > 1 else "encoder", *(LABEL_FREE[name] for name in names)], cells))
    return shown


def _with_interval(ends: list[float]) -> str:
    value, low, high = (100 * end for end in ends)
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def _heading(name: str) -> str:
    """In words: of size_knn_top1, a measure of the label size, "size kNN"."""
    measure = next((measure for measure in HEADINGS if name.endswith(measure)), "")
    return name.removesuffix(measure).replace("_", " ") + HEADINGS.get(measure, "")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"
