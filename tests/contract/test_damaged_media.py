"""Damaged media of every container that can be written here: read, or refused with a reason; nothing else escapes.

The readers catch by name what their libraries raise, so that an error of ours cannot pass for damage; this is how that
was found to be enough. `PYTHONPATH=tests:tests/data:tests/contract python tests/contract/test_damaged_media.py COUNT`
prints what became of COUNT mutants of each kind.
"""

import random
import sys
from collections import Counter
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from small_media import no_hang
from test_bad_input import damaged
from video_fixtures import flash_and_beep, sound_track

from semblance.data.clips import pyav, torchcodec
from semblance.data.clips.media import decode_clip, decode_sound, probe

pytest.importorskip("av", reason="PyAV is not installed")
FILMS = {
    "mp4": ("libx264", "aac"), "mov": ("mjpeg", "pcm_s16le"), "matroska": ("libvpx-vp9", "libopus"),
    "webm": ("libvpx", "libopus"), "avi": ("mpeg4", "libmp3lame"), "mpegts": ("mpeg2video", "mp2"),
    "mpeg": ("mpeg1video", "mp2"), "flv": ("flv1", "libmp3lame"), "asf": ("wmv2", "wmav2"), "ogg": ("libvpx", "flac"),
}  # fmt: skip
SOUNDS = {
    "wav": "pcm_s16le", "flac": "flac", "opus": "libopus", "mp3": "libmp3lame", "adts": "aac", "ipod": "aac",
    "aiff": "pcm_s16be", "wv": "wavpack",
}  # fmt: skip
QUICK = ("mp4", "webm", "avi", "mpegts", "opus")


def whole(kind: str) -> bytes:
    if kind in FILMS:
        return flash_and_beep(kind, *FILMS[kind], seconds=1.2)
    noise = np.random.default_rng(0).integers(-9000, 9000, (2, 24_000)).astype(np.int16)
    return sound_track(kind, SOUNDS[kind], "stereo", noise)


def fates(kind: str, count: int) -> Counter[str]:
    """How many mutants each function read and refused; another error than ValueError and OSError escapes."""
    readers: dict[str, Callable[[bytes], object]] = {"sound": lambda data: decode_sound(data, 8000)}
    if kind in FILMS:
        readers |= {"clip": lambda data: decode_clip(data, 16, 8.0, 8000), "head": probe}
    data, chance, found = whole(kind), random.Random(kind), Counter[str]()
    for _ in range(count):
        mutant = damaged(data, chance)
        for name, read in readers.items():
            with no_hang():
                try:
                    read(mutant)
                    found[f"{name} read"] += 1
                except (OSError, ValueError) as error:
                    assert str(error)
                    found[f"{name} refused"] += 1
    return found


@pytest.mark.parametrize("library", [pyav, torchcodec], ids=["pyav", "torchcodec"])
@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.long] * (k not in QUICK)) for k in FILMS | SOUNDS])
def test_damaged_media_are_read_or_refused(
    kind: str, library: ModuleType, counts: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library is torchcodec and not torchcodec.loads():
        pytest.skip("TorchCodec does not load")
    monkeypatch.setattr("semblance.data.clips.media.reader", lambda: library)
    count = 12 if kind in QUICK else 60
    found = fates(kind, count)
    assert sum(found.values()) == count * (3 if kind in FILMS else 1)
    counts["damaged files tried"] += count


if __name__ == "__main__":
    for each in FILMS | SOUNDS:
        print(each, dict(sorted(fates(each, int(sys.argv[1])).items())), flush=True)
