"""A number that speaks for a verdict or against it."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Evidence:
    """A number, what it is held against, and how that reads."""

    name: str
    value: float
    reference: float | None
    reads: str


def finite(value: Any) -> bool:
    """Whether a value of a log is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
