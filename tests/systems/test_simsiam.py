"""SimSiam as published, and its two guards."""

import pytest
import torch
from torch import nn

from semblance.engine.optimizers import make_optimizer, set_lr, warmup_cosine
from semblance.systems import Clock
from semblance.systems.distillation.simsiam import SimSiam

CLOCK, INDEX = Clock(0, 100, 10), torch.arange(16)


def small(backbone: nn.Module, without=()) -> SimSiam:
    return SimSiam(backbone, without, dim=16, bottleneck=4)


def test_published_constants(defaults):
    assert defaults(SimSiam) == {"dim": 2048, "layers": 3, "bottleneck": 512}


def test_heads_are_the_authors(tiny):
    """Three normalised layers, the last without parameters; a bottleneck whose output is biased, not normalised."""
    model = small(tiny)
    assert [type(m) for m in model.projector] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear, nn.BatchNorm1d]
    assert all(m.bias is None for m in model.projector if isinstance(m, nn.Linear)) and not model.projector[-1].affine
    assert [type(m) for m in model.predictor] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert model.predictor[0].bias is None and model.predictor[3].bias is not None


def test_the_predictor_keeps_its_learning_rate(tiny):
    """Epoch 99 of 100 at a peak of 0.1: 2.4672e-5 for the encoder."""
    model = small(tiny)
    optimizer = make_optimizer("sgd", model, weight_decay=1e-4, decay_1d=True, fixed_lr=model.fixed_lr)
    set_lr(optimizer, 0.1 * warmup_cosine(99, 100, 0), 0.1)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in model.predictor.parameters()} == {0.1}
    encoder = {rates[id(p)] for p in [*model.backbone.parameters(), *model.projector.parameters()]}
    assert len(encoder) == 1 and encoder.pop() == pytest.approx(2.4672e-5, rel=1e-4)


def test_four_steps_of_the_authors_code(rows, sines, filled):
    """simsiam/builder.py without a trunk, main_simsiam.py's SGD, a rate that falls every step but the predictor's."""
    model = SimSiam(rows(6), dim=6, bottleneck=3).double()
    for part in (model.projector, model.predictor):
        filled(part)
    optimizer = make_optimizer("sgd", model, weight_decay=1e-2, decay_1d=True, fixed_lr=model.fixed_lr)
    losses = [-0.04309060637018876, -0.1905922067733807, -0.22759442160840399, -0.2316413049458893]
    for step, expected in enumerate(losses):
        loss, _ = model.objective(model.embed([sines(8, 6, step), sines(8, 6, step + 0.5)]), INDEX, CLOCK)
        assert loss.item() == pytest.approx(expected, rel=1e-7)
        optimizer.zero_grad()
        loss.backward()
        set_lr(optimizer, 0.1 * warmup_cosine(step, 4, 0), 0.1)
        optimizer.step()


def test_the_loss_is_symmetric_and_bounded(tiny, noise):
    """Each prediction is of the other view: -1 when they agree crosswise, 1 when opposite."""
    a, b = noise(16, 8), noise(16, 8, seed=1)
    for sign, expected in ((1, -1), (-1, 1)):
        z = {"p1": a, "z2": sign * a, "p2": b, "z1": sign * b}
        assert small(tiny).objective(z, INDEX, CLOCK)[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("stopped", [True, False])
def test_stop_gradient(tiny, crops, stopped):
    z = small(tiny, [] if stopped else ["stop_gradient"]).embed(crops(16, 8, 8))
    assert z["p1"].requires_grad and z["z1"].requires_grad is not stopped


def test_without_the_predictor_each_view_predicts_itself(tiny, crops):
    z = small(tiny, ["predictor"]).embed(crops(16, 8, 8))
    torch.testing.assert_close(z["p1"].detach(), z["z1"])
