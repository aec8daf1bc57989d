"""Files made to harm: they open nothing but themselves, and what they take is bounded, whatever they declare."""

import gc
import io
import struct
import threading
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from video_fixtures import RATE, film, flash_and_beep, mp4, sound_file, sound_track

from semblance.data import load_clips
from semblance.data.byte_budget import ByteBudget
from semblance.data.clips import bounds, media, pyav
from semblance.data.clips.bounds import Head, Spool, blocks
from semblance.data.clips.media import decode_clip, decode_sound, probe
from semblance.data.sources import clip_files
from semblance.data.sources.bounce import encode
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import View

av = pytest.importorskip("av", reason="PyAV is not installed")
EITHER = pytest.mark.usefixtures("reader")
PORT = 18_998
SDP = f"""v=0
o=- 0 0 IN IP4 127.0.0.1
s=No Name
c=IN IP4 127.0.0.1
t=0 0
m=video {PORT} RTP/AVP 96
a=rtpmap:96 H264/90000
m=audio {PORT + 2} RTP/AVP 97
a=rtpmap:97 L16/8000
"""
MPD = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S">
<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>secret.mp4</BaseURL>
<SegmentBase/></Representation></AdaptationSet></Period></MPD>"""
NAMING_OTHERS = {
    "sdp": SDP,
    "ffconcat": "ffconcat version 1.0\nfile secret.ts\nduration 2\n",
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "dash": MPD,
    "rtsp": "RTSPtext\r\nrtsp://127.0.0.1:18998/film\r\n",
    "vobsub": "# VobSub index file, v7 (do not modify this line!)\nsize: 32x32\nid: en, index: 0\n"
    "timestamp: 00:00:00:000, filepos: 000000000\n",
    "tty": "\x1b[2J\x1b[1;1Htext on a terminal\r\n" * 50,
}


def ports_open() -> set[int]:
    lines = Path("/proc/self/net/udp").read_text().splitlines()[1:]
    return {int(line.split()[1].rsplit(":", 1)[1], 16) for line in lines}


@EITHER
@pytest.mark.parametrize("kind", NAMING_OTHERS)
@pytest.mark.parametrize("read", ["clip", "sound", "head"])
def test_text_that_names_files_or_addresses_opens_none(
    kind: str, read: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = encode(*film(), fps=8, rate=RATE)
    for name in ("secret.ts", "secret.mp4", "none.sub", "<none>.sub"):
        (tmp_path / name).write_bytes(good)
    seen: set[int] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            seen.update(ports_open())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        data = NAMING_OTHERS[kind].encode()
        with pytest.raises((OSError, ValueError), match="damaged"):
            {"clip": lambda: decode_clip(data, 16, 8.0, RATE), "sound": lambda: decode_sound(data, RATE),
             "head": lambda: probe(data)}[read]()  # fmt: skip
    finally:
        ended.set()
        thread.join()
    assert not seen & {PORT, PORT + 1, PORT + 2, PORT + 3}


@EITHER
@pytest.mark.parametrize("kind", ["sdp", "ffconcat", "vobsub"])  # by their content; FFmpeg knows the others by name
def test_formats_that_are_no_media_are_refused_before_anything_is_done_with_them(kind: str) -> None:
    data = NAMING_OTHERS[kind].encode()
    module = media.reader()
    for read in (lambda: module.read_clip(data, 16, 8.0, RATE, False), lambda: module.read_sound(data, RATE),
                 lambda: probe(data)):  # fmt: skip
        with pytest.raises(ValueError, match="format that is not read: convert it to MP4"):
            read()


def mkv(times: list[int], side: int, seconds: int = 4, codec: str = "mpeg4") -> bytes:
    """Black frames at whole seconds, and silence."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as file:
        video, audio = file.add_stream(codec, rate=1, width=side, height=side), file.add_stream("flac", rate=RATE)
        video.pix_fmt, video.time_base, audio.layout = "yuv420p", Fraction(1), "mono"
        video.codec_context.time_base = Fraction(1)
        for time in times:
            frame = av.VideoFrame.from_ndarray(np.zeros((side * 3 // 2, side), np.uint8), format="yuv420p")
            frame.pts, frame.time_base = time, Fraction(1)
            file.mux(video.encode(frame))
        file.mux(video.encode())
        part = RATE  # FLAC takes no more than 65,535 samples at once
        for i in range(seconds):
            heard = av.AudioFrame.from_ndarray(np.zeros((1, part), np.int16), format="s16", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = RATE, i * part, Fraction(1, RATE)
            file.mux(audio.encode(heard))
        file.mux(audio.encode())
    return buffer.getvalue()


def wav(rate: int, samples: int, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(2 * channels * samples))
    return buffer.getvalue()


@EITHER
def test_two_frames_an_hour_apart_do_not_become_an_hour_of_frames() -> None:
    data = mkv([0, 3500], 160)
    assert len(data) < 20_000
    with pytest.raises(ValueError, match="3500 s long, which take over 1,000 times its bytes"):
        decode_clip(data, 160, 16.0, RATE)
    assert len(decode_clip(mkv([0, 8], 160, seconds=9), 160, 16.0, RATE).frames) >= 8 * 16


@EITHER
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_sound_of_a_sample_a_second_is_not_resampled(channels: int) -> None:
    with pytest.raises(ValueError, match="its sound has 1 samples per second"):
        decode_sound(wav(1, 3500, channels), 24_000)


@pytest.fixture(scope="module")
def wide() -> bytes:
    """A frame of 37 million pixels."""
    return mkv([0], 6100, codec="ffv1")


@EITHER
def test_frames_beyond_those_of_8k_are_refused_by_their_header(wide: bytes) -> None:
    with pytest.raises(ValueError, match="its frames are larger than those of 8K"):
        decode_clip(wide, 16, 8.0, RATE)


def test_frames_larger_than_the_header_says_are_not_decoded(wide: bytes) -> None:
    if "options" in pyav._opening():
        assert pyav.read_head(wide).size == (0, 0)  # nor to find their size
    with pytest.raises(ValueError, match="damaged: Invalid"):
        pyav.read_clip(wide, 16, 8.0, RATE, False)


@EITHER
def test_no_frame_waits_for_the_garbage_collector() -> None:
    """Of 64 films of 8K each would hold 50 MB until it comes."""
    data = flash_and_beep("mp4", "mpeg4", "aac")
    gc.collect()
    gc.disable()
    try:
        before = [held for held in gc.get_objects() if type(held) is av.VideoFrame]  # of other tests
        decode_clip(data, 16, 8.0, RATE)
        left = [held for held in gc.get_objects() if type(held) is av.VideoFrame and not any(held is b for b in before)]
        assert left and all(frame.width * frame.height < 300 for frame in left)
    finally:
        gc.enable()


@EITHER
def test_frames_may_become_a_little_larger_than_the_header_says() -> None:
    assert len(decode_clip(growing(600), 16, 8.0, RATE).frames) == 16
    with pytest.raises(ValueError, match="damaged: (Invalid|its frames become larger)"):
        decode_clip(growing(1600), 16, 8.0, RATE)


def growing(side: int) -> bytes:
    """Motion JPEG that begins with frames of 64 x 64 and goes on with frames of side x side."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as file:
        video, audio = (file.add_stream("mjpeg", rate=8, width=64, height=64), file.add_stream("flac", rate=RATE))
        video.pix_fmt, audio.layout = "yuvj420p", "mono"
        for number in range(16):
            if number == 8:
                encoder = av.CodecContext.create("mjpeg", "w")
                encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = (
                    side,
                    side,
                    "yuvj420p",
                    Fraction(1, 8),
                )
            size, encode_frame = (64, video.encode) if number < 8 else (side, encoder.encode)
            frame = av.VideoFrame.from_ndarray(np.zeros((size, size, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 8)
            for packet in encode_frame(frame):
                packet.stream = video
                file.mux(packet)
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 2 * RATE), np.int16), format="s16", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = RATE, 0, Fraction(1, RATE)
        file.mux(audio.encode(heard))
        file.mux(audio.encode())
    return buffer.getvalue()


@EITHER
def test_frames_that_refer_to_too_many_others_are_refused_by_their_header() -> None:
    """H.264 may hold 16 frames to refer to and 16 to show, which kilobytes can be of: a gigabyte and more."""
    with pytest.raises(ValueError, match="decoding takes 1.4 GiB, over 1,000 times its bytes"):
        decode_clip(mkv([0], 5000, codec="libx264"), 16, 8.0, RATE)
    Head((2160, 3840), 60.0, "h264", 12).check(20_000)  # 4K, however well it is compressed
    Head((4320, 7680), 60.0, "hevc", 15).check(5 << 20)


def test_a_wav_that_declares_more_than_it_holds_is_read_or_refused() -> None:
    data = bytearray(wav(RATE, RATE))
    at = data.find(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFF0)
    assert len(decode_sound(bytes(data), RATE)) == RATE


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_what_is_large_lies_on_the_disk_and_is_the_same(
    dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(bounds, "_IN_MEMORY", 10_000)
    for count in (0, 1, 4, 5, 40):
        values = np.random.default_rng(count).integers(0, 200, (count, 1000)).astype(dtype)
        spool = Spool(dtype)
        for part in values:
            spool.add(part)
        array = spool.tensor()
        del spool
        assert torch.equal(array, torch.from_numpy(values.reshape(-1)))
        array += 1  # a private copy, whichever
    assert not [*(tmp_path / "semblance").iterdir()]


def resident() -> int:
    """Bytes of mapped files that are in memory."""
    return int(Path("/proc/self/status").read_text().split("RssFile:")[1].split()[0]) << 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it")
def test_of_what_lies_on_the_disk_no_more_than_a_block_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spool = Spool(np.int16)
    for _ in range(48):
        spool.add(np.arange(1 << 19, dtype=np.int16))
    values = spool.tensor()
    before, most, total = resident(), 0, 0
    for part in blocks(values[1:]):
        total += int(part.numpy()[0]) + len(part)
        most = max(most, resident() - before)
    assert total > 48 << 19 and most < 12 << 20
    assert int(values.sum()) == 48 * int(np.arange(1 << 19).astype(np.int16).sum(dtype=int))  # they are there again
    assert resident() - before > 32 << 20


VIDEO, SOUND = ClipView(View(16), frames=4, fps=8.0), SoundView(seconds=1.0, rate=RATE, fft=256, hop=80)


def test_bombs_beside_ordinary_clips_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    for i in range(6):
        mp4(tmp_path / f"{i}.mp4", seed=i, side=64)
    (tmp_path / "gap.mkv").write_bytes(mkv([0, 3500], 160))
    mp4(tmp_path / "slow.mp4")
    (tmp_path / "slow.wav").write_bytes(wav(1, 3500))
    with (tmp_path / "sparse.mp4").open("wb") as file:
        file.truncate(1 << 40)
    told = {Path(name).name: why for name, why in load_clips(str(tmp_path), VIDEO, SOUND).skipped}
    assert told.keys() == {"gap.mkv", "slow.mp4", "sparse.mp4"}
    assert told["sparse.mp4"] == "1024.0 GiB, more than 4 GiB: cut it into clips"


def test_files_and_frames_are_decoded_within_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes are taken for each file and each decoder, and given back."""
    for i in range(6):
        mp4(tmp_path / f"{i}.mp4", seed=i)
        if i % 2:
            sound_file(tmp_path / f"{i}.wav", np.ones(2 * RATE))
    taken: list[int] = []

    class Counted(ByteBudget):
        def taken(self, count: int):
            taken.append(count)
            return super().taken(count)

    files, frames = Counted(1 << 20), Counted(1 << 20)
    monkeypatch.setattr(clip_files, "_in_memory", files)
    monkeypatch.setattr(media, "decoding", lambda: frames)
    load_clips(str(tmp_path), VIDEO, SOUND)
    stored = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert sum(taken) == stored + 6 * 32 * 32 * 24  # of MPEG-4: 12 frames of 12 bits, and RGB
    assert files._used.value == frames._used.value == 0


def test_sounds_that_unpack_to_far_more_than_their_files_are_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silences within all bounds; films that fill as much are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(bounds, "_SET_FREE", 1 << 16)
    for i in range(6):
        mp4(tmp_path / "films" / f"{i}.mp4", seed=i)
    assert not any("Decoded clips lie in" in note for note in load_clips(str(tmp_path / "films"), VIDEO, SOUND).notes)
    (tmp_path / "silences").mkdir()
    for i in range(2):
        silence = sound_track("flac", "flac", "mono", np.zeros((1, 48_000 * 60), np.int16))
        (tmp_path / "silences" / f"{i}.flac").write_bytes(silence)
        Image.new("RGB", (32, 32)).save(tmp_path / "silences" / f"{i}.png")
    source = load_clips(str(tmp_path / "silences"), VIDEO, SOUND)
    assert any("Decoded clips lie in" in note for note in source.notes)
    assert len(source.train) + len(source.test or ()) == 2 and len(source.train.sounds[0]) == 60 * RATE
