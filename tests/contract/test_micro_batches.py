"""Training in micro-batches ends where training on whole batches does, without batch norm, in float64."""

from pathlib import Path

from promises import Keep
from ranks import alone
from tiny import outcome, tiny_config

from semblance.checking.promises import ROUNDING
from semblance.checking.runs import of_parts


def test_weights_do_not_depend_on_micro_batches(method: str, tmp_path: Path, keep: Keep) -> None:
    keep("micro-batches", of_parts(alone, tiny_config(method, precision="64"), tmp_path), ROUNDING)


def test_batch_norm_runs_on_micro_batches(method: str, tmp_path: Path) -> None:
    """Also where the batch is not a multiple: no part may be left with a single sample."""
    config = tiny_config(method, batch_size=17, micro_batch=8, max_steps=3)
    assert all(t.isfinite().all() for t in outcome(config, tmp_path)["state"].values())
