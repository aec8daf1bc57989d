"""What each guard prevents: real runs of a tiny network, with and without it, seen by the embeddings of the loss.

Collapse to a point shows in the standard deviation of the embeddings, collapse to few dimensions in their effective
rank, which batch norms at the end of a projector do not hide. Runs with a guard keep both.
"""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from tiny import CPU, SIZE, tiny_config
from torch import Tensor, nn

from semblance import systems
from semblance.data.pictures.images import Images
from semblance.engine.loop import fit
from semblance.runs.folder import RunFolder
from semblance.views.view import View

PICTURES, BATCH = 64, 32
NEAR = View(SIZE, count=2, scale=(0.6, 1.0), grey_p=0.0)
FAR = View(SIZE, count=2, scale=(0.08, 1.0), grey_p=0.0)
HARD = View(SIZE, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4), grey_p=0.0)  # to agree costs much
# after a comma, another run of the same method
# tint: the share of a picture that has one colour, which the crops of it have in common
RUNS: dict[str, dict[str, Any]] = {
    "simclr": {"tint": 0.0, "view": HARD, "optimizer": "sgd", "lr": 0.2},
    "byol": {"tint": 0.0, "view": NEAR, "optimizer": "sgd", "lr": 0.1},
    "simsiam": {"tint": 0.0, "view": HARD, "optimizer": "sgd", "lr": 0.1},
    "simsiam, longer": {"tint": 0.0, "view": NEAR, "optimizer": "sgd", "lr": 0.4, "steps": 1000},
    "swav": {"tint": 0.6, "view": FAR, "optimizer": "sgd", "lr": 0.4},
    "barlow-twins": {"tint": 0.6, "view": FAR, "optimizer": "sgd", "lr": 0.1, "hyper": {"lambda_": 0.2}},  # of 16 dims
    "vicreg": {"tint": 0.6, "view": FAR, "optimizer": "adamw", "lr": 0.05},
}


class Flat(nn.Module):
    """Pictures to 16 features: means of 4 x 4 cells, a linear layer, a batch norm."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.linear, self.norm = nn.AdaptiveAvgPool2d(4), nn.Linear(48, 16), nn.BatchNorm1d(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(self.pool(x).flatten(1)))


def pictures(tint: float) -> Images:
    """Random colours in 4 x 4 cells, mixed with one random colour."""
    generator = torch.Generator().manual_seed(0)
    cells, colour = (torch.randint(0, 256, (PICTURES, 3, n, n), generator=generator) for n in (4, 1))
    pixels = (tint * colour + (1 - tint) * cells).to(torch.uint8).repeat_interleave(2, 2).repeat_interleave(2, 3)
    sizes = torch.full((PICTURES, 2), SIZE, dtype=torch.int32)
    return Images("cells", SIZE, range(PICTURES), pixels, sizes)


class Spread(NamedTuple):
    """How far embeddings spread."""

    std: float  # of a dimension, mean over dimensions
    directions: float  # the same of embeddings of unit length, times the root of the dimensions: at most 1
    rank: float  # the effective number of dimensions about the mean


def spread(z: Tensor) -> Spread:
    values = torch.linalg.svdvals((z - z.mean(0)).double())
    share = values / values.sum()
    unit = F.normalize(z, dim=1).std(0).mean() * z.shape[1] ** 0.5
    return Spread(float(z.std(0).mean()), float(unit), float((-(share * share.log()).nansum()).exp()))


@cache
def trained(run: str, guard: str | None = None) -> Spread:
    """The spread of the embeddings of the last step's first view."""
    name, flags = run.split(",")[0], dict(RUNS[run])
    steps = flags.pop("steps", 300)
    view, tint, hyper = flags.pop("view"), flags.pop("tint"), tiny_config(name).hyper | flags.pop("hyper", {})
    config = tiny_config(
        name, without=[guard] if guard else [], hyper=hyper, epochs=steps, max_steps=steps, batch_size=BATCH,
        weight_decay=0.0, warmup_epochs=0.0, seed=0, **flags,
    ).model_copy(update={"views": (view,)})  # fmt: skip
    torch.manual_seed(0)
    method = systems.get(name)(Flat(), config.without, **config.hyper)
    images = pictures(tint)
    seen = {}
    update = method.update
    method.update = lambda z, index, clock: seen.update(z) or update(z, index, clock)
    with TemporaryDirectory() as folder:
        fit(method, images, config, RunFolder(Path(folder)), CPU)
    first = next(iter(seen.values()))
    return spread(first[:, 0] if first.ndim == 3 else first)


@pytest.mark.parametrize(
    ("run", "guard", "without", "whole"),
    [
        ("simclr", "negatives", {"directions": 0.5, "rank": 2.0}, {"directions": 0.8, "rank": 5.0}),
        ("byol", "stop_gradient", {"directions": 0.1, "rank": 2.0}, {"directions": 0.6, "rank": 4.0}),
        ("byol", "predictor", {"directions": 0.1}, {"directions": 0.6, "rank": 4.0}),
        ("simsiam", "stop_gradient", {"directions": 0.1, "rank": 2.0}, {"directions": 0.6, "rank": 2.3}),
        ("simsiam, longer", "predictor", {"rank": 3.0}, {"directions": 0.8, "rank": 6.0}),
        ("swav", "sinkhorn", {"std": 0.06, "directions": 0.3}, {"std": 0.15, "directions": 0.8, "rank": 3.0}),
        ("barlow-twins", "decorrelation", {"rank": 4.0}, {"directions": 0.6, "rank": 6.0}),
        ("vicreg", "variance", {"std": 0.03}, {"std": 0.8, "directions": 0.8, "rank": 7.0}),
        ("vicreg", "covariance", {"rank": 4.0}, {"std": 0.8, "directions": 0.8, "rank": 7.0}),
    ],
)
def test_embeddings_collapse_without_the_guard_only(
    run: str, guard: str, without: dict[str, float], whole: dict[str, float]
) -> None:
    """To a point, to few dimensions or to both; around a point the rank is that of what little is left."""
    collapsed, kept = trained(run, guard), trained(run)
    assert all(getattr(collapsed, measure) < bound for measure, bound in without.items()), collapsed
    assert all(getattr(kept, measure) > bound for measure, bound in whole.items()), kept


def test_byol_does_not_need_the_moving_average_to_stay_apart() -> None:
    """As SimSiam says (Chen & He 2021): with predictor and stopped gradient the target may be the network itself."""
    assert trained("byol", "ema").directions > 0.6
