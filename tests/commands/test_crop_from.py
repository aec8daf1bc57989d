"""Runs whose views are cut from the originals: decided once, and the same on any workers, ranks and after a stop."""

from contextlib import nullcontext
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ranks import Ranks
from tiny import assert_close, tiny_config, tiny_method

import semblance as sb
from semblance.data import load
from semblance.data.pictures.crops import as_trained
from semblance.engine import loop
from semblance.engine.whole_set import WholeSet
from semblance.errors import UserError
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runtime import memory, random
from semblance.systems import Clock
from semblance.views.view import make_views

FAST = {
    "backbone": "resnet10-w8-cifar", "image_size": 24, "batch_size": 8, "epochs": 2, "precision": "64",
    "channels_last": False, "compile": False, "workers": 0, "eval_every": 0,
}  # fmt: skip
SMALL = {"simclr": {"hidden": 16}, "pirl": {"negatives": 16}, "deepcluster-v2": {"hidden": 16, "clusters": 4}}
OBLONG, SQUARE = (30, 20, 36, 3), (30, 24, 24, 3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of several sizes, one of them broken; without classes, for measuring takes longer than training."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for i in range(24):
        root.mkdir(exist_ok=True)
        size = (60 + 10 * (i % 3), 90 - 10 * (i % 4), 3)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, size, dtype=np.uint8)).save(
            root / f"{i}.jpg", quality=90
        )
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return root


def run(photos: Path, out: Path, method: str = "simclr", **flags: object) -> dict:
    recipe = {"recipe": "imagenet", "hyper": SMALL.get(method, {})}
    sb.train(method, data=str(photos), out=str(out), **FAST | recipe | flags)
    return checkpoint.load(RunFolder(out).checkpoint)["method"]


def crop_from(out: Path) -> str:
    return TrainConfig.load(RunFolder(out).config).crop_from


@pytest.mark.parametrize("method", ["pirl", "deepcluster-v2"])
def test_workers_and_memory_do_not_change_a_run(
    method: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: decoded here, by workers, and where canvases do not fit; jigsaws and passes over the whole set."""
    weights = [run(photos, tmp_path / "here", method, max_steps=3)]
    monkeypatch.setattr(memory, "_available", lambda: 0)
    weights.append(run(photos, tmp_path / "there", method, max_steps=3, workers=2))
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    assert crop_from(tmp_path / "here") == crop_from(tmp_path / "there") == "original"


def test_a_stopped_run_goes_on_with_the_same_crops(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(photos, tmp_path / "whole")
    with monkeypatch.context() as patch:
        steps = count()
        patch.setattr(loop, "interruptible", lambda: nullcontext(lambda: next(steps) == 2))
        with pytest.raises(KeyboardInterrupt):
            run(photos, tmp_path / "stopped")
    sb.train(resume=str(tmp_path / "stopped"), workers=1)
    rest = checkpoint.load(RunFolder(tmp_path / "stopped").checkpoint)["method"]
    torch.testing.assert_close(rest, whole, rtol=0, atol=0)
    with pytest.raises(UserError, match="crop-from"):
        sb.train(resume=str(tmp_path / "stopped"), crop_from="canvas", epochs=3)


def test_micro_batches_see_the_same_crops(photos: Path, tmp_path: Path) -> None:
    """Without batch norms, which see a micro-batch: to the rounding of sums in another order."""
    whole, parts = (outcome(photos, tmp_path / str(m), norms=False, micro_batch=m) for m in (None, 3))
    assert_close(parts, whole, 1e-9)


def test_two_ranks_see_the_crops_of_one(photos: Path, tmp_path: Path, two_ranks: Ranks) -> None:
    one = outcome(photos, tmp_path / "one", norms=False)
    for rank in two_ranks(outcome, photos, tmp_path / "two", False):
        assert_close(rank, one, 1e-9)


def outcome(photos: Path, out: Path, norms: bool, **flags: object) -> dict[str, torch.Tensor]:
    """Weights after some steps of this rank."""
    config = tiny_config(
        "simclr", crop_from="original", precision="64", image_size=24, batch_size=7, max_steps=5, **flags
    )
    method = tiny_method(config, norms=norms)
    out.mkdir(exist_ok=True)
    loop.fit(method, load(str(photos), image_size=24).train, config, RunFolder(out), torch.device("cpu"))
    return dict(method.state_dict())


@pytest.mark.parametrize("how", ["original", "canvas"])
def test_a_step_sees_the_crops_of_its_own_step(
    how: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the originals or of the canvases, as the run is configured, in the steps and in passes over the whole set."""
    config = tiny_config("simclr", crop_from=how, image_size=24, batch_size=7, max_steps=2)
    images, method, seen = load(str(photos), image_size=24).train, tiny_method(config), []
    embed = method.embed

    def noting(views: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append(views)
        return embed(views)

    def all_at_once(whole: WholeSet, clock: Clock) -> None:
        if clock.step == 1:
            whole.crops(lambda views: seen.append(views) or views[0], 4)

    monkeypatch.setattr(method, "embed", noting)
    monkeypatch.setattr(method, "start_step", all_at_once)
    loop.fit(method, images, config, RunFolder(tmp_path), torch.device("cpu"))
    seed = random.key(config.seed, "whole set")
    steps = [method.order(len(images), Clock(0, 2, 3)).split(7)[n] for n in range(2)]
    everything = random.permutation(random.key(seed, "order", 4), len(images))
    expected = [(steps[0], config.seed, 0), (everything, seed, 4), (steps[1], config.seed, 1)]
    for views, (index, seed, step) in zip(seen, expected, strict=True):
        raw = as_trained(images, config.views, how).read(index, random.key(seed, "view", step))
        assert raw[0].ndim == (5 if how == "original" else 4)
        torch.testing.assert_close(views, make_views(config.views, raw, index, seed=seed, step=step))


@pytest.mark.parametrize(
    ("shape", "flags", "expected"),
    [
        (OBLONG, {"recipe": "imagenet"}, "original"),
        (OBLONG, {"recipe": "quick"}, "canvas"),
        (SQUARE, {"recipe": "imagenet"}, "canvas"),
        (OBLONG, {"recipe": "imagenet", "crop_from": "canvas"}, "canvas"),
        (SQUARE, {"recipe": "quick", "crop_from": "original"}, "original"),
    ],
)
@pytest.mark.parametrize("free", [0, 2**40])
def test_where_views_are_cut_from_is_decided_by_recipe_and_sizes(
    shape: tuple[int, ...], flags: dict, expected: str, free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published recipe cuts from the originals, unless the canvases are those; what is asked for stands, and free
    memory has no say."""
    monkeypatch.setattr(memory, "_available", lambda: free)
    np.save(tmp_path / "pictures.npy", np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    told = sb.train(data=str(tmp_path / "pictures.npy"), dry_run=True, **FAST | {"hyper": {"hidden": 8}} | flags)
    assert told["config"]["crop_from"] == expected


def test_clips_are_not_cropped_from_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--crop-from"):
        sb.train("avid", crop_from="original", out=str(tmp_path / "run"))


def test_the_report_shows_the_views_as_trained(photos: Path, tmp_path: Path) -> None:
    from semblance.modalities.pictures import sheet

    config = tiny_config("simclr", crop_from="original", image_size=24)
    images = load(str(photos), image_size=24).train
    ours, kept = (sheet(config.model_copy(update={"crop_from": how}), images) for how in ("original", "canvas"))
    assert ours.shape == kept.shape and torch.equal(ours[:, 0], kept[:, 0])
    assert 1 < (ours[:, 1:].int() - kept[:, 1:].int()).abs().float().mean() < 40  # the same boxes, with their detail
