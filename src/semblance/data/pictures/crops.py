"""Crops of pictures cut from their own pixels, where canvases would resample them twice."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from semblance.data.pictures.decode import Cuts, cut_array
from semblance.data.pictures.images import Images
from semblance.data.samples import Reader, Samples, Skipped
from semblance.views.view import AnyView, View, numbered


class Crops:
    """The samples of a set as views see them: the crops of each recipe, resized, for `make_views` to distort.

    Boxes are hashes, so each is known before its picture is decoded, once for all its crops. They are those that
    `make_views` would draw on the canvases.
    """

    at_hand = False

    def __init__(self, images: Images, views: Sequence[View]) -> None:
        # workers get a copy of this, without canvases where there are files
        self.images = images if images.cut is None else replace(images, pixels=None, sizes=None)
        self.views = views

    def __len__(self) -> int:
        return len(self.images)

    @property
    def skipped(self) -> Skipped:
        return self.images.skipped

    def read(self, index: Sequence[int] | Tensor, key: int | None = None) -> tuple[Tensor, ...]:
        """Crops of the given pictures: uint8 (n, count, 3, side, side) of each recipe. key: of the step's views."""
        assert key is not None
        crops = [self._of(i, key) for i in torch.as_tensor(index).tolist()]
        none = [torch.empty(0, view.count, 3, view.side, view.side, dtype=torch.uint8) for view in self.views]
        return tuple(torch.stack(recipe) for recipe in zip(*crops, strict=True)) if crops else tuple(none)

    def _of(self, i: int, key: int) -> list[Tensor]:
        """Crops (count, 3, side, side) of picture i for each recipe."""

        def draw(height: int, width: int) -> list[Cuts]:
            cuts = []
            for view, keys in numbered(self.views, key):
                sizes, index = torch.tensor([[height, width]]).expand(view.count, 2), torch.full((view.count,), i)
                cuts.append(Cuts(view.boxes(sizes, index, keys), view.side, view.bicubic))
            return cuts

        def cut(item: Any) -> list[Tensor]:
            if self.images.cut is not None:
                return self.images.cut(item, draw)
            return cut_array(self.images.read([i])[0][0].permute(1, 2, 0).numpy(), draw)

        return self.images.or_next(i, cut)


def as_trained(samples: Samples, views: Sequence[AnyView], crop_from: Literal["original", "canvas"]) -> Reader:
    """What reads samples as `make_views` takes them in training: crops of the originals, or as they are kept."""
    if crop_from == "canvas":
        return samples
    assert isinstance(samples, Images)
    return Crops(samples, [view for view in views if isinstance(view, View)])
