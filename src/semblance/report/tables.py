"""Tables as text: headings and cells, for a terminal."""

from typing import Any

Cells = tuple[list[str], list[list[str]]]  # headings, rows

HEADINGS = {"knn_top1": "kNN", "linear_top1": "linear", "svm_top1": "SVM"}


def of_measures(table: list[dict[str, Any]], shown: list[str], title: str = "encoder") -> Cells:
    """Accuracies in [0, 1] of encoders as percent; the more numerous, encoders or measures, are the rows."""
    if len(shown) > len(table):
        cells = [[_heading(name), *(_percent(row[name]) for row in table)] for name in shown]
        return [f"{title}, %", *(row["encoder"] for row in table)], cells
    cells = [[row["encoder"], *(_percent(row[name]) for name in shown)] for row in table]
    return [title, *(f"{_heading(name)} %" for name in shown)], cells


def _heading(name: str) -> str:
    """In words: of size_knn_top1, a measure of the label size, "size kNN"."""
    measure = next((measure for measure in HEADINGS if name.endswith(measure)), "")
    return name.removesuffix(measure).replace("_", " ") + HEADINGS.get(measure, "")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"
