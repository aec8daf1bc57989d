"""Clips on the page: moving pictures and sounds that the page carries itself."""

import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from semblance.report.thumbnails import address, data_address

SIDE = 96  # pixels of a moving picture
RATE, SECONDS = 8_000, 3.0  # of the sounds on the page, which take a byte a sample
PICTURE_BYTES = 9_000  # of a moving picture, at most; those that come to more are shown coarser, in fewer frames
COARSER = ((8, 50), (8, 30), (6, 15), (3, 5))  # frames a second, quality
FULL = 110  # of 127, as loud as a sound gets


@dataclass
class Shown:
    """A clip on the page: a moving picture, its sound, a name, its file, and what to say of it ("own", "same", "other",
    "")."""

    picture: str
    sound: str
    name: str
    file: str
    verdict: str = ""


@dataclass
class ClipPage:
    """Rows of a clip with its matches, and the rank of each clip's own half both ways, 1 being the first.

    chosen: which clips the positives are, in words. columns: titles of the sheet of views.
    """

    sounds: list[tuple[Shown, list[Shown]]]
    positives: list[tuple[Shown, list[Shown]]]
    ranks: dict[str, Tensor]
    retrieval: dict[str, Any]
    purities: dict[str, Any]
    chosen: str
    columns: tuple[str, ...] = ("a frame", "first shown", "last shown", "sound")


def moving(frames: Tensor, fps: float) -> str:
    """uint8 frames (T, 3, S, S), the first 3 s of them, as a `data:` address of an animated picture."""
    if len(frames) == 1:
        return address(frames[0].numpy(), SIDE)
    seconds = min(SECONDS, len(frames) / fps)
    for rate, quality in COARSER:
        count = max(1, min(round(seconds * fps), round(seconds * rate)))
        chosen = [frames[round(i * seconds * fps / count)] for i in range(count)]
        content = _animated(chosen, round(1000 * seconds / count), quality)
        if len(content) <= PICTURE_BYTES:
            return data_address("image/webp", content)
    return address(frames[0].numpy(), SIDE)


def _animated(frames: Sequence[Tensor], duration: int, quality: int) -> bytes:
    """A WebP of frames of so many milliseconds each."""
    pictures = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames]
    if pictures[0].width != SIDE:
        pictures = [picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for picture in pictures]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "webp", save_all=True, append_images=pictures[1:], duration=duration, loop=0, quality=quality
    )
    return buffer.getvalue()


def playable(sound: Tensor, rate: int) -> str:
    """int16 samples (L,), the first 3 s of them, as a `data:` address of a WAV of 8 bits, as loud as it can be."""
    step = max(1, round(rate / RATE))
    samples = sound[: min(round(SECONDS * rate), round(SECONDS * RATE) * step)].double()
    samples = samples[: len(samples) // step * step].view(-1, step).mean(1)
    samples = samples * (FULL / samples.abs().max().clamp(min=1)) if len(samples) else samples
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 1, rate // step, 0, "NONE", ""))
        file.writeframes((samples + 128).round().numpy().astype("u1").tobytes())
    return data_address("audio/wav", buffer.getvalue())
