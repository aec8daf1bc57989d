"""Flash and beep stay together, in every container and codec that can be written here, whatever befell the file.

`PYTHONPATH=tests python tests/data/test_flash_and_beep.py` prints the table of docs/media.md.
"""

import pytest
from video_fixtures import flash_and_beep, flashes_and_beeps

from semblance.data.clips import media
from semblance.errors import UserError

pytest.importorskip("av", reason="PyAV is not installed")
RATE, FPS = 24_000, 25.0
KINDS = [
    ("mp4", "libx264", "aac"), ("mp4", "mpeg4", "libmp3lame"), ("mp4", "libx265", "ac3"),
    ("mp4", "libsvtav1", "libopus"), ("mov", "mjpeg", "pcm_s16le"), ("mov", "libx264", "alac"), ("3gp", "mpeg4", "aac"),
    ("matroska", "libx264", "flac"), ("matroska", "libvpx-vp9", "libopus"), ("matroska", "ffv1", "pcm_s16le"),
    ("matroska", "mpeg4", "vorbis"), ("webm", "libvpx", "libopus"), ("webm", "libvpx-vp9", "vorbis"),
    ("avi", "mpeg4", "libmp3lame"), ("avi", "mjpeg", "pcm_s16le"), ("avi", "libx264", "ac3"),
    ("mpegts", "libx264", "aac"), ("mpegts", "mpeg2video", "mp2"), ("mpegts", "libx265", "eac3"),
    ("mpeg", "mpeg1video", "mp2"), ("vob", "mpeg2video", "ac3"), ("flv", "flv1", "libmp3lame"),
    ("flv", "libx264", "aac"), ("asf", "wmv2", "wmav2"), ("asf", "msmpeg4", "libmp3lame"),
    ("ogg", "libvpx", "libopus"), ("ogg", "libvpx", "flac"),
    ("nut", "mpeg4", "libmp3lame"),
]  # fmt: skip
FATES = {
    "as it is": {}, "picture 0.4 s late": {"late_picture": 0.4}, "sound 0.4 s late": {"late_sound": 0.4},
    "cut by edit list": {"late_picture": -0.2, "late_sound": -0.12}, "packets lost": {"lost": (1.0, 1.4)},
    "B-frames": {"b_frames": 2}, "variable rate": {"uneven": True}, "sound 3 s longer": {"sound_seconds": 6.2},
}  # fmt: skip
REORDERED = ("libx264", "libx265", "mpeg4", "mpeg2video", "mpeg1video")  # codecs that have B-frames


def cannot_be_held(container: str, video: str, audio: str, fate: str) -> bool:
    """Whether a file of this kind, as FFmpeg writes it, does not say what became of it."""
    late, lost = fate in ("sound 0.4 s late", "cut by edit list"), fate == "packets lost"
    return (
        (fate == "B-frames" and video not in REORDERED)
        or (container == "avi" and (late or lost))  # a chunk for each moment
        or (container == "mov" and audio.startswith("pcm") and lost)  # samples are counted
        or (container == "mpeg" and fate == "variable rate")  # several frames have one time
        or (container == "ogg" and fate == "cut by edit list")  # no times before the beginning
        or (audio == "flac" and container == "ogg" and (late or lost))  # a page of a second has one time
    )


def deviations(kind: tuple[str, str, str], fate: str) -> list[float]:
    """Seconds by which each beep is heard later than its flash is seen, less what it was made to be."""
    made = FATES[fate]
    clip = media.decode_clip(flash_and_beep(*kind, **made), 16, FPS, RATE)
    flashes, beeps = flashes_and_beeps(clip.frames, clip.sound, FPS, RATE)
    meant = made.get("late_sound", 0) - made.get("late_picture", 0)
    assert len(flashes) == 3 and len(beeps) >= 2
    return [min((beep - flash - meant for beep in beeps), key=abs) for flash in flashes]


QUICK = {
    (("mp4", "libx264", "aac"), "B-frames"), (("mp4", "libx264", "aac"), "packets lost"),
    (("mp4", "libx264", "aac"), "cut by edit list"), (("mov", "libx264", "alac"), "variable rate"),
    (("matroska", "libvpx-vp9", "libopus"), "packets lost"), (("webm", "libvpx", "libopus"), "picture 0.4 s late"),
    (("avi", "libx264", "ac3"), "B-frames"), (("mpegts", "mpeg2video", "mp2"), "sound 0.4 s late"),
    (("vob", "mpeg2video", "ac3"), "B-frames"), (("flv", "flv1", "libmp3lame"), "as it is"),
    (("asf", "msmpeg4", "libmp3lame"), "sound 3 s longer"), (("ogg", "libvpx", "libopus"), "as it is"),
}  # fmt: skip


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("kind", "fate"),
    [
        pytest.param(kind, fate, id=f"{'+'.join(kind)}, {fate}", marks=[pytest.mark.long] * ((kind, fate) not in QUICK))
        for kind in KINDS
        for fate in FATES
        if not cannot_be_held(*kind, fate)
    ],
)
def test_a_beep_is_heard_within_a_frame_of_its_flash(kind: tuple[str, str, str], fate: str) -> None:
    assert max(map(abs, deviations(kind, fate))) <= 1 / FPS + 0.001


def main() -> None:
    def cell(kind: tuple[str, str, str], fate: str) -> str:
        if cannot_be_held(*kind, fate):
            return "-"
        try:
            return f"{1000 * max(deviations(kind, fate), key=abs):.0f}"
        except (OSError, ValueError, UserError) as error:
            return str(error)

    print(f"| container, codecs | {' | '.join(FATES)} |\n|---|{'---:|' * len(FATES)}")
    for kind in KINDS:
        print(f"| {kind[0]}: {kind[1]}, {kind[2]} | {' | '.join(cell(kind, fate) for fate in FATES)} |", flush=True)


if __name__ == "__main__":
    main()
