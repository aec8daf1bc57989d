"""Labels in arrays: of pictures and of clips, of both parts."""

from collections.abc import Sequence

import numpy as np
import torch

from semblance.data.samples import UNKNOWN, Attribute
from semblance.data.split_folders import unmatched
from semblance.data.splits import may_be_none
from semblance.errors import UserError
from semblance.shown import shown

Label = int | float | str


def attributes_of(
    given: Sequence[np.ndarray | None], classes: Sequence[str] | None = None
) -> tuple[list[dict[str, Attribute]], list[str]]:
    """The attribute "class" of each part, and notes; given: labels (N,) of each part, None where it has none.

    Labels are indices into `classes` or, without it, any values: their sorted distinct ones are then the classes. -1 is
    a sample without a label, but beside 1 alone, where it is the other of two classes; so are NaN and "". A UserError
    where they are neither numbers nor text.
    """
    notes: list[str] = []
    named = [None if labels is None else _named(labels) for labels in given]
    found = {value for labels in named if labels is not None for value in labels}
    if any(isinstance(value, str) and value for value in found):
        named = [None if labels is None else [str(value) for value in labels] for labels in named]
        found = {str(value) for value in found}
    values = sorted(found - {""}, key=_order)
    if values == [-1, 1] and classes is None:
        notes.append("The labels are -1 and 1, taken for two classes.")
    else:
        values = [value for value in values if str(value) != "-1"]
    names = [str(value) for value in values] if classes is None else list(classes)
    index: dict[Label, int] = {value: i for i, value in enumerate(values if classes is None else range(len(names)))}
    parts = [None if labels is None else [index.get(value, UNKNOWN) for value in labels] for labels in named]
    unknown = sum(part.count(UNKNOWN) for part in parts if part is not None)
    present = [{names[i] for i in part if i != UNKNOWN} for part in parts if part is not None]
    if not any(present):
        parts = [None] * len(parts)
    elif len(present) == 2 and len(parts) == 2:
        notes += unmatched(present[0], present[1], what="label")
        parts = parts if present[0] & present[1] else [None, None]
    elif len(parts) == 2 and present:
        notes.append("Only one of the training and the test part has labels.")
    for label in sorted(name for name in names if classes is None and name != "-1" and may_be_none(name)):
        count = sum(part.count(names.index(label)) for part in parts if part is not None)
        if count:
            notes.append(f"{count:,} labels are {shown(label)}, taken for a class; give -1 or blank if it is none.")
    if unknown:
        notes.append(f"{unknown:,} labels are -1 or blank: those samples have none.")
    kinds = [{} if part is None else {"class": Attribute(torch.tensor(part), names)} for part in parts]
    return kinds, notes


def _named(labels: np.ndarray) -> list[Label]:
    """Labels as numbers, whole ones as int, or as text; "" for NaN."""
    if labels.dtype.kind not in "biufSU":
        raise UserError(f"The labels are {labels.dtype}: give whole numbers or text, one for each sample.")
    found: list[Label] = []
    for value in labels.tolist():
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
            value = int(value)
        found.append(value if value == value else "")
    return found


def _order(value: Label) -> tuple[bool, int | float, str]:
    """Numbers by size, then text."""
    return (True, 0, value) if isinstance(value, str) else (False, value, "")
