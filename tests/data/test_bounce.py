"""The clips drawn here: the same on every call, real MP4, and what is heard happens when it is seen."""

import csv
import io

import numpy as np
import pytest
import torch

from semblance.data.clips.media import decode_clip
from semblance.data.sources import bounce

pytest.importorskip("av", reason="PyAV is not installed")


def test_a_clip_is_a_function_of_its_number_and_the_seed() -> None:
    assert bounce.clip(3) == bounce.clip(3) != bounce.clip(4)
    assert bounce.clip(3, seed=1) != bounce.clip(3)
    assert bounce.clip(3)[4:8] == b"ftyp"


def test_it_decodes_to_what_was_drawn() -> None:
    clip = decode_clip(bounce.clip(5), bounce.SIDE, bounce.FPS, bounce.RATE)
    drawn, sound = torch.from_numpy(bounce._frames(5, 0)).permute(0, 3, 1, 2), bounce._sound(5, 0)
    assert clip.frames.shape == drawn.shape
    assert (clip.frames.float() - drawn.float()).abs().mean() < 6
    heard = clip.sound[: len(sound)].double().numpy()
    assert np.corrcoef(heard, sound[: len(heard)])[0, 1] > 0.95


@pytest.mark.parametrize("i", range(4))
def test_it_sounds_when_it_lands(i: int) -> None:
    """The shape is at its lowest, by the number of the clip's cause, where loudness rises."""
    cause = bounce._draws(i, 0, "cause", 3)
    period = bounce._period(cause)
    loud = torch.from_numpy(bounce._sound(i, 0)).double().abs().unfold(0, 240, 240).mean(1)  # 10 ms each
    landings = [(k + 1 - float(cause[2])) * period for k in range(8)]
    for time in (t for t in landings if 0.05 < t < 2.9):
        at = round(time * 100)
        assert loud[at : at + 5].mean() > 2 * loud[at - 4 : at - 1].mean()


def test_labels_are_balanced_and_true() -> None:
    rows = list(csv.DictReader(io.StringIO(bounce.read("labels.csv").decode())))
    assert len(rows) == bounce.TRAIN + bounce.TEST == len(bounce.names()) - 1
    assert {r["shape"] for r in rows} == set(bounce.CLASSES)
    assert sum(r["split"] == "test" for r in rows) == bounce.TEST
    counts = np.unique([r["pitch"] for r in rows], return_counts=True)[1]
    assert len(counts) == 4 and counts.min() > 150
