"""Features of pictures by a frozen backbone, and the raw pixels they are compared with."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.data.loader import PART, in_parts, joined, read_ahead
from semblance.data.pictures.images import Images
from semblance.runtime import random
from semblance.runtime.precision import as_written, autocast
from semblance.views.view import AnyView, View, of_each, plain_view

SIDE = 32  # of raw pixels, at most


def features(backbone: nn.Module, images: Images, *, size: int, precision: str = "32", workers: int = 2) -> Tensor:
    """Pooled features of every picture, the backbone in evaluation mode: float32 (N, D) on the CPU.

    Ranks share the work, so all of them must call this; each gets all features.
    """
    return _rows(backbone, images, lambda raw, index: plain_view(raw, size), precision, workers)


def view_features(
    backbone: nn.Module | None, images: Images, view: AnyView, count: int, *, precision: str = "32", workers: int = 2
) -> Tensor:
    """The same of `count` views of every picture, the same ones whenever asked for: float32 (N, count, D).

    backbone: None for the pixels of the views, at most 32 x 32.
    """
    if backbone is None and isinstance(view, View):
        view = replace(view, size=min(view.size, SIDE))
    rows = []
    for n in range(count):
        look = partial(of_each, view, key=random.key(0, "label-free", n))
        rows.append(_rows(backbone, images, look, precision, workers))
    return torch.stack(rows, 1)


Look = Callable[[Sequence[Tensor], Tensor], Tensor]  # from raw tensors and indices to what a network sees


def _rows(backbone: nn.Module | None, images: Images, look: Look, precision: str, workers: int) -> Tensor:
    if backbone is None:
        pixels = in_parts(images, lambda raw, index: look(raw, index).flatten(1), torch.device("cpu"), workers)
        return joined(pixels, len(images))
    return joined(streamed(backbone, images, look, precision, workers), len(images))


def streamed(
    backbone: nn.Module, images: Images, look: Look, precision: str = "32", workers: int = 2, part: int = PART
) -> Iterator[Tensor]:
    """Features of every picture as they come, of at most `part` pictures at once, the backbone in evaluation mode:
    float32 (n, D) on the backbone's device."""
    weight = next(backbone.parameters())
    training = backbone.training
    backbone.eval()

    def embed(raw: Sequence[Tensor], index: Tensor) -> Tensor:
        x = look(raw, index).to(weight.device, weight.dtype)
        if weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)
        with autocast(precision, weight.device):
            return backbone(x).float()

    with as_written(backbone):
        yield from in_parts(images, embed, weight.device, workers, part=part)
    backbone.train(training)


def telling(images: Images) -> float:
    """The share of pictures that are neither of one colour nor equal to one before, in [0, 1]."""
    told, seen = 0, set()
    for index in torch.arange(len(images)).split(100):
        for picture in images.read(index)[0]:
            key = picture.numpy().tobytes()
            varies = bool((picture.flatten(1).amax(1) > picture.flatten(1).amin(1)).any())
            told += varies and key not in seen
            seen.add(key)
    return told / len(images)


def raw_pixels(train: Images, test: Images, side: int = SIDE, workers: int = 2) -> tuple[Tensor, Tensor]:
    """Pixels as features, at most side x side, standardised by the training set: float32 (N, 3 side^2) each.

    A colour that is the same in every pixel of the training set becomes 0.
    """

    def flat(images: Images) -> Iterator[Tensor]:
        parts = [(index, None) for index in torch.arange(len(images)).split(1000)]
        for pixels, _ in read_ahead(images, parts, workers):
            pixels = pixels.float() / 255
            if pixels.shape[-1] > side:
                pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
            yield pixels.flatten(2)

    sets = [joined(flat(images), len(images)) for images in (train, test)]
    sums = [(rows.double().sum((0, 2)), rows.double().square().sum((0, 2))) for rows in sets[0].split(1000)]
    mean, square = (torch.stack(parts).sum(0) / (len(train) * sets[0].shape[2]) for parts in zip(*sums, strict=True))
    variance = square - mean.square()
    scale = torch.where(variance > 1e-13, variance.rsqrt(), 0)
    for rows in sets:
        rows.sub_(mean.float()[:, None]).mul_(scale.float()[:, None])
    return sets[0].flatten(1), sets[1].flatten(1)
