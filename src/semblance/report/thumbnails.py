"""Pictures as `data:` addresses, so that the page carries them itself."""

from base64 import b64encode
from io import BytesIO

import numpy as np
from PIL import Image

LOSSLESS = 40  # pixels of the longer side, up to which a picture stays as it is, pixel for pixel
BLOCKY = 96  # up to which its pixels are shown as squares: a smooth enlargement would pass for an augmentation


def address(picture: np.ndarray, side: int, shape: tuple[int, int] | None = None, quality: int = 80) -> str:
    """A uint8 (3, H, W) picture, shrunk to fit `side` pixels, as a `data:` address.

    shape: the height and width that it had before it was put on a square canvas, which it is given back.
    """
    image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    scale = min(1.0, side / max(image.size))
    height, width = shape or image.size[::-1]
    longer = max(image.size) * scale
    size = (max(1, round(longer * width / max(height, width))), max(1, round(longer * height / max(height, width))))
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    kind, options = ("png", {"optimize": True}) if longer <= LOSSLESS else ("webp", {"quality": quality, "method": 4})
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return data_address(f"image/{kind}", buffer.getvalue())


def data_address(kind: str, content: bytes) -> str:
    """Bytes of a media type as an address that holds them."""
    return f"data:{kind};base64,{b64encode(content).decode()}"
