"""From what a person has, a picture, frames or a wave, to what a network is shown: as when it was measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semblance.data.pictures.canvas import choose_canvas
from semblance.data.pictures.decode import decode, on_canvas, plain
from semblance.errors import UserError
from semblance.views.clip import plain_clip
from semblance.views.sound import SoundView
from semblance.views.view import plain_view


class OfPictures(Protocol):
    """canvas: the side in pixels at which a set of pictures is kept; None where the set decides."""

    @property
    def canvas(self) -> int | None: ...

    def __call__(self, picture: Image.Image) -> Tensor:
        """A picture of any mode and size as a network is shown it: normalised float32 (3, H, W)."""

    def of_file(self, data: bytes, canvas: int, grey_levels: int | None) -> Tensor:
        """The same of the bytes of a picture's file. canvas, grey_levels: of the set.
        Raises OSError or ValueError where they hold no readable picture."""

    def of_canvases(self, pictures: Tensor, sizes: Tensor) -> Tensor:
        """The same of pictures in memory: uint8 (N, 3, S, S) and int32 (N, 2) to float32 (N, 3, H, W)."""


@dataclass(frozen=True)
class AsMeasured:
    """What a run sees of a picture when it is measured, which `embed` shows its backbone too.

    The picture is turned upright, made 8 bits (deep grey from 0 to grey_levels, or on its own scale) and put on a
    square of `canvas` pixels (bicubic). Of it the centre of the true shape is cut (0.875 of the shorter side, or all of
    it up to 64 pixels), resized to size x size (bilinear, antialiased) and normalised by ImageNet's statistics.
    """

    size: int
    load_size: int
    canvas: int | None = None  # a picture alone decides it, where the run does not say
    grey_levels: int | None = None

    def __call__(self, picture: Image.Image) -> Tensor:
        canvas = self.canvas or choose_canvas([(picture.height, picture.width)], self.load_size)
        return self._seen(*on_canvas(picture, canvas, self.grey_levels))

    def of_file(self, data: bytes, canvas: int, grey_levels: int | None) -> Tensor:
        return self._seen(*decode(data, canvas, grey_levels))

    def of_canvases(self, pictures: Tensor, sizes: Tensor) -> Tensor:
        return plain_view((pictures, sizes), self.size)

    def _seen(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        return self.of_canvases(pixels[None], torch.tensor([size], dtype=torch.int32))[0]


@dataclass(frozen=True)
class OfOthers:
    """What the makers of weights show their network: `steps` of timm or torchvision, of an upright RGB picture."""

    steps: Callable[[Image.Image], Tensor]
    canvas: None = None

    def __call__(self, picture: Image.Image) -> Tensor:
        return self.steps(plain(picture))

    def of_file(self, data: bytes, canvas: int, grey_levels: int | None) -> Tensor:
        return self.steps(plain(data, grey_levels))

    def of_canvases(self, pictures: Tensor, sizes: Tensor) -> Tensor:
        own = zip(pictures.cpu().permute(0, 2, 3, 1).numpy(), sizes.tolist(), strict=True)
        return torch.stack(
            [self.steps(Image.fromarray(p).resize((w, h), Image.Resampling.BICUBIC)) for p, (h, w) in own]
        )


@dataclass(frozen=True)
class OfFrames:
    """Of the video network of clips: a window of `frames` pictures, `fps` a second, to normalised (3, frames, S, S).

    `embed` shows three windows of a clip, and takes the mean of their features.
    """

    size: int
    frames: int
    fps: float
    canvas: int | None = None

    def __call__(self, pictures: Sequence[Image.Image]) -> Tensor:
        if isinstance(pictures, Image.Image) or len(pictures) != self.frames:
            raise UserError(f"This network sees {self.frames} frames, {self.fps:g} a second: give as many pictures.")
        canvas = self.canvas or choose_canvas([(p.height, p.width) for p in pictures], self.size)
        pixels, sizes = zip(*(on_canvas(p, canvas) for p in pictures), strict=True)
        return plain_clip((torch.stack(pixels)[None], torch.tensor(sizes[:1], dtype=torch.int32)), self.size)[0]


@dataclass(frozen=True)
class OfSound:
    """Of the audio network of clips: a window of one channel, (samples,) in [-1, 1] at `sound.rate`, to a log
    spectrogram in dB (1, time, bins). `embed` hears three windows of a clip, and takes the mean of their features."""

    sound: SoundView

    def __call__(self, wave: Tensor | np.ndarray) -> Tensor:
        heard = torch.as_tensor(wave, dtype=torch.float32)
        if heard.shape != (self.sound.samples,):
            raise UserError(
                f"This network hears {self.sound.samples:,} samples of one channel, {self.sound.rate:,} a second: "
                f"{self.sound.seconds:g} s; this has the shape {tuple(heard.shape)}."
            )
        return self.sound.plain(heard[None])[0]


def canvas_of(about: Mapping[str, Any]) -> int | None:
    """The side in pixels at which a run kept pictures, by its checkpoint or its backbone's file; None of older ones."""
    canvas = about.get("canvas")
    return canvas if type(canvas) is int and 1 <= canvas <= 1 << 14 else None


def transform_of(about: Mapping[str, Any]) -> Any:
    """What a backbone's file says of how its network was shown samples; None where it does not say it."""
    size, canvas = about.get("image_size"), canvas_of(about)
    if "backbone" in about and size is not None:
        return AsMeasured(size, about.get("load_size") or size, canvas, about.get("grey_levels"))
    if "video_backbone" in about and size is not None and {"frames", "fps"} <= about.keys():
        return OfFrames(size, about["frames"], about["fps"], canvas)
    return OfSound(SoundView(**about["sound"])) if "audio_backbone" in about else None
