"""Samples beside what the network was shown of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from semblance.report.thumbnails import BLOCKY, address

SIDE = 160  # pixels of a view, at most
MOST_ROWS = 8


@dataclass
class Sheet:
    """Rows of addresses under column titles; blocky: whether they are so small that pixels are shown as squares."""

    titles: list[str]
    rows: list[list[str]]
    blocky: bool


def contact_sheets(views: Tensor, titles: Sequence[str] = ()) -> list[Sheet]:
    """Originals beside their views, in as many sheets as fit next to one another on a wide page.

    views: uint8 (n_images, 1 + V, 3, S, S). titles: of the 1 + V columns; by default those of an original and views.
    """
    columns = views.shape[1]
    titles = list(titles) or ["original", *(f"view {number}" for number in range(1, columns))]
    rows = [[address(picture, SIDE) for picture in row] for row in views[:MOST_ROWS].cpu().numpy()]
    beside = next(n for n in range(max(1, 10 // columns), 0, -1) if len(rows) % n == 0)
    height = max(1, len(rows) // beside)
    blocky = views.shape[-1] <= BLOCKY
    return [Sheet(titles, rows[start : start + height], blocky) for start in range(0, len(rows), height)]
