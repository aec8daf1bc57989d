"""Bouncing shapes that sound where they land: the clips that need no download, drawn and encoded as MP4.

Picture and sound share their causes: the shape and its hue are the timbre, its size is the pitch, and it sounds when it
lands. Ground, texture, place, tilt, specks, loudness and background noise say nothing of the other modality.
"""

import io
from colorsys import hsv_to_rgb
from fractions import Fraction
from math import log, pi

import numpy as np
import torch
from torch import Tensor

from semblance.data.clips.pyav import pyav
from semblance.data.sources.shapes import SHAPES
from semblance.runtime import random

CLASSES = ["disk", "ring", "triangle", "square", "star", "cross", "bars", "hourglass"]
SECONDS, FPS, SIDE, RATE = 3, 16, 48, 24_000
TRAIN, TEST = 640, 200
STEPS = ["low", "lower middle", "upper middle", "high"]  # of pitch
TEMPI = ["slow", "moderate", "lively", "fast"]


def names() -> list[str]:
    """The files of the set, labels.csv among them."""
    return ["labels.csv", *(f"{i:04d}.mp4" for i in range(TRAIN + TEST))]


def read(name: str, seed: int = 0) -> bytes:
    """One of the files; a pure function of its name and the seed."""
    if name == "labels.csv":
        return _labels(seed).encode()
    return clip(int(name.removesuffix(".mp4")), seed)


def clip(i: int, seed: int = 0) -> bytes:
    """Clip i as an MP4 file of 3 s at 16 frames per second, 48 x 48 pixels, with sound at 24 kHz."""
    return encode(_frames(i, seed), _sound(i, seed))


def encode(frames: np.ndarray, sound: np.ndarray, fps: int = FPS, rate: int = RATE) -> bytes:
    """An MP4 of uint8 frames (T, H, W, 3) and int16 samples (L,); without samples it has no sound track."""
    av = pyav()
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=fps, width=frames.shape[2], height=frames.shape[1])
        video.pix_fmt, video.bit_rate, video.codec_context.thread_count = "yuv420p", 1_000_000, 1
        audio = container.add_stream("aac", rate=rate, layout="mono") if len(sound) else None
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            heard = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = rate, 0, Fraction(1, rate)
            container.mux(audio.encode(heard))
            container.mux(audio.encode())
    return buffer.getvalue()


def _draws(i: int | Tensor, seed: int, purpose: str, count: int = 12) -> Tensor:
    """Uniform numbers of clip i, (count,), or of clips, (N, count)."""
    index = torch.as_tensor(i).reshape(-1)
    u = random.uniform(random.key(seed, "bounce", purpose), index, count)
    return u if isinstance(i, Tensor) else u[0]


def _labels(seed: int) -> str:
    rows = ["clip,split,shape,pitch,tempo"]
    u = _draws(torch.arange(TRAIN + TEST), seed, "cause", 3)
    for i, (size, tempo, _) in enumerate(u.tolist()):
        split = "train" if i < TRAIN else "test"
        rows.append(f"{i:04d}.mp4,{split},{CLASSES[i % 8]},{STEPS[3 - int(4 * size)]},{TEMPI[3 - int(4 * tempo)]}")
    return "\n".join(rows) + "\n"


def _period(u: Tensor) -> float:
    """Seconds from one landing to the next."""
    return float(0.35 + 0.65 * u[1])


def _frames(i: int, seed: int) -> np.ndarray:
    """uint8 (T, H, W, 3)."""
    cause, look = _draws(i, seed, "cause", 3), _draws(i, seed, "look", 24)
    time = torch.arange(SECONDS * FPS) / FPS
    phase = (time / _period(cause) + cause[2]) % 1
    height = 4 * phase * (1 - phase)
    at = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    y, x = at[None, :, None], at[None, None, :]
    turn = 2 * pi * look[0]
    ground = 0.25 + 0.5 * look[1] + 0.15 * (look[2:5] - 0.5)  # about grey
    texture = 0.08 * look[11] * torch.sin((x * turn.cos() + y * turn.sin()) * (4 + 12 * look[5]) + 6 * look[6])
    picture = ground.view(1, 3, 1, 1) + texture[:, None]
    for speck in range(3):
        u = _draws(i, seed, f"speck {speck}", 8)
        drift = (2 * u[3] - 1) * time
        near = (x - 2 * u[4] + 1 - drift[:, None, None]) ** 2 + (y - 2 * u[5] + 1) ** 2 < 0.01
        picture = torch.where(near[:, None], (0.2 + 0.6 * u[:3]).view(1, 3, 1, 1), picture)
    scale = 0.22 + 0.34 * cause[0]
    middle = (0.9 - scale) - height * (1.5 - 1.3 * scale)
    across = (x - (look[7] - 0.5) - (look[8] - 0.5) * 0.3 * time[:, None, None]) / scale
    down = (y - middle[:, None, None]) / scale
    tilt = pi / 6 * (2 * look[9] - 1)
    across, down = torch.broadcast_tensors(
        across * tilt.cos() + down * tilt.sin(), down * tilt.cos() - across * tilt.sin()
    )
    inside = SHAPES[CLASSES[i % 8]](across, down)
    hue = (i % 8 + 0.5 * (float(look[12]) - 0.5)) / 8
    ink = torch.tensor(hsv_to_rgb(hue % 1, 0.6 + 0.4 * float(look[13]), 0.6 + 0.4 * float(look[10])))
    picture = torch.where(inside[:, None], ink.view(1, 3, 1, 1), picture)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _sound(i: int, seed: int) -> np.ndarray:
    """int16 (L,)."""
    cause, air = _draws(i, seed, "cause", 3), _draws(i, seed, "air", 4)
    n, period = SECONDS * RATE, _period(cause)
    note = _note(i % 8, 1400.0 * 2 ** (-2.2 * float(cause[0])))
    wave = torch.zeros(n + len(note))
    landing = (1 - float(cause[2])) * period - period  # the first may lie before the beginning
    while landing < SECONDS:
        start = round(landing * RATE)
        heard = note[max(0, -start) :]
        wave[max(0, start) : max(0, start) + len(heard)] += heard
        landing += period
    noise = random.uniform(random.key(seed, "bounce", "noise"), torch.tensor([i]), n)[0] - 0.5
    wave = (0.3 + 0.5 * air[0]) * wave[:n] + (0.002 + 0.03 * air[1]) * noise
    return (wave.clamp(-1, 1) * 32767).round().short().numpy()


# (ratio, loudness) of the partials of each class's sound, how fast it decays, and the octaves that it slides
_TIMBRES: list[tuple[list[tuple[float, float]], float, float]] = [
    ([(1, 1.0)], 12, 0.0), ([(1, 0.6), (2.76, 0.4), (5.4, 0.3)], 8, 0.0),
    ([(1, 0.6), (3, 0.3), (5, 0.2)], 12, 0.0), ([(1, 0.5), (2, 0.4), (3, 0.3), (4, 0.2)], 12, 0.0),
    ([(1, 1.0)], 12, 1.5), ([(1, 1.0)], 12, -1.5),
    ([(1, 0.5), (1.06, 0.5)], 6, 0.0), ([(1, 0.3), (1.5, 0.3), (4, 0.4)], 40, 0.0),
]  # fmt: skip


def _note(timbre: int, pitch: float) -> Tensor:
    """The sound of one landing, 0.3 s: float (L,) in [-1, 1]."""
    time = torch.arange(int(0.3 * RATE)) / RATE
    partials, decay, slide = _TIMBRES[timbre]
    turns = pitch * (time if slide == 0 else (2 ** (slide * time / 0.3) - 1) * 0.3 / (slide * log(2)))
    wave = torch.stack([loud * torch.sin(2 * pi * ratio * turns) for ratio, loud in partials]).sum(0)
    return wave * torch.exp(-decay * time) * (time * 400).clamp(max=1) * (1 - time / 0.3)
