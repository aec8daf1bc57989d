"""Clips on the page: moving pictures and sounds that the page carries itself."""

import io
import wave
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from semblance.report.contact_sheets import address

SIDE = 96  # pixels of a moving picture
RATE = 12_000  # of the sounds on the page


@dataclass
class Shown:
    """A clip on the page: a moving picture, its sound, a name, and what to say of it ("own", "same", "other", "")."""

    picture: str
    sound: str
    name: str
    verdict: str = ""


@dataclass
class ClipPage:
    """Rows of a clip with its matches, recall at each rank both ways as points of a 300 x 100 drawing.

    chosen: which clips the positives are, in words. columns: titles of the sheet of views.
    """

    sounds: list[tuple[Shown, list[Shown]]]
    positives: list[tuple[Shown, list[Shown]]]
    recall: dict[str, str]
    retrieval: dict[str, Any]
    purities: dict[str, Any]
    chosen: str
    columns: tuple[str, ...] = ("a frame", "first shown", "last shown", "sound")


def moving(frames: Tensor, fps: float) -> str:
    """uint8 frames (T, 3, S, S), at most 3 s of them, as a `data:` address of an animated picture."""
    if len(frames) == 1:
        return address(frames[0].numpy(), SIDE)
    pictures = [Image.fromarray(f.permute(1, 2, 0).numpy()) for f in frames[: round(3 * fps)]]
    if pictures[0].width != SIDE:
        pictures = [p.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for p in pictures]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "webp", save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, quality=50
    )
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}"


def playable(sound: Tensor, rate: int) -> str:
    """int16 samples (L,), at most 3 s of them, as a `data:` address of a WAV, as loud as it can be."""
    step = max(1, rate // RATE)
    samples = sound[: 3 * rate].double()
    samples = samples[: len(samples) // step * step].view(-1, step).mean(1)
    samples = samples * (30_000 / samples.abs().max().clamp(min=1))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, rate // step, 0, "NONE", ""))
        file.writeframes(samples.numpy().astype("<i2").tobytes())
    return f"data:audio/wav;base64,{b64encode(buffer.getvalue()).decode()}"
