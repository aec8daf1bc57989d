"""Real media, encoded here and read by either library: what is shown and heard when, and what is refused.

TorchCodec is tried where it loads; folders of films are in test_clips.py.
"""

import io
import struct
import tarfile
from contextlib import suppress
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from video_fixtures import RATE, film, flash_and_beep, sound_file, sound_track, without_video

from semblance.data.clips import pyav, torchcodec
from semblance.data.clips.cut_short import MORE, SEEMS_CUT, check_end
from semblance.data.clips.edit_lists import SPEED
from semblance.data.clips.even_frames import ALONE, ENDS, TILTED, EvenFrames
from semblance.data.clips.media import decode_clip, decode_sound, probe, reader
from semblance.data.clips.sound_track import GAPS, MUTE, SoundTrack
from semblance.data.pictures.decode import resize
from semblance.data.sources.bounce import encode
from semblance.errors import UserError

av = pytest.importorskip("av", reason="PyAV is not installed")
EITHER = pytest.mark.usefixtures("reader")
BOTH = pytest.mark.skipif(not torchcodec.loads(), reason="TorchCodec does not load")


def movie(container: str, video: str, audio: str, seconds: float = 2.0, channels: str = "mono", **late: int) -> bytes:
    """25 frames per second of 64 x 80 pixels with moving waves, and noise; late: first frame and first sample."""
    buffer = io.BytesIO()
    y, x = np.mgrid[:64, :80]
    with av.open(buffer, "w", format=container) as file:
        seen, heard = file.add_stream(video, rate=25, width=80, height=64), file.add_stream(audio, rate=48_000)
        seen.pix_fmt, seen.bit_rate, heard.layout = "yuv420p", 2_000_000, channels
        for i in range(round(25 * seconds)):
            waves = [np.sin(x / 9 + i / 3), np.cos(y / 7 + i / 5), np.sin((x + y) / 11 - i / 4)]
            frame = av.VideoFrame.from_ndarray((127 + 100 * np.stack(waves, -1)).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = i + late.get("frame", 0), Fraction(1, 25)
            file.mux(seen.encode(frame))
        count = {"mono": 1, "stereo": 2, "5.1": 6}[channels]
        noise = np.random.default_rng(0).normal(0, 0.1, (count, round(48_000 * seconds))).astype(np.float32)
        samples = av.AudioFrame.from_ndarray(noise, format="fltp", layout=channels)
        samples.sample_rate, samples.pts, samples.time_base = 48_000, late.get("sample", 0), Fraction(1, 48_000)
        convert = av.AudioResampler(format=heard.codec_context.format, layout=channels, rate=48_000)
        for part in [*convert.resample(samples), *convert.resample(None)]:
            file.mux(heard.encode(part))
        file.mux([*seen.encode(), *heard.encode()])
    return buffer.getvalue()


MOVIES = {
    "mp4": ("mp4", "mpeg4", "aac"), "mkv": ("matroska", "mpeg4", "flac"), "webm": ("webm", "libvpx", "libopus"),
    "avi": ("avi", "mpeg4", "libmp3lame"), "mov": ("mov", "libx264", "pcm_s16le"), "ts": ("mpegts", "libx264", "aac"),
    "mpg": ("mpeg", "mpeg2video", "mp2"), "flv": ("flv", "flv1", "aac"),
}  # fmt: skip


@EITHER
@pytest.mark.parametrize("flash", [0.25, 1.0, 1.75])
def test_picture_and_sound_of_an_mp4_stay_together(flash: float) -> None:
    clip = decode_clip(encode(*film(flash=flash), fps=8, rate=RATE), 32, 8.0, RATE)
    assert clip.frames.shape == (16, 3, 32, 32) and clip.size == (32, 32)
    assert clip.frames.float().mean((1, 2, 3)).argmax() == round(flash * 8)
    loudest = clip.sound.float().abs().unfold(0, 80, 1).mean(1).argmax().item()
    assert abs(loudest / RATE - flash) < 0.01
    grey = clip.frames.float().mean((1, 2, 3))
    expected = torch.linspace(40, 200, 16)
    others = torch.arange(16) != round(flash * 8)
    assert (grey - expected)[others].abs().max() < 12


@EITHER
def test_frames_are_those_shown_at_even_times() -> None:
    data = encode(*film(), fps=8, rate=RATE)
    all_frames = decode_clip(data, 16, 8.0, RATE).frames.float().mean((1, 2, 3))
    for fps, step in ((4.0, 2), (2.0, 4)):
        fewer = decode_clip(data, 16, fps, RATE).frames.float().mean((1, 2, 3))
        torch.testing.assert_close(fewer, all_frames[::step])
    more = decode_clip(data, 16, 16.0, RATE).frames.float().mean((1, 2, 3))
    torch.testing.assert_close(more, all_frames.repeat_interleave(2))


@EITHER
def test_sound_is_resampled_whole_and_mixed_to_one_channel(tmp_path: Path) -> None:
    time = np.arange(RATE) / RATE
    path = sound_file(tmp_path / "a.wav", 10_000 * np.sin(2 * np.pi * 440 * time))
    heard = decode_sound(path.read_bytes(), 24_000)
    assert abs(len(heard) - 24_000) <= 1
    spectrum = torch.fft.rfft(heard.double()).abs()
    assert spectrum.argmax() == pytest.approx(440, abs=1)


@EITHER
@pytest.mark.parametrize("kind", MOVIES)
def test_every_container_gives_its_frames_and_its_sound(kind: str) -> None:
    """A frame is the drawn one, resized as pictures are: none is passed over, doubled or late."""
    clip = decode_clip(movie(*MOVIES[kind]), 40, 25.0, 16_000)
    assert len(clip.frames) in (50, 51) and clip.size == (64, 80)  # some containers end a frame later
    assert abs(len(clip.sound) / 16_000 - 2) < 0.1 and clip.sound.float().std() > 1000
    y, x = np.mgrid[:64, :80]
    for i in (0, 1, 23, 48):
        waves = [np.sin(x / 9 + i / 3), np.cos(y / 7 + i / 5), np.sin((x + y) / 11 - i / 4)]
        drawn = resize((127 + 100 * np.stack(waves, -1)).astype(np.uint8), 40)
        distances = (clip.frames.float() - drawn.float()).abs().mean((1, 2, 3))
        at = int(distances.argmin())
        assert at == i + (kind == "avi" and i > 0)  # FFmpeg's writer of AVI has the first frame stay for two
        assert distances[at] < 10


@BOTH
@pytest.mark.parametrize("kind", MOVIES)
@pytest.mark.parametrize("late", [{}, {"frame": 10}, {"sample": 24_000}], ids=["", "late picture", "late sound"])
def test_both_libraries_give_the_same_bits(kind: str, late: dict[str, int]) -> None:
    data = movie(*MOVIES[kind], **late)
    for canvas, fps, rate in ((48, 16.0, 16_000), (24, 50.0, 44_100)):
        one, other = (module.read_clip(data, canvas, fps, rate, False) for module in (pyav, torchcodec))
        assert one.size == other.size
        assert torch.equal(one.frames, other.frames) and torch.equal(one.sound, other.sound)


@EITHER
@pytest.mark.parametrize(("transposed", "flipped", "mirrored"), list(product([False, True], repeat=3)))
def test_all_eight_orientations_are_shown_as_meant(transposed: bool, flipped: bool, mirrored: bool) -> None:
    """The display matrix of an MP4's picture track, as telephones and editors write it."""
    seen = np.full((16, 32, 48, 3), 60, np.uint8)
    seen[:, :16, :24] = (255, 0, 0)
    seen[:, :16, 24:] = (0, 255, 0)
    seen[:, 16:, :24] = (0, 0, 255)
    stored = seen[:, :: -1 if flipped else 1, :: -1 if mirrored else 1]
    stored = stored.transpose(0, 2, 1, 3) if transposed else stored
    x, y = -1 if mirrored else 1, -1 if flipped else 1  # where the axes of what is seen point
    a, b, c, d = (0, y, x, 0) if transposed else (x, 0, 0, y)
    data = bytearray(encode(np.ascontiguousarray(stored), film()[1], fps=8, rate=RATE))
    at = data.find(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    clip = decode_clip(bytes(data), 32, 8.0, RATE)
    assert clip.size == (32, 48)
    shown = clip.frames[0].float()
    corners = [shown[:, 4:12, 4:12], shown[:, 4:12, 20:28], shown[:, 20:28, 4:12]]
    assert [int(corner.mean((1, 2)).argmax()) for corner in corners] == [0, 1, 2]
    assert shown[:, 20:28, 20:28].std() < 20


def turned(a: float, b: float, c: float, d: float) -> bytes:
    """A film whose MP4 has the display matrix."""
    data = bytearray(encode(*film(), fps=8, rate=RATE))
    at = data.find(b"tkhd") + 44
    a, b, c, d = (round(value * 65536) for value in (a, b, c, d))
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return bytes(data)


@EITHER
@pytest.mark.parametrize("degrees", [0, 0.5, 7, 45, 90, 100, 135, 180, 225, 270, 315, 359])
@pytest.mark.parametrize("mirrored", [False, True])
def test_angles_that_are_no_quarter_turns_are_told(degrees: float, mirrored: bool) -> None:
    a, b = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    data = turned(a, b, *((b, -a) if mirrored else (-b, a)))
    assert (TILTED in decode_clip(data, 16, 8.0, RATE).told) == (degrees % 90 > 0)


@EITHER
def test_stretching_is_told_and_scaling_or_no_matrix_is_not() -> None:
    for matrix, told in (((2, 0, 0, 1), True), ((0, 1, -1.5, 0), True), ((1, 0, 0.3, 1), True), ((2, 0, 0, 2), False),
                         ((0, 0, 0, 0), False)):  # fmt: skip
        assert (TILTED in decode_clip(turned(*matrix), 16, 8.0, RATE).told) == told, matrix


@BOTH
@pytest.mark.parametrize("degrees", [45, 135, 225, 315])
def test_half_a_quarter_is_turned_alike_by_both_libraries(degrees: float) -> None:
    a, b = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    one, other = (module.read_clip(turned(a, b, -b, a), 16, 8.0, RATE, False) for module in (pyav, torchcodec))
    assert torch.equal(one.frames, other.frames) and one.told == other.told


@EITHER
def test_a_file_that_ends_before_it_should_is_cut_short(tmp_path: Path) -> None:
    """Matroska keeps its head at the beginning, so that half a file opens."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        frames, samples = film(seconds=4.0)
        video, audio = (
            container.add_stream("mpeg4", rate=8, width=32, height=32),
            container.add_stream("pcm_s16le", rate=RATE),
        )
        audio.layout = "mono"
        video.pix_fmt = "yuv420p"
        for i, pixels in enumerate(frames):
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            heard = av.AudioFrame.from_ndarray(
                samples[None, i * 1000 : (i + 1) * 1000].copy(), format="s16", layout="mono"
            )
            heard.sample_rate = RATE
            container.mux(audio.encode(heard))
        container.mux(video.encode())
        container.mux(audio.encode())
    data = buffer.getvalue()
    assert len(decode_clip(data, 16, 8.0, RATE).frames) == 32
    with pytest.raises((ValueError, OSError), match="cut short|damaged"):
        decode_clip(data[: len(data) // 2], 16, 8.0, RATE)


@EITHER
def test_what_holds_no_picture_or_no_sound_is_refused() -> None:
    mute = encode(film()[0], np.empty(0, np.int16), fps=8, rate=RATE)
    for data, reason in {mute: "no sound in it", without_video(): "no video in it", b"": "empty file"}.items():
        with pytest.raises(ValueError, match=reason):
            decode_clip(data, 16, 8.0, RATE)
    with pytest.raises(ValueError, match="no sound in it"):
        decode_sound(mute, RATE)
    with pytest.raises(ValueError, match="no video in it"):
        probe(without_video())
    with pytest.raises(ValueError, match="damaged: Invalid data found"):
        decode_clip(b"no film at all" * 20, 16, 8.0, RATE)
    assert len(decode_clip(mute, 16, 8.0, RATE, silent=True).frames) == 16


@EITHER
@pytest.mark.parametrize("kind", [*MOVIES, "ogg"])
def test_a_file_of_which_half_is_missing_is_refused(kind: str) -> None:
    """Wherever it is cut; transport and program streams, Ogg and AVI do not say at their head how long they are."""
    data = movie(*(MOVIES | {"ogg": ("ogg", "libvpx", "libopus")})[kind])
    decode_clip(data, 16, 25.0, 8000)
    for share in (0.5, 0.601, 0.7, 0.8):
        cut = data[: int(len(data) * share) | 1]  # within a packet of a transport stream
        with pytest.raises(ValueError, match="^(cut short|damaged|no )"):
            decode_clip(cut, 16, 25.0, 8000)


@EITHER
def test_half_an_aiff_is_refused() -> None:
    data = sound_track("aiff", "pcm_s16be", "mono", np.ones((1, 48_000), np.int16))
    assert len(decode_sound(data, 8000)) == 8000
    with pytest.raises(ValueError, match="^cut short"):
        decode_sound(data[: len(data) // 2], 8000)


def test_the_end_of_a_transport_stream_is_looked_at_packet_by_packet() -> None:
    """A packet of sound says how long it is; one of video is filled up at its end."""
    data = movie(*MOVIES["ts"])
    found = {"cut": 0, "perhaps": 0, "whole": 0}
    for packets in range(200, 400):
        try:
            found["perhaps" if check_end(data[: 188 * packets]) == [SEEMS_CUT] else "whole"] += 1
        except ValueError:
            found["cut"] += 1
    assert found["cut"] > 10 and found["perhaps"] > 100 and found["whole"] < 60  # between frames
    assert not check_end(data)


@pytest.mark.parametrize("kind", ["mp4", "mov", "flv", "asf", "wav", "aiff", "m4a"])
def test_a_recording_behind_another_is_told(kind: str) -> None:
    """Of these FFmpeg reads the first alone, without a word."""
    sounds = {"wav": ("wav", "pcm_s16le"), "aiff": ("aiff", "pcm_s16be"), "m4a": ("ipod", "aac")}
    if kind in sounds:
        data = sound_track(*sounds[kind], "mono", np.ones((1, 48_000), np.int16))
    else:
        data = flash_and_beep("asf", "wmv2", "wmav2") if kind == "asf" else movie(*MOVIES[kind])
    assert not check_end(data) and not check_end(data + bytes(5000)) and not check_end(data + b"some words behind it")
    assert check_end(data + data) == [MORE]
    told: list[str] = []
    assert len(decode_sound(data + data, RATE, told)) == len(decode_sound(data, RATE)) and MORE in told


@pytest.mark.parametrize("kind", ["mkv", "webm", "ogg"])
def test_a_few_bytes_that_are_missing_are_told(kind: str) -> None:
    """Though picture and sound be there to the last frame or so, or the cut lie between pages."""
    data = movie(*(MOVIES | {"ogg": ("ogg", "libvpx", "libopus")})[kind], seconds=4.0)
    cut = data[: data.rindex(b"OggS") if kind == "ogg" else round(0.99 * len(data))]
    assert not check_end(data) and check_end(cut) == [SEEMS_CUT]
    assert SEEMS_CUT in decode_clip(cut, 16, 25.0, RATE).told


def test_an_index_that_is_not_all_there_is_refused() -> None:
    """FFmpeg reads the half of an MP4's tracks that is there."""
    for data in (movie(*MOVIES["mp4"]), movie(*MOVIES["mov"]), movie("3gp", "mpeg4", "aac")):
        index = data.rindex(b"moov")
        for share in (0.999, 0.9, 0.5):
            with pytest.raises(ValueError, match="^cut short: bytes are missing at its end"):
                decode_clip(data[: index + int(share * (len(data) - index))], 16, 25.0, RATE)


@pytest.mark.parametrize(
    "start", [b"RIFF", b"FORM", b"OggS\0", b"\x1aE\xdf\xa3", b"FLV", b"\0\0\0\x08ftyp", b"\0\0\1\xba"]
)
def test_ends_of_scraps_are_looked_at(start: bytes) -> None:
    """Whatever follows the mark of a container."""
    random = np.random.default_rng(0)
    for length in range(60):
        for fill in (bytes(length), b"\xff" * length, random.bytes(length)):
            with suppress(ValueError):
                check_end(start + fill)


@EITHER
def test_a_stream_that_appears_in_mid_file_does_not_matter() -> None:
    """PyAV 16 to 19 list the streams that are there at the beginning; FLV and MPEG may bring others later."""
    film = flash_and_beep("flv", "flv", "aac")
    text = b"\2\0\x0aonTextData" + b"\x08\0\0\0\1\0\4text\2\0\2hi\0\0\x09"
    tag = b"\x12" + len(text).to_bytes(3, "big") + bytes(7) + text + (len(text) + 11).to_bytes(4, "big")
    data = film + tag
    clip, usual = (decode_clip(of, 16, 25.0, 48_000) for of in (data, film))
    assert torch.equal(clip.frames, usual.frames)
    assert torch.equal(clip.sound, usual.sound)


@EITHER
def test_a_file_that_ends_a_little_early_is_told() -> None:
    data = flash_and_beep("matroska", "mpeg4", "aac", seconds=10.0)
    assert not decode_clip(data, 16, 25.0, RATE).told
    told = []
    with pytest.raises(ValueError, match="cut short"):
        for share in (0.97, 0.94, 0.91, 0.88, 0.85, 0.8):
            told += decode_clip(data[: int(share * len(data))], 16, 25.0, RATE).told
    assert ENDS in told


@EITHER
def test_a_packet_without_content_shows_the_frame_before_once_more() -> None:
    """As Theora has them; other packets follow, so it is no end of the stream."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="nut") as file:
        video = file.add_stream("mpeg4", rate=8, width=32, height=32)
        video.pix_fmt = "yuv420p"
        for i in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 25 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = 2 * i, Fraction(1, 8)
            for packet in video.encode(frame):
                file.mux(packet)
                empty = av.Packet(0)
                empty.stream, empty.time_base = video, packet.time_base
                empty.pts = empty.dts = packet.pts + (packet.duration or 1)
                file.mux(empty)
        file.mux(video.encode())
    with av.open(io.BytesIO(buffer.getvalue())) as file:
        assert any(packet.size == 0 and packet.pts is not None for packet in file.demux())
    grey = decode_clip(buffer.getvalue(), 16, 8.0, RATE, silent=True).frames.float().mean((1, 2, 3))
    assert len(grey) == 15 and (grey[2:14:2] == grey[3:15:2]).all() and (grey[::2].diff() > 15).all()


@EITHER
def test_the_last_frame_lasts_as_long_as_the_file_says() -> None:
    """At a variable rate the mean says nothing of it: here one frame for two seconds, the rest for a fifth of one."""
    for container in ("mp4", "matroska"):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=container) as file:
            video, audio = file.add_stream("mpeg4", rate=5, width=32, height=32), file.add_stream("aac", rate=RATE)
            video.pix_fmt, audio.layout = "yuv420p", "mono"
            packets = []
            for i in range(11):
                pixels = np.full((32, 32, 3), 20 * i, np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 5)
                packets += video.encode(frame)
            packets += video.encode()
            packets[-1].duration = packets[-1].duration * 10 or 10
            samples = av.AudioFrame.from_ndarray(film(seconds=4.0)[1][None], format="s16", layout="mono")
            samples.sample_rate = RATE
            file.mux([*packets, *audio.encode(samples), *audio.encode()])
        clip = decode_clip(buffer.getvalue(), 16, 5.0, RATE)
        grey = clip.frames.float().mean((1, 2, 3))
        assert len(grey) == 20 and (grey[10:] > 190).all() and grey[9] < 190


@EITHER
def test_a_window_of_time_that_is_seen_and_heard_is_kept() -> None:
    """Sound longer than the picture, or later: what has no counterpart is left out, and told."""
    whole = decode_clip(flash_and_beep("mp4", "libx264", "aac"), 16, 25.0, RATE)
    assert len(whole.frames) == 80 and abs(len(whole.sound) / RATE - 3.2) < 0.01 and not whole.told
    for fate, seconds in ({"sound_seconds": 9.0}, 3.2), ({"late_sound": 0.8}, 2.4), ({"late_picture": 0.8}, 2.4):
        clip = decode_clip(flash_and_beep("mp4", "libx264", "aac", **fate), 16, 25.0, RATE)
        assert abs(len(clip.frames) / 25 - seconds) < 0.05 and abs(len(clip.sound) / RATE - seconds) < 0.05
        assert clip.told == [ALONE]
    with pytest.raises(ValueError, match="no moment in common"):
        decode_clip(flash_and_beep("mp4", "libx264", "aac", late_sound=5.0), 16, 25.0, RATE)


@EITHER
def test_gaps_and_silence_are_told() -> None:
    told = decode_clip(flash_and_beep("mp4", "libx264", "aac", lost=(1.0, 1.5)), 16, 25.0, RATE).told
    assert told == [GAPS]
    silent = decode_clip(encode(film()[0], np.zeros(2 * RATE, np.int16), fps=8, rate=RATE), 16, 8.0, RATE)
    assert silent.told == [MUTE] and len(silent.frames) == 16


@EITHER
@pytest.mark.parametrize("fault", [TypeError("unexpected keyword"), AttributeError("no such"), KeyError("x")])
@pytest.mark.parametrize("place", ["picture", "sound"])
def test_an_error_of_ours_is_not_told_as_damage(fault: Exception, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise fault

    monkeypatch.setattr(*{"picture": (EvenFrames, "add"), "sound": (SoundTrack, "add")}[place], broken)
    with pytest.raises(type(fault)):
        decode_clip(encode(*film(), fps=8, rate=RATE), 16, 8.0, RATE)


def test_an_argument_that_pyav_does_not_know_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As metadata_errors, which PyAV 19 has no more."""
    monkeypatch.setattr(torchcodec, "loads", lambda: False)
    monkeypatch.setattr(pyav, "_opening", lambda: {"no_such_argument": "ignore"})
    for read in (lambda d: decode_clip(d, 16, 8.0, RATE), lambda d: decode_sound(d, RATE), probe):
        with pytest.raises(TypeError, match="no_such_argument"):
            read(encode(*film(), fps=8, rate=RATE))


@EITHER
@pytest.mark.parametrize("track", ["video", "sound"])
def test_a_codec_that_nobody_knows_is_told(track: str) -> None:
    """The kind of object in an MP4's elementary stream descriptor, of which 1 is none."""
    data = bytearray(encode(*film(), fps=8, rate=RATE))
    descriptor = data.find(b"\x04\x80\x80\x80", data.find(b"mp4v" if track == "video" else b"mp4a"))
    data[descriptor + 5] = 1
    with pytest.raises(ValueError, match=f"its {track} is of no known codec|no {track} in it"):
        decode_clip(bytes(data), 16, 8.0, RATE)


@EITHER
def test_a_title_that_is_not_utf_8_does_not_matter() -> None:
    data = encode(*film(), fps=8, rate=RATE)
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(buffer, "w", format="matroska") as file:
        file.metadata["title"] = "a title to be broken"
        streams = {s.index: file.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                file.mux(packet)
    broken = buffer.getvalue().replace(b"a title to be", b"a t\xeftle \xff be")
    assert b"\xff be" in broken and len(decode_clip(broken, 16, 8.0, RATE).frames) == 16


def test_torchcodec_reads_where_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    for loads, module in ((True, torchcodec), (False, pyav)):
        monkeypatch.setattr(torchcodec, "loads", lambda answer=loads: answer)
        assert reader() is module


@pytest.mark.parametrize("missing", ["torchcodec", "torchcodec.decoders"])
def test_a_torchcodec_that_does_not_load_is_left_alone(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    assert not torchcodec.loads.__wrapped__()


def test_without_a_library_the_command_that_brings_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(*film(), fps=8, rate=RATE)
    monkeypatch.setattr(torchcodec, "loads", lambda: False)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'semblance\[video\]'"):
        decode_clip(data, 16, 8.0, RATE)


@EITHER
def test_grid(shared_data: Path) -> None:
    """The first clips of a real corpus: aligned in time, labelled by their table."""
    archive = shared_data / "grid_s1_dev.tar"
    if not archive.exists():
        pytest.skip(f"{archive.name} not present")
    with tarfile.open(archive) as tar:
        members = [m for m in tar if m.name.endswith(".mp4")][:6]
        data = [tar.extractfile(m).read() for m in members]
    for item in data:
        clip = decode_clip(item, 48, 16.0, 16_000)
        assert len(clip.frames) in (47, 48) and clip.size == (128, 160)
        assert abs(len(clip.sound) - 48_128) < 1600 and clip.sound.float().std() > 50


def noise(container: str, codec: str, seconds: int = 6) -> bytes:
    samples = np.random.default_rng(0).normal(0, 3000, (1, 48_000 * seconds)).astype(np.int16)
    return sound_track(container, codec, "mono", samples, **({"b": "128000"} if codec == "wmav2" else {}))


@EITHER
@pytest.mark.parametrize(("container", "codec"), [("mp3", "libmp3lame"), ("flac", "flac"), ("asf", "wmav2")])
def test_a_sound_that_ends_before_its_header_says_is_refused_or_told(container: str, codec: str) -> None:
    """Cut where a frame ends, which decodes well."""
    data = noise(container, codec)
    assert decode_sound(data, 8000, told := []) is not None and not {SEEMS_CUT, ENDS} & {*told}
    packets = []
    with av.open(io.BytesIO(data)) as file:
        packets = [packet.pos for packet in file.demux(file.streams.audio[0]) if packet.size]
    few, more = packets[len(packets) // 2], packets[-len(packets) // 16]
    with pytest.raises(ValueError, match="cut short"):
        decode_sound(data[:few], 8000)
    decode_sound(data[:more], 8000, told := [])
    assert {SEEMS_CUT, ENDS} & {*told}


@EITHER
def test_an_mp3_behind_a_tag_or_of_unknown_length_is_read_and_one_that_is_cut_is_not() -> None:
    data = noise("mp3", "libmp3lame")
    tag = b"ID3\4\0\0\0\0\2\0" + bytes(256)
    begin = 10 + sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    bare = data[begin:]
    for whole in (tag + bare, bare, bare + b"TAG" + bytes(125)):
        assert not check_end(whole)
        with pytest.raises(ValueError, match="cut short"):
            check_end(whole[: len(whole) // 2])
    assert not check_end(bare[bare.find(b"\xff", 200) :][: len(bare) // 2])  # nothing says how long it was


@EITHER
@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.3, 1])
@pytest.mark.parametrize("options", [{"b": "16000"}, {"q": "0"}, {"abr": "1"}])
def test_a_short_mp3_that_is_whole_is_not_told_as_cut(seconds: float, options: dict[str, str]) -> None:
    """Whatever text lies in its tags."""
    for spread in (30, 3000):
        samples = np.random.default_rng(0).normal(0, spread, (1, round(48_000 * seconds))).astype(np.int16)
        data = sound_track("mp3", "libmp3lame", "mono", samples, **options)
        tag, text = b"ID3\4\0\0\0\0\0\x0c", b"Info\0\0\0\2\x7f\0\0\0"
        for whole in (data, data + b"TAG" + bytes(125), tag + bytes(12) + tag + text + data):
            decode_sound(whole, 8000, told := [])
            assert SEEMS_CUT not in told


@EITHER
@pytest.mark.parametrize("picture", [0, 3000])
def test_joined_mp3s_are_read_past_their_inner_tags(picture: int) -> None:
    data = noise("mp3", "libmp3lame", 1)
    tag = b"ID3\3\0\0" + struct.pack(">BBBB", 0, 0, picture >> 7, picture & 127) + bytes(picture)
    one, two, three = (
        len(decode_sound(x, 8000, [])) for x in (data, data + data, data + tag + tag + data + data + tag)
    )
    assert abs(two - 2 * one) < 1000 and abs(three - 3 * one) < 1500


@pytest.mark.parametrize("data", [b"\xff", b"I", b"ID3", b"ID3\4\0\0\0\0", b"\xff\xfb", b"ID3\4\0\0\x7f\x7f\x7f\x7f"])
def test_a_few_bytes_of_an_mp3_are_damage(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_sound(data, 8000)


@EITHER
def test_the_last_frame_of_alac_in_caf_may_be_short() -> None:
    samples = np.random.default_rng(0).normal(0, 3000, (1, 4096 + 2048)).astype(np.int16)
    assert len(decode_sound(sound_track("caf", "alac", "mono", samples, 8000), 8000, told := [])) >= 4096
    assert not told


def test_boxes_in_boxes_are_no_edit_list() -> None:
    data = b""
    for _ in range(3000):
        data = struct.pack(">I", 8 + len(data)) + b"moov" + data
    with pytest.raises(ValueError, match="damaged"):
        decode_clip(struct.pack(">I", 16) + b"ftypisom" + bytes(4) + data, 16, 8.0, RATE)


@EITHER
@pytest.mark.parametrize(("rate", "version", "told"), [(2, 0, True), (0.5, 1, True), (1, 0, False), (1, 1, False)])
def test_an_edit_list_of_another_speed_is_told(rate: float, version: int, told: bool) -> None:
    data = encode(*film(), fps=8, rate=RATE)
    at = data.find(b"elst") - 4
    count, wide = int.from_bytes(data[at + 12 : at + 16], "big"), 8 if version else 4
    edits = b""
    for i in range(count):
        lasts, begins = struct.unpack(">Ii", data[at + 16 + 12 * i : at + 24 + 12 * i])
        edits += (
            lasts.to_bytes(wide, "big")
            + begins.to_bytes(wide, "big", signed=True)
            + struct.pack(">i", round(rate * 65536))
        )
    box = b"elst" + struct.pack(">BxxxI", version, count) + edits
    size = int.from_bytes(data[at : at + 4], "big")
    grown = len(box) + 4 - size
    spoilt = bytearray(data[:at] + struct.pack(">I", len(box) + 4) + box + data[at + size :])
    for name in (b"moov", b"trak", b"edts"):  # those around it
        begin = data.rfind(name, 0, at) - 4
        spoilt[begin : begin + 4] = struct.pack(">I", int.from_bytes(data[begin : begin + 4], "big") + grown)
    assert (SPEED in decode_clip(bytes(spoilt), 16, 8.0, RATE).told) == told
