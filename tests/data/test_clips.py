"""Sets of clips: folders, tars, tables and arrays; what cannot be read is named; windows are counted."""

import csv
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from video_fixtures import RATE, film, mp4, sound_file, without_video

from semblance.data import Clips, Source, find_files, load_clips
from semblance.data.sources import clip_files
from semblance.data.sources.bounce import encode
from semblance.data.sources.clip_arrays import resample
from semblance.data.splits import is_held_out
from semblance.errors import UserError
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import View

pytest.importorskip("av", reason="PyAV is not installed")
VIDEO, SOUND = ClipView(View(16), frames=4, fps=8.0), SoundView(seconds=1.0, rate=RATE, fft=256, hop=80)


def load(path: Path, **options) -> Source[Clips]:
    return load_clips(str(path), VIDEO, SOUND, **options)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    root = tmp_path / "films"
    for i in range(12):
        mp4(root / ("cat", "dog")[i % 2] / f"{i:02d}.mp4", seed=i)
    return root


def whole(source: Source[Clips]) -> list[str]:
    return sorted([*source.train.items, *source.test.items])


def test_a_folder_and_a_tar_of_it_hold_the_same(films: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "films.tar", "w") as tar:
        tar.add(films, "films")
    folder, packed = load(films), load(tmp_path / "films.tar")
    assert len(folder.train) + len(folder.test) == 12 and len(folder.test) >= 1
    assert [f"films/{name}" for name in whole(folder)] == whole(packed)
    for a, b in zip(folder.train.read([0, 1], 7), packed.train.read([0, 1], 7), strict=True):
        assert torch.equal(a, b)
    known = folder.train.attributes["class"]
    assert [known.classes[v] for v in known.values] == [name.split("/")[0] for name in folder.train.items]


@pytest.mark.usefixtures("reader")
def test_what_cannot_be_read_is_named_with_its_reason(films: Path) -> None:
    good = whole(load(films))
    whole_file = (films / "cat" / "00.mp4").read_bytes()
    (films / "cat" / "half.mp4").write_bytes(whole_file[: len(whole_file) // 2])
    (films / "cat" / "empty.mp4").touch()
    (films / "cat" / "text.mkv").write_text("no video at all")
    mp4(films / "dog" / "short.mp4", seconds=0.5)
    (films / "dog" / "silent.mp4").write_bytes(encode(film()[0], np.empty(0, np.int16), fps=8, rate=RATE))
    (films / "dog" / "blind.mp4").write_bytes(without_video())
    Image.new("RGB", (8, 8)).save(films / "dog" / "alone.png")
    source = load(films)
    assert whole(source) == good
    told = {Path(name).name: why for name, why in source.skipped}
    assert set(told) == {"half.mp4", "empty.mp4", "text.mkv", "short.mp4", "silent.mp4", "blind.mp4", "alone.png"}
    assert told["empty.mp4"] == "empty file" and told["silent.mp4"] == "no sound in it"
    assert told["blind.mp4"] == "no video in it" and told["short.mp4"].startswith("too short: 0.5")
    assert told["half.mp4"].startswith("cut short") and "without a sound file" in told["alone.png"]


def test_what_does_not_fit_in_memory_is_decoded_once_to_disk(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (films / "cat" / "empty.mp4").touch()
    memory, disk = load(films), load(films, memory_fraction=0)
    (folder,) = (tmp_path / "cache" / "semblance").iterdir()
    monkeypatch.setattr("semblance.data.sources.clip_files.decode_clip", None)  # nothing is decoded again
    again = load(films, memory_fraction=0)
    for other in (disk, again):
        assert other.train.items == memory.train.items and other.skipped == memory.skipped
        for a, b in zip(other.train.read(range(6), 3), memory.train.read(range(6), 3), strict=True):
            assert torch.equal(a, b)
    assert {p.name for p in folder.iterdir()} == {"frames", "sounds", "about.json"}


def test_what_befalls_the_pictures_of_clips_is_told(tmp_path: Path) -> None:
    for i in range(4):
        page = Image.new("RGB", (20, 20), (i * 40, 0, 0))
        page.save(tmp_path / f"{i}.tif", save_all=True, append_images=[page] * (i % 2))
        sound_file(tmp_path / f"{i}.wav", np.full(RATE, 1000))
    assert any("Only the first page or frame is used: 2 files, as 1.tif, 3.tif." in n for n in load(tmp_path).notes)


def test_pictures_with_sound_files_beside_them(tmp_path: Path) -> None:
    for i in range(6):
        Image.new("RGB", (20, 20), (i * 40, 0, 0)).save(tmp_path / f"{i}.png")
        sound_file(tmp_path / f"{i}.wav", np.full(RATE // 2 * (1 + i % 2), 1000 * i))
    sound_file(tmp_path / "lonely.wav", np.zeros(100))
    source = load(tmp_path)
    assert source.skipped == [("lonely.wav", "a sound file without a picture beside it")]
    frames, sizes, sounds = source.train.read(range(len(source.train)))
    assert frames.shape[1] == 1 and sounds.shape[1] == SOUND.samples and sizes.tolist()[0] == [20, 20]
    for item, picture, sound in zip(source.train.items, frames, sounds, strict=True):
        number = int(item.split(".")[0])
        assert picture[0, 0].float().mean() == pytest.approx(number * 40, abs=1)
        assert sound[: RATE // 2 - 10].float().median() == pytest.approx(1000 * number, abs=20)
    assert (sounds[:, -RATE // 4 :] == 0).all(1).any()  # silence follows a short sound


def test_a_table_names_pairs_splits_and_labels(tmp_path: Path) -> None:
    for i in range(8):
        Image.new("L", (20, 20), 30 * i).save(tmp_path / f"{i}.png")
    for c in "ab":
        sound_file(tmp_path / "sounds" / f"{c}.wav", np.ones(RATE))
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["clip", "sound", "split", "letter", "number"])
        for i in range(8):
            letter = "ab"[i % 2]
            rows.writerow([f"{i}.png", f"sounds/{letter}.wav", "train" if i < 6 else "test", letter, i])
        rows.writerow(["gone.png", "sounds/a.wav", "train", "a", 9])
    source = load(tmp_path)
    assert source.train.items == [f"{i}.png" for i in range(6)] and source.test.items == ["6.png", "7.png"]
    assert list(source.train.attributes) == ["letter"]  # every clip has a number of its own
    assert source.test.attributes["letter"].values.tolist() == [0, 1]
    assert source.skipped[0][0] == "gone.png" and "labels.csv names" in source.skipped[0][1]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Twenty pictures with a sound each in two folders."""
    for i in range(20):
        path = tmp_path / "pairs" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 20), 10 * i).save(path)
        sound_file(path.with_suffix(".wav"), np.ones(RATE))
    return tmp_path / "pairs"


def test_two_tables_and_clips_that_neither_names(pairs: Path) -> None:
    """Ten clips were gone where there are two tables."""
    for folder in "ab":
        names = sorted(path.name for path in (pairs / folder).glob("*.png"))[:-1]
        rows = [f"{name};{'test' if i % 3 == 0 else 'TRAINING'};{'uv'[i % 2]}" for i, name in enumerate(names)]
        (pairs / folder / "labels.csv").write_text("\n".join(["Clip;Split;word", *rows]), encoding="utf-8-sig")
    source = load(pairs)
    assert source.test is not None and len(source.train) == 14 and len(source.test) == 6 and not source.skipped
    assert source.train.attributes["word"].names.count("") == 2
    assert "2 of 20 clips are not named by a/labels.csv and b/labels.csv, as a/18.png." in source.notes
    assert source.notes[-1].startswith(
        "Understood: word of 2 classes (u 10, v 8; 2 without one) by a/labels.csv and b/la"
    )


def test_a_table_that_is_named_takes_the_place_of_theirs(pairs: Path, tmp_path: Path) -> None:
    (pairs / "labels.csv").write_text("clip,kind\n" + "".join(f"{'ab'[i % 2]}/{i:02}.png,{i % 3}\n" for i in range(20)))
    (tmp_path / "own.csv").write_text("".join(f"{i:02},{'pq'[i % 2]}\n" for i in range(20)))
    theirs, own = load(pairs), load(pairs, labels=str(tmp_path / "own.csv"))
    assert list(theirs.train.attributes) == ["kind"] and list(own.train.attributes) == ["label"]
    assert "Not read, since --labels is given: labels.csv." in own.notes
    assert load(pairs, unlabelled=True).train.attributes == {}
    folders = load(pairs, labels="folders")
    assert folders.train.attributes["class"].classes == ["a", "b"]
    assert load(pairs, split="none").test is None
    held = load(pairs, split="test=b")
    assert {item[0] for item in held.train.items} == {"a"} and {item[0] for item in held.test.items} == {"b"}


def test_every_label_of_clips_is_held_out_of(pairs: Path) -> None:
    """Today's hash stays; a class that it leaves without a held-out clip gives one."""
    source = load(pairs, labels="folders")
    assert source.test is not None
    by_hash = {name for name in whole(source) if is_held_out(name)}
    assert by_hash <= set(source.test.items) and len(source.test.items) <= len(by_hash) + 2
    assert {item[0] for item in source.test.items} == {"a", "b"}


def test_labels_of_arrays_are_as_those_of_pictures(tmp_path: Path) -> None:
    x, sound = np.zeros((20, 8, 8), np.uint8), np.zeros((20, 4000))
    y = [0, 1, 2, -1] * 5
    np.savez(
        tmp_path / "pairs.npz",
        x_train=x,
        sound_train=sound,
        rate=4000,
        y_train=y,
        x_test=x,
        sound_test=sound,
        y_test=[0, 1] * 10,
    )
    source = load(tmp_path / "pairs.npz")
    assert (
        source.train.attributes["class"].classes == ["0", "1", "2"] and source.train.attributes["class"].names[3] == ""
    )
    assert "no held-out sample is of the label 2" in source.notes[0].lower() and "-1 or blank" in source.notes[1]
    assert source.notes[-1].startswith("Understood: 3 classes (0 15, 1 15, 2 5; 5 without one) by the file")


@pytest.mark.parametrize("dtype", [np.float16, ">f4", ">i2"])
def test_sounds_in_arrays_of_other_kinds_of_number_are_as_int16(tmp_path: Path, dtype: str) -> None:
    """Full scale too, where float16 has no 32767; and what is not used need not be readable."""
    x, values = np.zeros((40, 8, 8), np.uint8), np.array([-1, -0.5, 0, 0.25, 1])
    wave = np.resize(values * (1 if "f" in np.dtype(dtype).kind else 32767), (40, RATE)).astype(dtype)
    unread = np.array([{}] * 40)
    np.savez(tmp_path / "pairs.npz", x_train=x, sound_train=wave, rate=RATE, y_train=unread, other=unread)
    source = load(tmp_path / "pairs.npz", unlabelled=True)
    expected = np.array([-32767, -16384, 0, 8192, 32767])
    assert np.abs(source.train.sounds[0][:5].numpy() - expected).max() <= 1
    assert "Arrays that are not used: y_train, other." in source.notes


def test_arrays_of_pictures_and_sounds(tmp_path: Path) -> None:
    x = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 28, 28), np.uint8)
    sound = np.sin(2 * np.pi * 300 * np.arange(4000) / 4000)[None] * np.linspace(0, 1, 10)[:, None]
    np.savez(tmp_path / "pairs.npz", x_train=x, sound_train=sound, rate=4000, y_train=np.arange(10) % 2)
    source = load(tmp_path / "pairs.npz")
    assert len(source.train) + len(source.test) == 10
    frames, _, sounds = source.train.read([0, 1])
    assert frames.shape == (2, 1, 3, 24, 24) or frames.shape == (2, 1, 3, 28, 28)
    assert torch.fft.rfft(sounds[1].double()).abs().argmax() == 300
    np.savez(tmp_path / "bad.npz", x_train=x, rate=4000)
    with pytest.raises(UserError, match="no array named sound_train"):
        load(tmp_path / "bad.npz")
    assert [note.split(":")[0] for note in source.notes] == ["The sound is silent", "Understood"]
    assert source.notes[0] == "The sound is silent: 1 of 10 rows of sound_train."
    np.savez(tmp_path / "loud.npz", x_train=x, sound_train=sound * 1.2, rate=4000)
    assert "Values beyond [-1, 1] are clipped: 2 of 10 rows of sound_train." in load(tmp_path / "loud.npz").notes
    films = np.zeros((10, 16, 28, 28, 3), np.uint8)  # two seconds
    np.savez(tmp_path / "long.npz", x_train=films, sound_train=np.zeros((10, 20_000)), rate=4000)
    assert "x_train lasts 2 s and sound_train 5 s" in load(tmp_path / "long.npz").notes[1]
    few = np.zeros((10, VIDEO.frames - 1, 28, 28, 3), np.uint8)
    np.savez(tmp_path / "short.npz", x_train=few, sound_train=sound, rate=4000)
    with pytest.raises(UserError, match="too short for windows of"):
        load(tmp_path / "short.npz")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rate": 0}, "rate is 0"),
        ({"rate": [1, 2]}, "rate is .1, 2."),
        ({"rate": "x"}, "rate is x"),
        ({"rate": 8000.5}, "rate is 8000.5; give one whole number"),
        ({"sound_train": np.full((10, 9), np.nan)}, "holds values from nan to nan"),
        ({"sound_train": np.full((10, 9), 9e3)}, r"from 9000 to 9000; give floats in .-1, 1."),
        ({"x_train": np.zeros((0, 8, 8), np.uint8), "sound_train": np.zeros((0, 9))}, "x_train is empty"),
        ({"sound_train": np.zeros((10, 0))}, "sound_train must hold"),
        ({"y_train": np.arange(9)}, "y_train must hold"),
        ({"x_test": np.zeros((3, 8, 8), np.uint8), "sound_test": np.zeros((3, 9))}, "y_test must hold one label"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(wrong: dict, told: str, tmp_path: Path) -> None:
    sound = {"x_train": np.zeros((10, 8, 8), np.uint8), "sound_train": np.zeros((10, 9)), "rate": 4000}
    np.savez(tmp_path / "pairs.npz", **(sound | {"y_train": np.arange(10) % 2} | wrong))
    with pytest.raises(UserError, match=told):
        load(tmp_path / "pairs.npz")


def test_rows_are_told_from_those_of_other_arrays(tmp_path: Path) -> None:
    x, sound = np.zeros((20, 8, 8), np.uint8), np.random.default_rng(0).normal(size=(20, 4000)).clip(-1, 1)
    prints = []
    for order in (slice(None), slice(None), slice(None, None, -1)):
        np.savez(tmp_path / "pairs.npz", x_train=x, sound_train=sound[order], rate=4000)
        prints.append(load(tmp_path / "pairs.npz").train.fingerprint())
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"clip,word\n0.png,a\n1.png\n", "line 3 has more or fewer"),
        (b"clip,word\n0.png,a,b\n", "line 2 has more"),
        ("clip,word\n0.png,\xe9\n".encode("latin-1"), "Save it as comma-separated UTF-8"),
    ],
)
def test_a_damaged_table_is_told(text: bytes, told: str, tmp_path: Path) -> None:
    for i in range(2):
        Image.new("L", (20, 20), 30 * i).save(tmp_path / f"{i}.png")
        sound_file(tmp_path / f"{i}.wav", np.ones(RATE))
    (tmp_path / "labels.csv").write_bytes(text)
    with pytest.raises(UserError, match=told):
        load(tmp_path)


def test_memory_is_told_before_decoding(tmp_path: Path) -> None:
    """Whole sounds count, not windows of them."""
    for i in range(4):
        Image.new("L", (20, 20), 30 * i).save(tmp_path / f"{i}.png")
        sound_file(tmp_path / f"{i}.wav", np.ones(30 * RATE))
    files = find_files(tmp_path, clip_files.is_media)
    assert files is not None
    canvas, needed = clip_files._measure(files, clip_files._pairs(files.items, None)[0], VIDEO, SOUND)
    source = load(tmp_path)
    held = [t for part in (source.train, source.test) for rows in (part.frames, part.sounds) for t in rows]
    assert needed == pytest.approx(sum(t.numel() * t.element_size() for t in held), rel=0.02)
    assert canvas == source.train.canvas


def test_resampling_keeps_what_both_rates_hold() -> None:
    time = torch.arange(4000) / 4000
    tone = (10_000 * torch.sin(2 * torch.pi * 300 * time)).short()[None]
    up = resample(tone, 4000, 8000)
    expected = 10_000 * torch.sin(2 * torch.pi * 300 * torch.arange(8000) / 8000)
    assert (up[0].float() - expected).abs().max() < 3
    assert (resample(up, 8000, 4000) - tone).abs().max() <= 2


def numbered(n: int = 200, frames: int = 40, seconds: float = 5.0) -> Clips:
    """Clips whose frames and samples hold their own number."""
    count = torch.arange(frames, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    heard = torch.arange(round(seconds * 1000)).short()
    view = SoundView(seconds=2.0, rate=1000, fft=64, hop=10)
    sizes = torch.full((n, 2), 2, dtype=torch.int32)
    return Clips("numbered", 2, range(n), [count] * n, [heard] * n, sizes, VIDEO, view)


def test_windows_lie_as_published() -> None:
    """Sound uniform over valid starts; video within half a second around it, whole and inside the file."""
    clips = numbered()
    frames, _, sounds = clips.read(range(200), key=1)
    heard, seen = sounds[:, 0].double() / 1000, frames[:, 0, 0, 0, 0].double() / 8
    assert sounds.shape == (200, 2000) and frames.shape[1] == 4
    assert heard.min() >= 0 and heard.max() <= 3 and heard.std() == pytest.approx(3 / 12**0.5, rel=0.15)
    offset = seen - heard
    assert offset.min() >= -0.57 and offset.max() <= 2.07  # half a frame of rounding
    inside = (heard > 0.5) & (heard < 2.5)
    assert offset[inside].min() < -0.2 and offset[inside].max() > 1.8
    assert seen.max() <= 4.5


def test_windows_depend_on_key_and_index_alone() -> None:
    clips = numbered()
    whole, part = clips.read(range(200), key=1), clips.read([7, 3], key=1)
    for a, b in zip(whole, part, strict=True):
        assert torch.equal(a[[7, 3]], b)
    assert not torch.equal(clips.read([7, 3], key=2)[2], part[2])


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 4.9])  # of a window of sound
@pytest.mark.parametrize("frames", [1, 4, 16])  # of a window of video, eight a second
def test_windows_are_of_one_moment_and_in_the_time_that_is_seen_and_heard(frames: int, seconds: float) -> None:
    """Also where the sound of arrays goes on three times as long as the picture, or ends before it."""
    for heard in (5.0, 15.0, 4.95):
        clips = numbered(300, 40, heard)
        clips.video = ClipView(View(16), frames=frames, fps=8.0)
        clips.sound = SoundView(seconds=seconds, rate=1000, fft=64, hop=10)
        for key in (None, 1, 2):
            for place in (0.0, 0.5, 1.0):
                first, sample = clips.at(place).windows(torch.arange(300), key)
                seen, begins = first / 8, sample / 1000
                assert (seen <= begins + seconds).all() and (begins <= seen + frames / 8).all()
                shared = min(5.0, heard)
                assert (seen + frames / 8 <= shared + 1 / 8).all() and (begins + seconds <= shared + 1e-3).all()


def test_what_befell_clips_is_told_also_of_the_cache(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    silence = np.zeros(2 * RATE, np.int16)
    for i in range(2):
        (films / "cat" / f"silent{i}.mp4").write_bytes(encode(film()[0], silence, fps=8, rate=RATE))
    sound_file(films / "cat" / "00.wav", film(seconds=9.0)[1])  # beside 2 s of picture
    expected = ["The sound is silent: 2 files, as cat/silent0.mp4, cat/silent1.mp4.", "cat/00.mp4."]
    for fraction in (0.25, 0, 0):
        source = load(films, memory_fraction=fraction)
        notes = [note for note in source.notes if "silent" in note or "without" in note]
        assert sorted(note.startswith("Over 0.5 s") for note in notes) == [False, True]
        assert all(any(note.endswith(end) for note in notes) for end in expected)
        together = {**dict(zip(source.train.items, source.train.sounds, strict=True))}
        together |= dict(zip(source.test.items, source.test.sounds, strict=True))
        assert len(together["cat/00.mp4"]) == 2 * RATE


def test_places_without_a_key() -> None:
    clips = numbered(2)
    assert [int(clips.at(p).read([0])[2][0, 0]) for p in (0.0, 0.5, 1.0)] == [0, 1500, 3000]
    assert [int(clips.at(p).read([0])[0][0, 0, 0, 0, 0]) / 8 for p in (0.0, 1.0)] == [0.75, 3.75]


def test_nothing_to_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No clips found"):
        load(tmp_path)
    with pytest.raises(UserError, match="Unknown set of clips 'bouncy'.*Did you mean 'bounce'"):
        load_clips("bouncy", VIDEO, SOUND)
