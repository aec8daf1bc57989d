"""The side of the square that all pictures of a set are stored at."""

from collections.abc import Sequence
from math import ceil, sqrt
from statistics import median


def choose_canvas(sizes: Sequence[tuple[int, int]], image_size: int) -> int:
    """Canvas side for pictures of the given (height, width) when views of `image_size` pixels are cut from them.

    The median of sqrt(height * width), so that most pictures are not enlarged, but at most 1.5 * image_size (rounded
    up to a multiple of 16): random crops take half of the area or so, and more pixels than the crop is resized to would
    only cost memory. Pictures that are all square and alike keep their size up to twice that limit, since not
    resampling at all keeps them exact.
    """
    limit = ceil(1.5 * image_size / 16) * 16
    height, width = sizes[0]
    if set(sizes) == {(width, width)} and width <= 2 * limit:
        return width
    return min(round(median(sqrt(height * width) for height, width in sizes)), limit)
