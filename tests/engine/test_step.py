"""What a recipe may ask of every step besides a learning rate: DINO's weight decay and clipping."""

from pathlib import Path
from unittest import mock

import pytest
from tiny import gradients, tiny_config, tiny_method, train

from semblance.engine import loop


def test_weight_decay_goes_from_the_first_to_the_last_by_a_cosine(tmp_path: Path) -> None:
    config = tiny_config("dino", weight_decay=0.04).model_copy(update={"final_weight_decay": 0.4})
    seen, set_lr = [], loop.set_lr

    def note(optimizer, lr, fixed_lr):  # called before the weight decay of a step is set
        seen.append([group["weight_decay"] for group in optimizer.param_groups])
        set_lr(optimizer, lr, fixed_lr)

    with mock.patch.object(loop, "set_lr", note):
        train(tiny_method(config), config, tmp_path)
    assert seen[1] == [pytest.approx(0.04), 0.0]
    assert [decay for decay, _ in seen[2:]] == sorted(decay for decay, _ in seen[2:])
    assert seen[6] == [pytest.approx(0.22), 0.0]  # half-way, at step 5 of 10


def test_the_gradient_of_each_tensor_is_clipped_on_its_own(tmp_path: Path) -> None:
    """Long ones end at the norm, short ones stay as they are."""
    config = tiny_config("dino", max_steps=4)
    whole, clipped = (tiny_method(config) for _ in range(2))
    train(whole, config.model_copy(update={"lr": 0.0}), tmp_path / "whole")
    norms = {name: float(g.norm()) for name, g in gradients(whole).items() if g is not None}
    limit = sorted(norms.values())[len(norms) // 2]
    train(clipped, config.model_copy(update={"lr": 0.0, "clip_each": limit}), tmp_path / "clipped")
    for name, norm in norms.items():
        assert float(gradients(clipped)[name].norm()) == pytest.approx(min(norm, limit), rel=1e-4, abs=1e-6), name


def test_a_weight_decay_that_is_asked_for_stays() -> None:
    assert tiny_config("dino", recipe="imagenet").final_weight_decay == 0.4
    assert tiny_config("dino", recipe="imagenet", weight_decay=0.1).final_weight_decay is None
