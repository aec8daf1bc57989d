"""Passes over the whole training set, for methods that cluster it or label it by optimal transport."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor

from semblance.data.loader import in_parts
from semblance.data.pictures.crops import as_trained
from semblance.data.samples import Reader, Samples
from semblance.engine.divergence import Divergence
from semblance.runs.config import TrainConfig
from semblance.runtime import random
from semblance.runtime.precision import autocast
from semblance.runtime.progress import Progress
from semblance.views.view import make_views, plain_view

T = TypeVar("T")


class WholeSet:
    """Every sample of the training set, N in all, for work between steps; ranks share it and get the same results."""

    def __init__(
        self, samples: Samples, config: TrainConfig, device: torch.device, progress: Progress, divergence: Divergence
    ) -> None:
        self.samples, self.config, self.device, self.progress = samples, config, device, progress
        self.divergence = divergence

    def plain(self, embed: Callable[[Tensor], Tensor]) -> Tensor:
        """`embed` of the undistorted pictures (n, 3, size, size): (N, ...) on the device.

        Rows keep the dtype that training computes them in, which may be half precision.
        """
        order = torch.arange(len(self.samples))

        def make(raw: Sequence[Tensor], index: Tensor) -> list[Tensor]:
            return [plain_view(raw, self.config.image_size)]

        return self._rows(self.samples, order, None, make, lambda v: embed(v[0]))

    def crops(self, embed: Callable[[list[Tensor]], Tensor], step: int) -> Tensor:
        """`embed` of training views, drawn apart from those of the step itself: (N, ...).

        In random order, as in training: in the order of class folders, batch norms would see one class at a time.
        """
        seed = random.key(self.config.seed, "whole set")
        order = random.permutation(random.key(seed, "order", step), len(self.samples))

        def make(raw: Sequence[Tensor], index: Tensor) -> list[Tensor]:
            return make_views(self.config.views, raw, index, seed=seed, step=step)

        cropped = as_trained(self.samples, self.config.views, self.config.crop_from)
        return self._rows(cropped, order, random.key(seed, "view", step), make, embed)

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """The items in turn, with a progress bar."""
        self.divergence.check()  # embeddings that are not finite cannot be grouped
        return self.progress.track(items, what)

    def _rows(
        self, samples: Reader, order: Tensor, key: int | None, make: Callable[..., list[Tensor]],
        embed: Callable[[list[Tensor]], Tensor],
    ) -> Tensor:  # fmt: skip
        dtype = torch.float64 if self.config.precision == "64" else torch.float32

        def rows(raw: Sequence[Tensor], index: Tensor) -> Tensor:
            views = [view.to(dtype, memory_format=self.config.layout) for view in make(raw, index)]
            with autocast(self.config.precision, self.device):
                return embed(views)

        def track(parts: Sequence[Tensor]) -> Iterator[Tensor]:
            return self.track(parts, "embedding every picture")

        with closing(in_parts(samples, rows, self.device, self.config.workers, track, order, key)) as parts:
            first = next(parts)
            found = first.new_empty(len(order), *first.shape[1:])  # joining the parts would take twice the memory
            places = order.to(self.device)
            for part in chain([first], parts):
                found[places[: len(part)]] = part
                places = places[len(part) :]
        return found
