"""Several ranks end where one does: losses, gradients, weights and buffers of ten steps, in float64."""

from pathlib import Path

import pytest
from promises import Keep
from ranks import Ranks
from tiny import deviation, outcome, tiny_config

from semblance.runs.config import TrainConfig

TOLERANCE = 1e-9  # rounding of float64 sums in another order, after ten steps through batch norms


@pytest.mark.parametrize(
    ("batch_size", "micro_batch", "norms"),
    [(16, None, True), (15, None, True), (17, 8, False)],
    ids=["even", "uneven", "uneven-in-micro-batches"],
)
def test_two_ranks_are_one(
    method: str, batch_size: int, micro_batch: int | None, norms: bool, two_ranks: Ranks, tmp_path: Path, keep: Keep
) -> None:
    config = tiny_config(method, precision="64", batch_size=batch_size, micro_batch=micro_batch, epochs=5)
    keep("2 ranks", deviation_of_ranks(two_ranks, config, tmp_path, norms), TOLERANCE)


@pytest.mark.in_ci("simclr", "npid", "swav", "byol", "avid-cma")
def test_four_ranks_are_one(method: str, four_ranks: Ranks, tmp_path: Path, keep: Keep) -> None:
    config = tiny_config(method, precision="64", batch_size=15, epochs=5)
    keep("4 ranks", deviation_of_ranks(four_ranks, config, tmp_path, norms=True), TOLERANCE)


def deviation_of_ranks(ranks: Ranks, config: TrainConfig, out: Path, norms: bool) -> float:
    """The largest one between what any of the ranks ends with and what one rank alone does."""
    one = outcome(config, out / "one", norms=norms)
    many = ranks(_outcome, config, out / "many", norms)
    assert len(one["losses"]) == 10
    assert many[0]["losses"].keys() == one["losses"].keys()  # the first rank writes
    return max(
        deviation(many[0]["losses"], one["losses"]),
        *(deviation(rank[part], one[part]) for rank in many for part in ("gradients", "state")),
    )


def _outcome(config: TrainConfig, out: Path, norms: bool) -> dict:
    return outcome(config, out, norms=norms)
