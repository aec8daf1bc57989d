"""Which number without labels ranks networks as labels do, by the runs of benchmarks/verdicts.py.

    python benchmarks/correlations.py FOLDER/runs.jsonl [--data shapes]

Spearman correlations with the accuracy of kNN on held-out labels: within each run over its evaluations, the start and
the end among them, averaged over runs; and over the ends of runs, with kNN and with the linear probe. Intervals are
95 %, by drawing runs with replacement. Pictures only; `alignment` is a distance, so a low one is near.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from judging import condition_of, read
from scipy.stats import spearmanr

NUMBERS = (
    "view_percentile", "view_first", "unit_deviation", "deviation", "rankme", "alignment", "repeatability",
    "uniformity", "two_nn", "tree_dimension", "lidar",
)  # fmt: skip
FEWEST = 4  # evaluations of a run
DRAWS = 1000
Points = Sequence[tuple[float, float]]


def over_time(kept: dict[str, Any], number: str) -> Points:
    """(number, kNN) of a run at each of its evaluations."""
    ends = [(line.get(f"pictures_{number}"), line.get("knn_top1")) for line in kept["lines"]]
    return [pair for pair in [*ends, at_the_end(kept, number, "knn_top1")] if None not in pair]


def at_the_end(kept: dict[str, Any], number: str, accuracy: str) -> tuple[Any, Any]:
    row = kept["rows"][-1] if kept["rows"] else {}
    return row.get("label_free", {}).get("pictures", {}).get(number, [None])[0], row.get(accuracy)


def correlation(points: Points) -> float:
    """nan where one of the two stands still."""
    x, y = np.array(points, dtype=float).T
    return float(spearmanr(x, y).statistic) if np.ptp(x) and np.ptp(y) else float("nan")


def within(runs: Sequence[Points]) -> float:
    return float(np.nanmean([correlation(points) for points in runs]))


def interval(statistic: Callable[[Any], float], runs: Sequence[Any]) -> str:
    """With the ends of its interval."""
    rng = np.random.default_rng(0)
    drawn = [statistic([runs[i] for i in rng.integers(0, len(runs), len(runs))]) for _ in range(DRAWS)]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return f"{statistic(runs):+.2f} ({low:+.2f} to {high:+.2f})"


def tell(title: str, runs: list[dict[str, Any]]) -> None:
    print(f"\n{title}\n\n| number | within runs, kNN | over runs, kNN | over runs, linear |\n|---|---|---|---|")
    for number in NUMBERS:
        each = [points for kept in runs if len(points := over_time(kept, number)) >= FEWEST]
        each = [points for points in each if np.isfinite(correlation(points))]
        cells = [interval(within, each) if each and number != "lidar" else "at the end only"]
        for accuracy in ("knn_top1", "linear_top1"):
            ends = [pair for kept in runs if None not in (pair := at_the_end(kept, number, accuracy))]
            cells.append(interval(correlation, ends) if len(ends) > 2 else "")
        print(f"| {number} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", default="shapes")
    asked = parser.parse_args()
    runs = [kept for kept in read(asked.runs) if condition_of(kept).data == asked.data]
    for title, chosen in (
        ("healthy", lambda c: c.what == "healthy" and c.method != "simsiam"),
        ("SimSiam, healthy", lambda c: c.what == "healthy" and c.method == "simsiam"),
        ("all, sick ones among them", lambda c: c.what != "a tenth of an epoch" and c.method != "simsiam"),
    ):
        of = [kept for kept in runs if chosen(condition_of(kept))]
        if of:
            tell(f"{title}: {len(of)} runs", of)


if __name__ == "__main__":
    main()
