"""Which of a run's networks is the best, by what the log says of them without labels."""

from collections.abc import Mapping, Sequence
from typing import Any

from semblance.evaluation.evidence import finite
from semblance.evaluation.verdict import bands

RANKED_BY = "view_percentile"  # of the label-free numbers


def ranking(line: Mapping[str, Any]) -> float | None:
    """The number of a line of the log by which networks are ranked, higher is better: of what two streams make of a
    sample where there is that, else the mean over streams; None where the line has none."""
    found = {name: value for name, value in line.items() if name.endswith(RANKED_BY) and finite(value)}
    between = f"between_{RANKED_BY}"
    values = [found[between]] if between in found else list(found.values())
    return sum(values) / len(values) if values else None


def collapsed(line: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> bool:
    """Whether features lie in so few of the directions that they had at the start of a log that the verdict calls it
    a collapse."""
    first = next((one for one in lines if one["step"] == 0), {})
    ranks = [name for name in line if name.endswith("_rankme") and finite(line[name]) and finite(first.get(name))]
    return any(low <= line[name] <= high for name in ranks for (low, high), _ in bands(name, {}, first[name]))


def best_step(lines: Sequence[Mapping[str, Any]], above: float | None) -> int | None:
    """The step of the highest, the first of equals, where that is above a number; None where there is none, and never
    that of features which have collapsed. Step 0 is the start."""
    whole = [line for line in lines if not collapsed(line, lines)]
    ranked = [(value, -line["step"]) for line in whole if (value := ranking(line)) is not None]
    value, step = max(ranked, default=(0.0, 0))
    return -step if ranked and above is not None and value > above else None
