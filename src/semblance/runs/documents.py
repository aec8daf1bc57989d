"""YAML and JSON that anybody may have written: read within bounds, or refused in a line."""

import json
from pathlib import Path
from typing import Any

import yaml

from semblance.runtime.bounded_text import read_text

MOST_BYTES = 1 << 18  # of a YAML file; a config.yaml has some thousands
MOST_VALUES = 20_000  # in it, each alias counted as all that it stands for


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. Raises OSError, and ValueError in one line for what is none or unfolds without end."""
    text = read_text(path, MOST_BYTES)
    try:
        values = yaml.safe_load(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    waiting, seen = [values], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > MOST_VALUES:
            raise ValueError("it unfolds to more than a configuration holds")
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            waiting += value
    return values


def read_json(text: str) -> Any:
    """What a JSON text holds; a ValueError for what is none."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def brief(value: object) -> str:
    """A value for a message: what Python writes of it, cut short."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # a number of thousands of digits has no text
        text = f"a value of the type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
