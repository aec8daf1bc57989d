"""A number that speaks for a verdict or against it."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Evidence:
    """A number, what it is held against, how that reads, and what the reference is in words."""

    name: str
    value: float
    reference: float | None
    reads: str
    against: str = "before training"


def in_format(text: str) -> str:
    """Text as a part of what is formatted."""
    return text.replace("{", "{{").replace("}", "}}")


def finite(value: Any) -> bool:
    """Whether a value of a log is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
