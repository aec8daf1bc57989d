"""Pictures as `data:` addresses, so that the page carries them itself."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from torch import Tensor

SMALL = 40  # sides up to this stay lossless, pixel for pixel
MOST_ROWS = 8


def address(picture: np.ndarray, side: int) -> str:
    """A uint8 (3, H, W) picture, shrunk to fit `side` pixels, as a `data:` address."""
    image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    kind, options = ("png", {"optimize": True}) if max(image.size) <= SMALL else ("jpeg", {"quality": 85})
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode()}"


@dataclass
class Sheet:
    """Rows of addresses under column titles."""

    titles: list[str]
    rows: list[list[str]]


def contact_sheets(views: Tensor, titles: Sequence[str] = ()) -> list[Sheet]:
    """Originals beside their views, in as many sheets as fit next to one another on a wide page.

    views: uint8 (n_images, 1 + V, 3, S, S). titles: of the 1 + V columns; by default those of an original and views.
    """
    columns = views.shape[1]
    titles = list(titles) or ["original", *(f"view {number}" for number in range(1, columns))]
    rows = [[address(picture, 144) for picture in row] for row in views[:MOST_ROWS].cpu().numpy()]
    beside = next(n for n in range(max(1, 10 // columns), 0, -1) if len(rows) % n == 0)
    height = max(1, len(rows) // beside)
    return [Sheet(titles, rows[start : start + height]) for start in range(0, len(rows), height)]
