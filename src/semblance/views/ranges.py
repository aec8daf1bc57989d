"""Fields of a view held to the ranges that their annotations say."""

from dataclasses import fields
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError, create_model

from semblance.errors import UserError


def hold_to_ranges(view: Any, kind: type) -> None:
    """Bring the fields of a kind of view to their types, or raise UserError for what is outside of its range."""
    try:
        held = _fields(kind).model_validate(vars(view))
    except ValidationError as error:
        raise UserError(
            *(f"{kind.__name__}: {'.'.join(map(str, e['loc']))}: {e['msg']}, not {e['input']}." for e in error.errors())
        ) from None
    for field in fields(kind):
        object.__setattr__(view, field.name, getattr(held, field.name))  # it is frozen


@cache
def _fields(kind: type) -> type[BaseModel]:
    found: Any = {field.name: (field.type, ...) for field in fields(kind)}
    return create_model(kind.__name__, **found)
