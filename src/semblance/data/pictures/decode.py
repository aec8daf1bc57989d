"""One picture: file bytes to a square uint8 RGB canvas, or to crops of its own pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from PIL import Image, JpegImagePlugin
from torch import Tensor

from semblance.data.pictures.eight_bit import DeepValues, EightBit, eight_bit, has_deep_values
from semblance.data.pictures.opened import LARGE, Remark, opened, orientation, room, unheard

# JPEG decodes at 1/2, 1/4 or 1/8 scale cheaply. From 3 times the canvas on, that differs from the full decode by less
# than one grey level in the mean: 0.35 at most over photographs, 0.97 on white noise (at 2 times: 0.62 and 1.76). Crops
# keep 0.986 to 0.996 of their energy in the mean over photographs side by side, 0.974 at least (at 2 times 0.954).
_DRAFT_MARGIN = 3

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(
    data: bytes, canvas: int, top: float | None = None, remark: Remark = unheard
) -> tuple[Tensor, tuple[int, int]]:
    """Picture in the bytes of an image file as uint8 (3, canvas, canvas), and its upright (height, width).

    Antialiased bicubic resize; a picture of canvas x canvas comes back bit for bit. EXIF orientation is applied,
    transparency is composited on white, the first page or frame is taken, which is remarked. Values of
    more than 8 bits are scaled from 0 to what the file says is the largest, or else to `top`, or else on the smallest
    usual scale that holds them.
    Raises OSError or ValueError with a short reason where the bytes hold no readable picture.
    """
    with opened(data, remark) as image:
        return _on_canvas(image, data, canvas, top, remark)


def on_canvas(picture: Image.Image, canvas: int, top: float | None = None) -> tuple[Tensor, tuple[int, int]]:
    """The same of a picture of Pillow's, of any mode: from its file's bytes as long as it is not loaded, since files
    may be decoded at a smaller scale, and hold more bits than Pillow keeps."""
    if (data := _unread(picture)) is not None:
        return decode(data, canvas, top)
    return _on_canvas(_copy(picture), b"", canvas, top, unheard)


def plain(picture: Image.Image | bytes, top: float | None = None) -> Image.Image:
    """A picture of Pillow's, or in the bytes of a file, in its own size as RGB: upright, 8 bits, alpha on white."""
    data = picture if isinstance(picture, bytes) else _unread(picture)
    if data is None:
        assert isinstance(picture, Image.Image)
        return _plain(_copy(picture), b"", top)
    with opened(data) as image:
        return _plain(image, data, top)


def _plain(image: Image.Image, data: bytes, top: float | None) -> Image.Image:
    with room(image, data, image.size):
        image.load()
        turn = orientation(image)
        made = eight_bit(image, top, data).made().convert("RGB")
    return made.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else made


def _copy(picture: Image.Image) -> Image.Image:
    """One that may be closed."""
    own = picture.copy()
    own.format = picture.format
    return own


def _unread(picture: Image.Image) -> bytes | None:
    """The bytes of a file that has been opened and not loaded; None of other pictures, and of later frames."""
    file = getattr(picture, "fp", None)
    if file is None or not getattr(picture, "tile", ()) or picture.tell() > 0:
        return None
    place = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(place)
    return data


def _on_canvas(
    image: Image.Image, data: bytes, canvas: int, top: float | None, remark: Remark
) -> tuple[Tensor, tuple[int, int]]:
    width, height = size = image.size
    draft = image.draft(None, (_DRAFT_MARGIN * canvas,) * 2)
    with room(image, data, size):
        image.load()
        turn = orientation(image, remark)
        # The box keeps the geometry where the reduced size is not a whole number of pixels.
        _, _, across, down = draft[1] if draft else (0, 0, *image.size)
        reduced = [1, 1]
        if image.width * image.height > LARGE:
            reduced = [max(1, side // (_DRAFT_MARGIN * canvas)) for side in image.size]
        made = eight_bit(image, top, data, remark).made((reduced[0], reduced[1]))
        box = (0, 0, across / reduced[0], down / reduced[1])
        square = made.resize((canvas, canvas), Image.Resampling.BICUBIC, box)
    if turn in _UPRIGHT:
        square = square.transpose(_UPRIGHT[turn])
        if turn >= 5:
            width, height = height, width
    return channels_first(np.asarray(square)), (height, width)


@dataclass
class Cuts:
    """Boxes to cut from a picture, int64 (n, 4) top, left, height, width, each resized to side x side, antialiased."""

    boxes: Tensor
    side: int
    bicubic: bool


Draw = Callable[[int, int], Sequence[Cuts]]  # of the picture's height and width


def cut_file(data: bytes, draw: Draw, top: float | None = None) -> list[Tensor]:
    """Crops of the picture in the bytes of an image file, decoded once: uint8 (n, 3, side, side) of each Cuts.

    Each equals torchvision's resized_crop of the decoded picture. Where every box has several times the pixels that it
    is resized to, JPEG is decoded at a smaller scale. What the picture is, and what is raised, is as of `decode`.
    """
    with opened(data) as image:
        width, height = size = image.size
        reduced = 1
        if drafts := isinstance(image, JpegImagePlugin.JpegImageFile):
            turn = orientation(image)
            cuts = draw(width, height) if turn >= 5 else draw(height, width)
            spare = _spare(cuts)
            if draft := image.draft(None, (ceil(width / spare), ceil(height / spare))):
                reduced = round(width / draft[1][2])
        with room(image, data, size):
            image.load()
            if not drafts:
                turn = orientation(image)  # which loading may have ended
                cuts = draw(width, height) if turn >= 5 else draw(height, width)
                if width * height > LARGE:
                    reduced = max(int(_spare(cuts)), 1 if image.mode in ("L", "RGB") else 2)
            upright = eight_bit(image, top, data).made((1, 1) if drafts else (reduced, reduced))
            if turn in _UPRIGHT:
                upright = upright.transpose(_UPRIGHT[turn])
            return _cut(upright, cuts, reduced)


def cut_array(pixels: np.ndarray, draw: Draw) -> list[Tensor]:
    """The same of uint8 (H, W) or (H, W, 1 | 3 | 4); alpha composited on white."""
    height, width = pixels.shape[:2]
    return _cut(_of_array(pixels), draw(height, width), 1)


def _spare(cuts: Sequence[Cuts]) -> float:
    """By how much a picture can be reduced before it is cut."""
    return min(float(c.boxes[:, 2:].min()) / c.side for c in cuts) / _DRAFT_MARGIN


def _cut(image: Image.Image, cuts: Sequence[Cuts], reduced: int) -> list[Tensor]:
    """Crops of a picture that was decoded at 1 / reduced of its size."""
    found = []
    for c in cuts:
        how = Image.Resampling.BICUBIC if c.bicubic else Image.Resampling.BILINEAR
        crops = []
        for top, left, height, width in c.boxes.tolist():
            box = (left, top, left + width, top + height)
            if reduced == 1:
                crop = image.crop(box).resize((c.side, c.side), how)
            else:
                crop = image.resize((c.side, c.side), how, tuple(x / reduced for x in box))
            crops.append(channels_first(np.asarray(crop)))
        found.append(torch.stack(crops))
    return found


def read_size(data: bytes) -> tuple[int, int]:
    """Stored (height, width), before EXIF orientation, from the header alone; raises as `decode` does."""
    with opened(data) as image:
        return image.height, image.width


def look_at(data: bytes, remark: Remark = unheard) -> tuple[float, float, bool] | None:
    """Of a picture of more than 8 bits whose scale the file does not say: its smallest and largest value, and whether
    they are floats; None of others. Remarks what the head tells, and raises, as `decode` does."""
    with opened(data, remark) as image:
        orientation(image, remark)
        if not has_deep_values(image, data):
            return None
        with room(image, data, image.size):
            image.load()
            deep = DeepValues(image, data)
            return None if deep.said or deep.unknown else (deep.low, deep.high, image.mode == "F")


def resize(pixels: np.ndarray, canvas: int) -> Tensor:
    """uint8 (H, W) or (H, W, 1 | 3 | 4) as (3, canvas, canvas), resized as files are; alpha composited on white."""
    return channels_first(np.asarray(_of_array(pixels).resize((canvas, canvas), Image.Resampling.BICUBIC)))


def _of_array(pixels: np.ndarray) -> Image.Image:
    return EightBit(Image.fromarray(pixels.squeeze(-1) if pixels.shape[2:] == (1,) else pixels), 0).made()


def channels_first(pixels: np.ndarray) -> Tensor:
    """uint8 (H, W) or (H, W, 3) as a (3, H, W) tensor of its own memory."""
    planes = np.broadcast_to(pixels, (3, *pixels.shape)) if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.array(planes, order="C"))
