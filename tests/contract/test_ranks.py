"""Several ranks end where one does: losses, gradients, weights and buffers of ten steps, in float64."""

from pathlib import Path

import pytest
from promises import Keep
from ranks import Ranks, alone
from tiny import tiny_config

from semblance.checking.promises import ROUNDING
from semblance.checking.runs import RANKED, of_ranks


@pytest.mark.parametrize(
    ("batch_size", "micro_batch", "norms"), RANKED, ids=["even", "uneven", "uneven-in-micro-batches"]
)
def test_two_ranks_are_one(
    method: str, batch_size: int, micro_batch: int | None, norms: bool, two_ranks: Ranks, tmp_path: Path, keep: Keep
) -> None:
    config = tiny_config(method, precision="64", batch_size=batch_size, micro_batch=micro_batch, epochs=5)
    keep("2 ranks", of_ranks(alone, two_ranks, config, tmp_path, norms), ROUNDING)


@pytest.mark.in_ci("simclr", "npid", "swav", "byol", "avid-cma")
def test_four_ranks_are_one(method: str, four_ranks: Ranks, tmp_path: Path, keep: Keep) -> None:
    config = tiny_config(method, precision="64", batch_size=15, epochs=5)
    keep("4 ranks", of_ranks(alone, four_ranks, config, tmp_path), ROUNDING)
