"""The view of a clip's frames: one draw of crop, flip and distortion for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from semblance.runtime import random
from semblance.views.ranges import hold_to_ranges
from semblance.views.view import View, plain_view


@dataclass(frozen=True)
class ClipView:
    """How long a window of video is, and what happens to its frames."""

    picture: View
    frames: Annotated[int, Field(ge=1, le=10_000)] = 8
    fps: Annotated[float, Field(gt=0, le=1000)] = 16.0
    count: Literal[1] = 1

    def __post_init__(self) -> None:
        hold_to_ranges(self, ClipView)

    @property
    def size(self) -> int:
        return self.picture.size

    @property
    def seconds(self) -> float:
        return self.frames / self.fps

    def scaled(self, ratio: float) -> "ClipView":
        """The same view for another size of pictures."""
        return replace(self, picture=self.picture.scaled(ratio))

    def make(self, raw: Sequence[Tensor], index: Tensor, key: int | Tensor) -> Tensor:
        """Frames uint8 (N, T, 3, S, S), sizes (N, 2) and sounds to normalised float32 (N, 3, T, size, size).

        View draws by dataset index, which the frames of a clip share, so they share every random choice.
        """
        frames, sizes = raw[:2]
        t = frames.shape[1]
        each = (frames.flatten(0, 1), sizes.repeat_interleave(t, 0))
        return _clips(self.picture.make(each, index.repeat_interleave(t), random.repeated(key, t)), t)


def plain_clip(raw: Sequence[Tensor], size: int) -> Tensor:
    """The undistorted view of a clip: as of a picture, for every frame; float32 (N, 3, T, size, size)."""
    frames, sizes = raw[:2]
    t = frames.shape[1]
    return _clips(plain_view((frames.flatten(0, 1), sizes.repeat_interleave(t, 0)), size), t)


def _clips(frames: Tensor, t: int) -> Tensor:
    """(N * T, C, H, W) -> (N, C, T, H, W), contiguous."""
    return torch.stack(frames.unflatten(0, (-1, t)).unbind(1), 2)
