"""`semblance lesson`: runs that were really trained, with a guard and without, on one page."""

import json
import os
import re
import signal
import subprocess
import sys
from base64 import b64decode
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import run

from semblance.commands import lesson as command
from semblance.commands.recorder import Recorder, frame_steps
from semblance.data import Source, load
from semblance.errors import UserError
from semblance.modalities.pictures import Pictures
from semblance.report.lesson import page as page_module
from semblance.report.lesson.recorded import Recorded

PAGE = Path(page_module.__file__).parent
DTYPES = {"places": "<i2", "spectrum": "u1", "shares": "<i2", "kept": "u1", "correlation": "i1"}


class _Data(HTMLParser):
    """What the script of the page is given."""

    text, inside = "", False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script" and dict(attributes).get("id") == "data"

    def handle_data(self, data: str) -> None:
        self.text += data if self.inside else ""


def chapters(page: Path) -> list[dict[str, Any]]:
    """The page's data, its arrays decoded as the script decodes them."""
    parser = _Data()
    parser.feed(page.read_text(encoding="utf-8"))
    found = json.loads(parser.text)
    for run_ in (run_ for chapter in found for run_ in chapter["runs"]):
        for name, kind in DTYPES.items():
            if run_[name] is not None:
                run_[name] = np.frombuffer(b64decode(run_[name]), kind).reshape(len(run_["steps"]), -1)
    return found


@cache
def _drawn(data: str, size: int) -> Source[Any]:
    return load(data, image_size=size)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pictures to train on and to look at, drawn once for all tests."""
    monkeypatch.setattr(Pictures, "load", lambda self, config: _drawn(config.data, config.load_size))
    monkeypatch.setattr(command, "TRAINED", 192)
    monkeypatch.setattr(command, "HELD_OUT", 40)


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """Those that were at work, in their order."""
    made: list[Recorder] = []

    class Noted(Recorder):
        def __init__(self, *arguments: Any) -> None:
            made.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr(command, "Recorder", Noted)
    return made


def test_the_page_holds_what_was_recorded_of_each_pair(
    few: None, recorders: list[Recorder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "lesson"
    assert run(monkeypatch, "lesson", "barlow-twins", "swav", "moco", "--steps", "4", "--out", str(out)) == 0
    assert [path.name for path in out.iterdir()] == ["lesson.html"]
    found = chapters(out / "lesson.html")
    assert [c["family"] for c in found] == ["contrastive", "clustering", "redundancy reduction"]
    assert [[r["without"] for r in c["runs"]] for c in found] == [
        [[], ["negatives"]], [[], ["sinkhorn"]], [[], ["decorrelation"]],
    ]  # fmt: skip
    told = [r for c in found for r in c["runs"]]
    seen = [recorder.recorded() for recorder in recorders]
    for on_page, recorded in zip(told, seen, strict=True):
        assert on_page["steps"] == recorded.steps == [0, 1, 2, 3, 4]
        assert np.allclose(on_page["losses"][1:], recorded.losses[1:], atol=1e-4) and on_page["losses"][0] is None
        assert np.allclose(on_page["deviation"], recorded.deviation, atol=1e-4)
        assert on_page["used"] == recorded.in_use
        spectrum = 10.0 ** (on_page["spectrum"] / 255 * 6 - 6)
        assert np.allclose(np.log10(spectrum), recorded.spectrum.clamp(min=1e-6).log10(), atol=0.02)
        for name, scale in (("shares", 32767), ("correlation", 127)):
            if (exact := getattr(recorded, name)) is not None:
                assert np.allclose(on_page[name] / scale, exact.flatten(1), atol=0.6 / scale)
        exact = page_module.places(recorded)
        assert np.allclose(on_page["places"] / 32767, exact.flatten(1), atol=1e-4)
    assert [r["shares"] is not None for r in told] == [False, False, True, True, False, False]
    assert [r["correlation"] is not None for r in told] == [False] * 4 + [True, True]
    filled = [(k > 0).mean() for k in told[0]["kept"]]
    assert filled == sorted(filled) and filled[0] == 0 and filled[-1] == 4 * 2 * 64 / 1024  # symmetric: two keys each


def test_a_pair_differs_in_its_guard_alone(few: None, recorders: list[Recorder], tmp_path: Path) -> None:
    command.lesson(["simclr"], out=str(tmp_path), steps=3, seed=5)
    whole, bare = recorders
    assert bare.config == whole.config.model_copy(update={"without": ["negatives"]})
    assert whole.config.max_steps == 3 and whole.config.seed == 5
    assert whole.method.has("negatives") and not bare.method.has("negatives")
    one, other = whole.recorded(), bare.recorded()
    assert one.steps == other.steps
    assert torch.equal(one.embeddings[0], other.embeddings[0])  # before the first step
    assert not torch.allclose(one.embeddings[-1], other.embeddings[-1])


def test_recording_leaves_the_run_as_it_would_be(
    few: None, recorders: list[Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, running statistics, queue: what was looked at in every step is what was looked at in the end alone."""
    command.lesson(["swav"], out=str(tmp_path / "seen"), steps=3)
    monkeypatch.setattr(command, "frame_steps", lambda total, frames: [])
    with pytest.raises(IndexError):  # a film without frames
        command.lesson(["swav"], out=str(tmp_path / "unseen"), steps=3)
    seen, unseen = recorders[0].method.state_dict(), recorders[2].method.state_dict()
    assert seen.keys() == unseen.keys() and all(torch.equal(seen[name], unseen[name]) for name in seen)


def test_guards_to_switch_off_are_those_named_or_the_first() -> None:
    pairs = command.chosen(["byol", "vicreg"], clips=False, without=["predictor"])
    assert [(p.method, p.without) for p in pairs] == [("byol", ("predictor",)), ("vicreg", ("variance",))]
    usual = [p.method for p in command.chosen([], clips=True)]
    assert usual == ["simclr", "swav", "simsiam", "barlow-twins", "avid", "avid-cma"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("simcrl",), "Did you mean 'simclr'?"),
        (("simclr", "--without", "negative"), "Did you mean 'negatives'?"),
        (("simclr", "--step", "3"), "Did you mean --steps?"),
        (("simclr", "--steps", "0"), "--steps 0: a run has 1 or more."),
        (("simclr", "--seed", "1e3"), "--seed"),
        (("simclr", "--out", ""), "--out"),
    ],
)
def test_a_mistake_costs_nothing(
    arguments: tuple[str, ...], hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "lesson", *arguments) == 2
    told = "".join(capsys.readouterr())
    assert hint in " ".join(told.split()) and "Traceback" not in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["lesson.html", "config.yaml"])
def test_a_folder_that_holds_a_lesson_or_a_run_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="already holds a (lesson|run)"):
        command.lesson(["simclr"], out=str(tmp_path), steps=1)
    assert (tmp_path / name).read_text() == "mine"


def test_ctrl_c_leaves_a_page_of_what_is_done(tmp_path: Path) -> None:
    """To the process, while it trains the second method."""
    script = (
        "from semblance.data.sources import named; named._SHAPES_TRAIN, named._SHAPES_TEST = 192, 40\n"
        "from semblance.__main__ import main; main()"
    )
    arguments = ["lesson", "simclr", "swav", "simsiam", "--steps", "6", "--out", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("4 of 6"):  # SwAV without sinkhorn
                process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    told = " ".join("".join(said).split())
    assert "Stopped: SwAV, SimSiam are missing." in told and "Traceback" not in told
    assert [c["title"] for c in chapters(tmp_path / "lesson.html")] == ["SimCLR"]
    assert "Stopped early: SwAV, SimSiam are missing." in (tmp_path / "lesson.html").read_text()


def test_a_run_that_diverges_ends_its_film_and_not_the_lesson(
    few: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from semblance.systems.contrastive.simclr import SimCLR

    objective = SimCLR.objective

    def failing(self: SimCLR, z: Any, index: Any, clock: Any) -> Any:
        loss, numbers = objective(self, z, index, clock)
        return loss * (float("nan") if not self.has("negatives") and clock.step == 1 else 1), numbers

    monkeypatch.setattr(SimCLR, "objective", failing)
    command.lesson(["simclr"], out=str(tmp_path), steps=3)
    (chapter,) = chapters(tmp_path / "lesson.html")
    assert [r["steps"] for r in chapter["runs"]] == [[0, 1, 2, 3], [0, 1]]
    assert chapter["headline"] == "Without negatives, SimCLR diverges."


@pytest.mark.long
def test_clips_are_seen_and_heard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "TRAINED", 192)
    command.lesson(["avid"], out=str(tmp_path), steps=2, clips=True)
    found = chapters(tmp_path / "lesson.html")
    assert [c["title"] for c in found] == ["AVID", "AVID-CMA"]
    for chapter in found:
        assert len(chapter["clips"]) == command.HEARD
        assert all(clip["sound"].startswith("data:audio/wav") for clip in chapter["clips"])
        assert all(0 <= i < command.HEARD for r in chapter["runs"] for frame in r["heard"] for i in frame)
        assert chapter["runs"][0]["places"].shape[1] == 2 * 2 * len(chapter["labels"])  # video and audio


@pytest.mark.parametrize("total", [1, 2, 7, 160, 5000])
def test_frames_begin_dense_and_end_with_the_last_step(total: int) -> None:
    steps = frame_steps(total, 36)
    assert steps[0] == 0 and steps[-1] == total and steps == sorted(set(steps))
    assert len(steps) <= 41 and set(range(min(4, total))) <= set(steps)


def test_text_has_24_px_or_more_on_a_projector() -> None:
    css, script = (PAGE / "lesson.css").read_text(), (PAGE / "lesson.js").read_text()
    low, share, high = re.search(r"font-size: clamp\((\d+)px, ([\d.]+)vw, (\d+)px\)", css).groups()
    assert min(max(int(low), float(share) * 12.80), int(high)) >= 24
    others = [size for size in re.findall(r"font(?:-size)?: ([^;]*)", css) if "clamp" not in size and size != "inherit"]
    sizes = [float(size) for text in others for size in re.findall(r"([\d.]+)(?:rem|em|px|vw)", text)[:1]]
    assert len(sizes) == len(others) and min(sizes) >= 1 and not re.search(r"font[^;]*\dpx", css.split("*")[-1])
    assert set(re.findall(r"\.font = `([^`]*)`", script)) == {"${rem()}px ui-sans-serif, system-ui, sans-serif"}


def test_the_page_asks_nothing_of_a_network() -> None:
    text = "".join(path.read_text() for path in PAGE.glob("lesson.*"))
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|//cdn|@import|\bfetch\(|XMLHttpRequest|<link|src=", text)


def test_words_follow_what_became_of_the_embeddings() -> None:
    from semblance.report.lesson.words import words

    torch.manual_seed(0)
    spread = torch.randn(1, 200, 32)
    point = torch.ones(1, 200, 32) + 0.01 * spread
    line = torch.randn(1, 200, 1).sign() * torch.ones(1, 200, 32) + 0.05 * spread
    shares = torch.zeros(1, 16)
    shares[0, 3] = 1.0

    def said(embeddings: torch.Tensor, shares: torch.Tensor | None = None) -> str:
        return words(Recorded([], [0], embeddings, [0.0], shares=shares))[0]

    assert said(spread) == "spread out" and said(point) == "all at one point" and said(line) == "all on one line"
    assert said(spread, shares) == "one group for all"
    assert said(spread, torch.full((1, 16), 1 / 16)) == "spread out"
