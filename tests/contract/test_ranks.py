"""Two ranks end where one does: losses, gradients, weights and buffers of ten steps, in float64."""

from pathlib import Path

import pytest
from ranks import Ranks
from tiny import assert_close, outcome, tiny_config

TOLERANCE = 1e-9  # rounding of float64 sums in another order, after ten steps through batch norms


@pytest.mark.parametrize(
    ("batch_size", "micro_batch", "norms"),
    [(16, None, True), (15, None, True), (17, 8, False)],
    ids=["even", "uneven", "uneven-in-micro-batches"],
)
def test_two_ranks_are_one(
    method: str, batch_size: int, micro_batch: int | None, norms: bool, two_ranks: Ranks, tmp_path: Path
) -> None:
    config = tiny_config(method, precision="64", batch_size=batch_size, micro_batch=micro_batch, epochs=5)
    one = outcome(config, tmp_path / "one", norms=norms)
    results = two_ranks(_outcome, config, tmp_path / "two", norms)
    for two in results:
        assert_close(two["gradients"], one["gradients"], TOLERANCE)
        assert_close(two["state"], one["state"], TOLERANCE)
    assert [s for s, _ in one["losses"]] == list(range(1, 11))
    assert results[0]["losses"] == [(s, pytest.approx(loss, rel=TOLERANCE)) for s, loss in one["losses"]]


def _outcome(config, out: Path, norms: bool) -> dict:
    return outcome(config, out, norms=norms, world=2)
