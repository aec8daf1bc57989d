"""Clips in a NumPy .npz: pictures or frames, each with a sound."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semblance.data.clips.clips import Clips
from semblance.data.clips.sound_track import MUTE, SILENT
from semblance.data.pictures.canvas import choose_canvas
from semblance.data.pictures.decode import resize
from semblance.data.samples import Source
from semblance.data.sources.array_labels import attributes_of
from semblance.data.sources.arrays import divided
from semblance.data.sources.npz import Npz, NpzArray
from semblance.data.splits import LabelOptions
from semblance.errors import UserError
from semblance.runtime.memory import Limits
from semblance.shown import shown
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView

_AT_ONCE = 16  # sounds that are resampled together
_LOUDEST = 2  # of floats whose full scale is 1: what is resampled goes a little beyond it


def load_clip_npz(
    path: Path, video: ClipView, sound: SoundView, limits: Limits, options: LabelOptions
) -> Source[Clips]:
    """Arrays `x_train`, `sound_train` and `rate`; `x_test` and `sound_test` are held out, or a tenth of the rows.

    x: uint8 pictures (N, H, W) or (N, H, W, 3), or the frames of clips (N, T, H, W, 3) at video.fps. sound: int16, or
    floats in [-1, 1], (N, L) at `rate` samples per second, resampled to sound.rate; with pictures it may be short.
    Labels (N,) for the evaluation: `y_train` and `y_test`, as array_labels.attributes_of takes them.
    """
    found = Npz(path, limits, "give fewer clips, or a folder of files")
    missing = [key for key in ("x_train", "sound_train", "rate") if key not in found]
    if missing:
        raise UserError(
            f"{shown(path)} has no array named {' or '.join(missing)}; it has {', '.join(found) or 'none'}."
        )
    rate = found["rate"].whole()
    if rate.size != 1 or rate.dtype.kind not in "iuf" or not 1 <= rate.item() <= 1_000_000 or rate.item() % 1:
        raise UserError(
            f"{shown(path)}: rate is {rate.tolist()}; give one whole number, the samples of a sound in a second."
        )
    names = [name for name in ("train", "test") if f"x_{name}" in found]
    told: list[str] = []
    parts = [_part(path, found, name, int(rate.item()), video, sound, told) for name in names]
    given = [f"y_{name}" for name in names if f"y_{name}" in found and not options.unlabelled]
    if given:
        shapes = {name: found[f"y_{name}"].shape for name in names if f"y_{name}" in found}
        wrong = [f"y_{name}" for name in names if shapes.get(name) != (len(found[f"x_{name}"]),)]
        if wrong:
            raise UserError(
                f"{shown(path)}: {' and '.join(wrong)} must hold one label for each row, as every part or none."
            )
    labels = [found[f"y_{name}"].whole() if given else None for name in names]
    kinds, notes = attributes_of(labels)
    for part, attributes in zip(parts, kinds, strict=True):
        part.attributes.update(attributes)
    notes += (
        found.unused() + told + [note for part, name in zip(parts, names, strict=True) for note in _unequal(part, name)]
    )
    return divided(parts[0], parts[1] if len(parts) == 2 else None, options, "by the file", notes, clips=True)


def _unequal(part: Clips, name: str) -> Iterator[str]:
    """What a person is told where picture and sound of arrays differ in length; all rows are equally long."""
    seen, heard = len(part.frames[0]) / part.video.fps, len(part.sounds[0]) / part.sound.rate
    if len(part.frames[0]) > 1 and abs(seen - heard) > 0.5:
        yield f"x_{name} lasts {seen:g} s and sound_{name} {heard:g} s: windows are of what is both seen and heard."


def _part(path: Path, found: Npz, part: str, rate: int, video: ClipView, sound: SoundView, notes: list[str]) -> Clips:
    x, waves = found[f"x_{part}"], found.get(f"sound_{part}")
    if x.dtype != np.uint8 or x.ndim not in (3, 4, 5) or (x.ndim > 3 and x.shape[-1] not in (1, 3)):
        raise UserError(
            f"{shown(path)}: x_{part} is {x.dtype} {x.shape}; give uint8 (N, H, W[, 3]) or (N, T, H, W, 3)."
        )
    if not x.size:
        raise UserError(f"{shown(path)}: x_{part} is empty, {x.shape}.")
    if waves is None or waves.ndim != 2 or len(waves) != len(x) or not waves.size:
        raise UserError(
            f"{shown(path)}: sound_{part} must hold a row of samples for each of the {len(x)} rows of x_{part}."
        )
    if waves.dtype.kind != "f" and waves.dtype.newbyteorder("=") != np.int16:
        raise UserError(f"{shown(path)}: sound_{part} is {waves.dtype}; give int16, or floats in [-1, 1].")
    heard = _heard(path, waves, part, rate, sound, notes)
    count, (height, width) = (x.shape[1], x.shape[2:4]) if x.ndim == 5 else (1, x.shape[1:3])
    canvas = choose_canvas([(height, width)], video.size)
    if 1 < count < video.frames or (count > 1 and heard.shape[1] < sound.samples):
        raise UserError(
            f"{shown(path)}: x_{part} has {count} frames and sounds of {heard.shape[1] / sound.rate:g} s, "
            f"too short for windows of {video.frames} frames and {sound.seconds:g} s: lower --frames or --seconds."
        )
    pixels = torch.empty(len(x), count, 3, canvas, canvas, dtype=torch.uint8)
    for i in range(len(x)):
        row = x[i : i + 1]
        for frame, into in zip(row[0] if x.ndim == 5 else row, pixels[i], strict=True):
            into.copy_(resize(frame, canvas))
    sizes = torch.tensor([[height, width]], dtype=torch.int32).repeat(len(x), 1)
    return Clips(path.name, canvas, range(len(x)), list(pixels), list(heard), sizes, video, sound)


def _heard(path: Path, waves: NpzArray, part: str, rate: int, sound: SoundView, notes: list[str]) -> Tensor:
    """The sounds as they are kept, int16 (N, samples); a UserError where floats are none in [-1, 1]."""
    heard = torch.empty(len(waves), resampled(waves.shape[1], rate, sound.rate), dtype=torch.int16)
    loud = silent = 0
    for begin in range(0, len(waves), _AT_ONCE):
        rows = waves[begin : begin + _AT_ONCE]
        if rows.dtype.kind == "f":
            if not -_LOUDEST <= rows.min() <= rows.max() <= _LOUDEST:  # nor is NaN
                raise UserError(
                    f"{shown(path)}: sound_{part} holds values from {rows.min():g} to {rows.max():g}; give floats "
                    "in [-1, 1]."
                )
            loud += int((abs(rows) > 1).any(1).sum())
            exact = np.promote_types(rows.dtype, np.float32)  # float16 has no 32767
            rows = (rows.clip(-1, 1).astype(exact) * 32767).round()
        rows = rows.astype(np.int16)
        silent += int(((rows >= -SILENT) & (rows <= SILENT)).all(1).sum())
        heard[begin : begin + len(rows)] = resample(torch.from_numpy(rows), rate, sound.rate)
    if loud:
        notes.append(f"Values beyond [-1, 1] are clipped: {loud:,} of {len(waves):,} rows of sound_{part}.")
    if silent:
        notes.append(f"{MUTE}: {silent:,} of {len(waves):,} rows of sound_{part}.")
    return heard


def resampled(samples: int, rate: int, wanted: int) -> int:
    """How many samples at another rate are as long."""
    return round(samples * wanted / rate)


def resample(wave: Tensor, rate: int, wanted: int) -> Tensor:
    """Waveforms at another rate, all frequencies below the lower Nyquist kept: int16 (N, L) -> (N, L wanted / rate)."""
    if rate == wanted:
        return wave
    length = wave.shape[1]
    count = resampled(length, rate, wanted)
    spectrum = torch.fft.rfft(wave.double())
    kept = spectrum.new_zeros(len(wave), count // 2 + 1)
    n = min(kept.shape[1], spectrum.shape[1])
    kept[:, :n] = spectrum[:, :n]
    return (torch.fft.irfft(kept, count) * (count / length)).round().clamp(-32768, 32767).short()
