"""What a recipe may ask of every step: rates, weight decay, momentum, clipping; and in which order a step is taken."""

from copy import deepcopy
from math import cos, pi
from pathlib import Path
from unittest import mock

import pytest
import torch
from tiny import gradients_of, interrupt_after, tiny_config, tiny_method, train

from semblance.engine import gradients, loop
from semblance.systems import Clock


def test_weight_decay_goes_from_the_first_to_the_last_by_a_cosine(tmp_path: Path) -> None:
    config = tiny_config("dino", weight_decay=0.04).model_copy(update={"final_weight_decay": 0.4})
    seen, set_lr = [], loop.set_lr

    def note(optimizer, *rates, **shares):  # called before the weight decay of a step is set
        seen.append([group["weight_decay"] for group in optimizer.param_groups])
        set_lr(optimizer, *rates, **shares)

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
    norms = {name: float(g.norm()) for name, g in gradients_of(whole).items() if g is not None}
    limit = sorted(norms.values())[len(norms) // 2]
    train(clipped, config.model_copy(update={"lr": 0.0, "clip_each": limit}), tmp_path / "clipped")
    for name, norm in norms.items():
        assert float(gradients_of(clipped)[name].norm()) == pytest.approx(min(norm, limit), rel=1e-4, abs=1e-6), name


def test_a_weight_decay_that_is_asked_for_stays() -> None:
    assert tiny_config("dino", recipe="imagenet").final_weight_decay == 0.4
    assert tiny_config("dino", recipe="imagenet", weight_decay=0.1).final_weight_decay is None


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("simsiam", {"optimizer": "sgd"}),  # a predictor of constant rate
        ("deepcluster", {"optimizer": "sgd", "max_steps": 3}),  # a top layer without momentum, new at every epoch
        ("barlow-twins", {"optimizer": "sgd"}),
        ("simclr", {"optimizer": "sgd"}),
    ],
)
@pytest.mark.parametrize("decay_1d", [False, True])
def test_a_step_is_what_the_recipe_says(name: str, asked: dict, decay_1d: bool, tmp_path: Path) -> None:
    """SGD on a gradient of ones, written out for every tensor: rates, decay, momentum."""
    more = {"lr": 0.1, "bias_lr": 0.02, "final_lr": 0.3, "weight_decay": 0.5, "decay_1d": decay_1d, "precision": "64"}
    config = tiny_config(name, **asked).model_copy(update=more)
    method = tiny_method(config)
    total, warmup = config.max_steps, round(config.max_steps / 10)
    expected, momenta, step = {}, {}, iter(range(total))

    def ones(method) -> None:
        t = next(step)
        past = (t - warmup) / (total - warmup)
        rate = t / warmup if t < warmup else 0.3 + 0.7 * (1 + cos(pi * past)) / 2
        for n, p in method.named_parameters():
            if not p.requires_grad:
                continue
            part = n.split(".")[0]
            p.grad = torch.ones_like(p)
            w = expected.get(n, p.detach().clone())
            update = 1 + (0.5 if p.ndim > 1 or decay_1d else 0.0) * w
            momenta[n] = update + (0.0 if part in method.no_momentum else 0.9) * momenta.get(n, 0.0)
            peak = (0.1 if p.ndim > 1 else 0.02) * (min(t / max(warmup, 1), 1.0) if part in method.fixed_lr else rate)
            expected[n] = w - peak * momenta[n]

    with mock.patch.object(gradients, "reduce_gradients", ones):
        train(method, config, tmp_path)
    for n, w in expected.items():
        torch.testing.assert_close(method.get_parameter(n).detach(), w, rtol=1e-9, atol=1e-9, msg=n)
    assert {n.split(".")[0] for n in expected} >= {*method.fixed_lr, *method.no_momentum}


def test_the_target_follows_what_the_step_made(tmp_path: Path) -> None:
    """BYOL's update comes after the optimiser's."""
    config = tiny_config("byol", max_steps=1, precision="64", optimizer="sgd", lr=0.5, warmup_epochs=0.0)
    method = tiny_method(config)
    before = deepcopy(method.target)
    train(method, config, tmp_path)
    m, online = config.hyper["momentum"], [*method.backbone.parameters(), *method.projector.parameters()]
    for old, new, own in zip(before.parameters(), method.target.parameters(), online, strict=True):
        torch.testing.assert_close(new, m * old + (1 - m) * own.detach(), rtol=1e-12, atol=1e-12)
    assert any((old - own).abs().max() > 1e-3 for old, own in zip(before.parameters(), online, strict=True))


def rates(config, method, step: int) -> dict[str, float]:
    """The rate of every tensor at a step."""
    optimizer = loop.optimizer_of(config, method)
    loop.set_schedule(optimizer, config, Clock(step, 100, 10, 0))
    names = {id(p): name for name, p in method.named_parameters()}
    return {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


def test_a_backbone_takes_its_share_of_the_rate_and_its_first_blocks_the_least() -> None:
    config = tiny_config("simclr", lr=0.1, bias_lr=0.1).model_copy(update={"backbone_lr": 0.01, "layer_decay": 0.5})
    method = tiny_method(config)
    plain = rates(config.model_copy(update={"backbone_lr": None, "layer_decay": 1.0}), method, 50)
    found = {name: rate / plain[name] for name, rate in rates(config, method, 50).items()}
    blocks = {}
    for name, share in found.items():
        if name.startswith("backbone."):
            blocks.setdefault(layer_rates_block(name), set()).add(round(share, 9))
        else:
            assert share == 1, name
    assert all(len(shares) == 1 for shares in blocks.values())
    assert [min(shares) for shares in blocks.values()] == pytest.approx(
        [0.1 * 0.5**i for i in reversed(range(len(blocks)))]
    )


def layer_rates_block(name: str) -> str:
    """backbone.layer1.0 of backbone.layer1.0.conv1.weight; backbone.bn1 of backbone.bn1.weight."""
    parts = name.split(".")
    return ".".join(parts[:3] if parts[2].isdecimal() else parts[:2])


def test_heads_learn_alone_at_first(tmp_path: Path) -> None:
    config = tiny_config("byol", lr=0.1).model_copy(update={"head_epochs": 2.0, "warmup_epochs": 0.5})
    method = tiny_method(config)
    for step, share in ((0, 0.0), (19, 0.0), (20, 0.2), (22, 0.6), (24, 1.0), (90, 1.0)):
        full = rates(config.model_copy(update={"head_epochs": 0.0}), method, step)
        for name, rate in rates(config, method, step).items():
            expected = full[name] * (share if name.startswith("backbone.") else 1)
            assert rate == pytest.approx(expected), (step, name)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    interrupt_after(method, 2)  # of ten: a fifth at most, however many are asked for
    train(method, config.model_copy(update={"head_epochs": 99.0, "weight_decay": 0.1}), tmp_path)
    moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert moved and not any(name.startswith("backbone.") for name in moved)
