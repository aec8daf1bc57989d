"""A view: the recipe of one kind of random crop with its distortions, applied to a whole batch on its device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Protocol, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from semblance.errors import UserError
from semblance.runtime import random
from semblance.runtime.device import send
from semblance.views.blur import gaussian_blur, kernel_size
from semblance.views.boxes import LAWS, centre_boxes, on_canvas
from semblance.views.colour import ORDERS, grey, jitter, solarize
from semblance.views.crop import resized_crop
from semblance.views.jigsaw import cut, mosaic
from semblance.views.ranges import hold_to_ranges

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as timm and torchvision backbones expect

CENTRE = 0.875  # of the shorter side, as in Resize(256) and CenterCrop(224); small images are used whole


Chance = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=1, le=4096)]  # in pixels
AboveZero = Annotated[float, Field(gt=0, le=1000)]
Degree = Annotated[float, Field(ge=0, le=1000)]


@dataclass(frozen=True)
class View:
    """Parameters of random crops and distortions, in torchvision's terms; probabilities `*_p` are per image.

    Order: crop, flip, colour jitter, greyscale, blur, solarize, normalise (SimCLR, BYOL, SwAV, Barlow Twins).
    With a grid, the crop is cut into grid x grid cells; a patch of each is flipped and distorted on its own, and the
    view is the shuffled mosaic of them (PIRL).
    """

    size: Side  # side of the crop in pixels; with a grid, of a patch
    count: Annotated[int, Field(ge=1, le=1000)] = 1  # how many such crops of each image
    scale: tuple[Chance, Chance] = (0.08, 1.0)  # area fraction of the crop
    ratio: tuple[AboveZero, AboveZero] = (3 / 4, 4 / 3)
    law: Literal["torchvision", "simclr", "byol"] = "torchvision"  # that boxes are drawn by (views/boxes.py)
    bicubic: bool = False
    flip_p: Chance = 0.5
    jitter: tuple[Degree, Degree, Degree, Degree] = (
        0.0,
        0.0,
        0.0,
        0.0,
    )  # brightness, contrast, saturation, hue
    jitter_p: Chance = 0.8
    hsv: bool = False  # saturation is scaled in HSV (tf.image.adjust_saturation), else blended with the grey picture
    grey_p: Chance = 0.2
    blur_p: Chance = 0.0
    sigma: tuple[AboveZero, AboveZero] = (0.1, 2.0)  # of the blur, in pixels
    blur_cut: bool = False  # its kernel ends at a tenth of the side, as in SimCLR and BYOL
    solarize_p: Chance = 0.0
    grid: Annotated[int, Field(ge=1, le=100)] = 1
    cell: Annotated[int, Field(ge=0, le=4096)] = 0  # side of a cell of the grid in pixels

    def __post_init__(self) -> None:
        hold_to_ranges(self, View)

    def __call__(self, pictures: Tensor, sizes: Tensor, index: Tensor, key: int | Tensor) -> Tensor:
        """One crop of each picture.

        pictures: uint8 (N, 3, S, S) canvases on any device; on the CPU, sizes: int32 (N, 2) original heights and
        widths, and index: int64 (N,) dataset indices, which with `key` fix every random choice. Returns float32
        (N, 3, size, size) in [0, 1], with a grid (N, 3, grid * size, grid * size).
        """
        boxes = on_canvas(self.boxes(sizes, index, key), sizes, pictures.shape[-1])
        if self.grid == 1:
            u = self._draws(key, index)
            x = resized_crop(pictures, boxes, self.size, bicubic=self.bicubic, flip=u[:, 0] < self.flip_p)
            return self._distorted(x, u)
        whole = torch.zeros_like(index, dtype=torch.bool)
        return self.of_crops(resized_crop(pictures, boxes, self.side, bicubic=self.bicubic, flip=whole), index, key)

    @property
    def side(self) -> int:
        """Of the crop in pixels, before a grid cuts it."""
        return self.grid * self.cell if self.grid > 1 else self.size

    def boxes(self, sizes: Tensor, index: Tensor, key: int | Tensor) -> Tensor:
        """What is cropped, in pixels of the original pictures: int64 (N, 4) top, left, height, width."""
        return LAWS[self.law](random.key(key, "crop"), index, sizes, self.scale, self.ratio)

    def of_crops(self, x: Tensor, index: Tensor, key: int | Tensor) -> Tensor:
        """The same of crops that are cut and resized already: float (N, 3, side, side) on the scale of bytes, which is
        overwritten."""
        if self.grid > 1:
            x = cut(x, self.grid, self.size, index, key)
            count = self.grid**2
            index = (index[:, None] * count + torch.arange(count)).flatten()
            key = random.repeated(key, count)
        u = self._draws(key, index)
        x = self._distorted(_where(u[:, 0] < self.flip_p, x, lambda part, at: part.flip(3)), u)
        return mosaic(x, self.grid) if self.grid > 1 else x

    def scaled(self, ratio: float) -> "View":
        """The same view for another size of pictures, small crops in proportion."""
        return replace(self, size=round(self.size * ratio), cell=round(self.cell * ratio))

    def make(self, raw: Sequence[Tensor], index: Tensor, key: int | Tensor) -> Tensor:
        """One normalised crop of each picture, given as (canvases, sizes): float32 (N, 3, size, size)."""
        return normalise(self(raw[0], raw[1], index, key))

    def _draws(self, key: int | Tensor, index: Tensor) -> Tensor:
        """A row of uniform numbers per image: what happens (6), jitter factors (4), order (1), sigma (1)."""
        return random.uniform(random.key(key, "distort"), index, 12)

    def _distorted(self, x: Tensor, u: Tensor) -> Tensor:
        """Crops on the scale of bytes (N, 3, size, size) to distorted ones in [0, 1]; x is overwritten."""
        x = x.mul_(1 / 255).clamp_(0, 1)
        if any(self.jitter):
            factors = self._jitter_factors(u[:, 6:10])
            orders = ORDERS[(u[:, 10] * len(ORDERS)).long()]
            x = _where(u[:, 1] < self.jitter_p, x, lambda part, at: jitter(part, factors[at], orders[at], self.hsv))
        x = _where(u[:, 2] < self.grey_p, x, lambda part, at: grey(part))
        taps = kernel_size(self.size, self.sigma[1], cut=self.blur_cut)
        sigma = self.sigma[0] + u[:, 11] * (self.sigma[1] - self.sigma[0])
        x = _where(u[:, 3] < self.blur_p, x, lambda part, at: gaussian_blur(part, sigma[at], taps))
        return _where(u[:, 4] < self.solarize_p, x, lambda part, at: solarize(part, 0.5))

    def _jitter_factors(self, u: Tensor) -> Tensor:
        """Factors uniform in [max(0, 1 - s), 1 + s], the hue shift uniform in [-s, s]."""
        strength = torch.tensor(self.jitter)
        low = torch.cat([(1 - strength[:3]).clamp(min=0), -strength[3:]])
        high = torch.cat([1 + strength[:3], strength[3:]])
        return low + u * (high - low)


def _where(chosen: Tensor, x: Tensor, operation) -> Tensor:
    """Apply an operation to the chosen images only, given them and their indices on the CPU."""
    at = chosen.nonzero()[:, 0]
    if len(at):
        there = send(at, x.device)
        x[there] = operation(x[there], at).expand(-1, 3, -1, -1)
    return x


def normalise(x: Tensor) -> Tensor:
    """Images in [0, 1] to zero mean and unit variance by ImageNet's statistics."""
    mean, std = (send(torch.tensor(c), x.device)[:, None, None] for c in (MEAN, STD))
    return (x - mean) / std


class AnyView(Protocol):
    """The recipe of a view of samples: of pictures, of the frames of clips, of sounds."""

    @property
    def count(self) -> int:
        """How many such views of each sample."""

    def scaled(self, ratio: float) -> "AnyView":
        """The same view for another size of pictures."""

    def make(self, raw: Sequence[Tensor], index: Tensor, key: int | Tensor) -> Tensor:
        """A view of each sample. raw: what the data set reads, pixels on any device and sizes on the CPU; index: int64
        (N,) on the CPU, which with `key`, one for all or one per row, fixes every random choice."""


V = TypeVar("V", bound=AnyView)


def make_views(views: Sequence[AnyView], raw: Sequence[Tensor], index: Tensor, *, seed: int, step: int) -> list[Tensor]:
    """Every view of a batch as the network takes it: a list of float32 (N, ...), of pictures (N, 3, size, size) by
    ImageNet's mean and deviation.

    View v of a sample depends on (seed, step, dataset index, v) only. Views of one recipe are made in one go:
    one at a time, a GPU would wait for its next kernels.

    views: a list of recipes, each of which makes as many views as its `count` says.
    raw: what the data set reads. Of pictures, square canvases uint8 (N, 3, S, S), from 0 to 255, on any device, and
        sizes (N, 2) on the CPU, the height and width of each picture, whole numbers from 1 on; or the crops of each
        recipe, uint8 (N, count, 3, side, side) (data/pictures/crops.py).
    index: int64 (N,) on the CPU, the number of each sample in its set.
    seed, step: whole numbers; the same give the same views.
    Raises UserError for what has another shape or type of number, and for a view that makes other than a row for each
    sample.
    """
    _check(views, raw, index)
    made: list[Tensor] = []
    for place, (view, keys) in enumerate(numbered(views, random.key(seed, "view", step))):
        key, rows = keys.repeat_interleave(len(index)), _times(index, view.count)
        if isinstance(view, View) and raw[0].ndim == 5:
            x = normalise(view.of_crops(raw[place].transpose(0, 1).flatten(0, 1).float(), rows, key))
        else:
            x = of_each(view, [_times(t, view.count) for t in raw], rows, key)
        made += x.split(len(index))
    return made


def of_each(view: AnyView, raw: Sequence[Tensor], index: Tensor, key: int | Tensor) -> Tensor:
    """A view of each sample, by a class that may be somebody's own."""
    x = view.make(raw, index, key)
    pictures = len(raw) == 2 and raw[0].ndim == 4 and raw[0].dtype == torch.uint8  # canvases and sizes
    if not isinstance(x, Tensor) or x.shape[:1] != index.shape or (pictures and x.ndim != 4):
        raise UserError(
            f"{type(view).__name__}.make gives {_kind(x)}: a tensor with a row for each of the {len(index)} samples is "
            "wanted, of pictures (N, 3, size, size)."
        )
    return x


def _check(views: Sequence[AnyView], raw: Sequence[Tensor], index: Tensor) -> None:
    """Raise UserError unless views can be made of these."""
    if not isinstance(views, Sequence) or not all(hasattr(view, "make") for view in views):
        raise UserError(f"views is a list of views, such as [View(32, count=2)], not {_kind(views)}.")
    if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.ndim != 1 or index.device.type != "cpu":
        raise UserError(f"index is the number of each sample, a tensor int64 (N,) on the CPU, not {_kind(index)}.")
    if not any(isinstance(view, View) for view in views) or (isinstance(raw[0], Tensor) and raw[0].ndim == 5):
        return
    if len(raw) < 2:
        raise UserError("raw is a list of canvases and sizes, [pictures, sizes].")
    pictures, sizes, n = raw[0], raw[1], len(index)
    fits = isinstance(pictures, Tensor) and pictures.shape == (n, 3, *pictures.shape[-1:] * 2)
    if not fits or pictures.dtype != torch.uint8:
        raise UserError(
            f"Pictures are on square canvases, a tensor uint8 (N, 3, S, S) of N = {n} as in index, not "
            f"{_kind(pictures)}."
        )
    fits = isinstance(sizes, Tensor) and sizes.shape == (n, 2) and sizes.device.type == "cpu"
    if not fits or sizes.is_floating_point() or (n and int(sizes.min()) < 1):
        raise UserError(
            f"Sizes are the height and width of each picture, a tensor of whole numbers (N, 2) from 1 on, on the CPU, "
            f"of N = {n} as in index, not {_kind(sizes)}{f' from {sizes.min()} on' if fits else ''}."
        )


def _kind(given: Any) -> str:
    if not isinstance(given, Tensor):
        return type(given).__name__
    return f"{str(given.dtype).removeprefix('torch.')} {tuple(given.shape)} on the {given.device.type}"


def numbered(views: Sequence[V], key: int) -> Iterator[tuple[V, Tensor]]:
    """Each recipe with the keys of its views, int64 (count,), from the key of a step."""
    first = 0
    for view in views:
        yield view, torch.tensor([random.key(key, v) for v in range(first, first + view.count)])
        first += view.count


def _times(t: Tensor, count: int) -> Tensor:
    """All rows (N, ...), repeated `count` times: (count N, ...)."""
    return t.repeat(count, *[1] * (t.ndim - 1)) if count > 1 else t


def plain_view(raw: Sequence[Tensor], size: int) -> Tensor:
    """The undistorted view: uint8 (N, 3, S, S) canvases and sizes (N, 2) to normalised float32 (N, 3, size, size)."""
    pictures, sizes = raw
    boxes = on_canvas(centre_boxes(sizes, CENTRE if size > 64 else 1.0), sizes, pictures.shape[-1])
    flip = torch.zeros(len(pictures), dtype=torch.bool)
    return normalise(resized_crop(pictures, boxes, size, bicubic=False, flip=flip) / 255)
