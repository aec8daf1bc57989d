"""SwAV as published: codes, queue, prototypes, and its one guard."""

from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.losses import sinkhorn
from semblance.systems import Clock
from semblance.systems.clustering.swav import SwAV

LATER = Clock(7, 10, 5)  # the prototypes are free from step 5 on


def wave(n: int, d: int, phase: float) -> Tensor:
    """Unit rows of sin(i j + phase), i = 1..n, j = 1..d: float64 (n, d)."""
    angle = torch.outer(torch.arange(1.0, n + 1), torch.arange(1.0, d + 1)).double() + phase
    return F.normalize(torch.sin(angle), dim=1)


def small(backbone: nn.Module, **hyper) -> SwAV:
    return SwAV(backbone, **{"prototypes": 6, "hidden": 16, "dim": 5, **hyper})


def embeddings(noise, n: int = 4, large: int = 2, extra: int = 0, seed: int = 0) -> dict[str, Tensor]:
    z = F.normalize(noise(n, large + extra, 5, seed=seed), dim=2)
    return {"large": z[:, :large], "small": z[:, large:]}


def test_published_constants(defaults):
    assert defaults(SwAV) == {
        "temperature": 0.1, "epsilon": 0.05, "iterations": 3, "prototypes": 3000, "hidden": 2048, "dim": 128,
        "freeze_epochs": 1.0, "queue": 0, "queue_epoch": 15,
    }  # fmt: skip


def test_the_projector_is_the_authors(tiny):
    layers = list(small(tiny).projector)
    assert [type(m) for m in layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert all(m.bias is not None for m in layers[::3])
    assert small(tiny).prototypes.bias is None


@pytest.fixture
def authors(tiny) -> tuple[SwAV, dict[str, Tensor]]:
    """Three prototypes, a full queue of 8, and a batch of 4 with two large crops and a small one."""
    model = small(tiny, prototypes=3, queue=8, queue_epoch=0).double()
    model.prototypes.weight.data = wave(3, 5, 0.5)
    model.queue.copy_(torch.stack([wave(8, 5, 3.0), wave(8, 5, 4.0)]))
    z = torch.stack([wave(4, 5, phase) for phase in (0.0, 1.0, 2.0)], 1)
    return model, {"large": z[:, :2], "small": z[:, 2:]}


def test_loss_and_queue_equal_the_authors(authors):
    """facebookresearch/swav: main_swav.py, the loop of train() run in one process on the same float64 numbers."""
    model, z = authors
    loss, _ = model.objective(z, torch.arange(4), LATER)
    assert loss.item() == pytest.approx(0.863301823712, abs=1e-11)
    model.update(z, torch.arange(4), LATER)
    place = torch.arange(8)[None, :, None]
    expected = [-1.85717989184, -3.67743982364, 2.10571967185, 3.29377819492, 0.588401845827]
    assert (model.queue * place).sum((0, 1)).tolist() == pytest.approx(expected, abs=1e-10)


def test_the_first_loss_is_near_its_constant(tiny, noise):
    """Random directions in 128 dimensions: a little above ln K, and most prototypes are in use."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SwAV(tiny, prototypes=300, hidden=16)
    z = F.normalize(noise(256, 2, 128), dim=2)
    loss, numbers = model.objective({"large": z, "small": z[:, :0]}, torch.arange(256), LATER)
    (level,) = model.constants(256).values()
    assert level == pytest.approx(log(300)) and level < loss < level + 0.8
    assert numbers["prototypes_in_use"] > 0.4 * len(model.prototypes.weight)


def test_embeddings_are_those_of_their_crop(tiny, crops):
    """Large crops first, whatever the order of the views; one forward per resolution, unit length."""
    model = small(tiny).eval()
    views = crops(3, 6, 12, 6, 12, 6)
    z = model.embed(views)
    assert z["large"].shape == (3, 2, 5) and z["small"].shape == (3, 3, 5)
    for name, chosen in (("large", (1, 3)), ("small", (0, 2, 4))):
        for place, v in enumerate(chosen):
            expected = F.normalize(model.projector(model.backbone(views[v])), dim=1)
            torch.testing.assert_close(z[name][:, place], expected)
    alone = model.embed(views[:1])
    assert alone["large"].shape == (3, 1, 5) and alone["small"].shape == (3, 0, 5)


def test_prototypes_are_of_unit_length_from_the_start_and_after_every_step(tiny, noise):
    model = small(tiny)
    torch.testing.assert_close(model.prototypes.weight.norm(dim=1), torch.ones(6))
    model.prototypes.weight.data *= 3
    direction = F.normalize(model.prototypes.weight.detach(), dim=1)
    model.update(embeddings(noise), torch.arange(4), LATER)
    torch.testing.assert_close(model.prototypes.weight.detach(), direction)


@pytest.mark.parametrize("step, frozen", [(0, True), (4, True), (5, False)])
def test_prototypes_are_frozen_in_the_first_epoch(tiny, noise, step, frozen):
    """No gradient at all, so that no optimiser touches them; the embeddings learn all the same."""
    model, z = small(tiny), embeddings(noise)
    z["large"].requires_grad_()
    model.objective(z, torch.arange(4), Clock(step, 10, 5))[0].backward()
    assert (model.prototypes.weight.grad is None) == frozen
    assert z["large"].grad.abs().sum() > 0


def test_the_queue_fills_newest_first_from_its_epoch_on(tiny, noise):
    model = small(tiny, queue=8, queue_epoch=1)
    first, second, third = (embeddings(noise, seed=s) for s in range(3))
    model.update(first, torch.arange(4), Clock(4, 10, 5))
    assert not model.queue.any()
    model.update(first, torch.arange(4), Clock(5, 10, 5))
    assert not model.queue[:, 4:].any()
    model.update(second, torch.arange(4), Clock(6, 10, 5))
    for crop in (0, 1):
        assert torch.equal(model.queue[crop], torch.cat([second["large"][:, crop], first["large"][:, crop]]))
    model.update(third, torch.arange(4), Clock(7, 10, 5))
    assert torch.equal(model.queue[0], torch.cat([third["large"][:, 0], second["large"][:, 0]]))


def test_codes_use_the_queue_once_it_is_full(tiny, noise):
    """Until then they are those of the batch; with a copy of the batch in the queue, those of the doubled batch."""
    model, z = small(tiny, queue=4), embeddings(noise)["large"][:, 1]
    scores = (z @ model.prototypes.weight.T).detach()
    alone = sinkhorn(scores, 0.05, 3)
    model.queue[1, :3] = z[:3]
    assert torch.equal(model.codes(scores, 1), alone)
    model.queue[1] = z
    torch.testing.assert_close(model.codes(scores, 1), sinkhorn(scores.repeat(2, 1), 0.05, 3)[4:])
    model.queue[1] = F.normalize(noise(4, 5, seed=9), dim=1)
    balanced = sinkhorn(torch.cat([model.queue[1] @ model.prototypes.weight.T, scores]), 0.05, 3)[-4:]
    torch.testing.assert_close(model.codes(scores, 1), balanced)
    assert (balanced - alone).abs().max() > 1e-2
    assert torch.equal(model.codes(scores, 0), alone)  # the other crop has a queue of its own


def test_without_sinkhorn_codes_are_not_balanced(tiny, noise):
    """All samples alike: balanced codes spread evenly over the prototypes, the others sit on one or two."""
    z = F.normalize(noise(1, 5), dim=1).expand(12, 5)
    whole, bare = small(tiny), small(tiny, without=["sinkhorn"])
    even, uneven = (model.codes((z @ model.prototypes.weight.T).detach(), 0) for model in (whole, bare))
    torch.testing.assert_close(even, torch.full((12, 6), 1 / 6))
    torch.testing.assert_close(uneven.sum(1), torch.ones(12))
    assert uneven.max() > 0.5


def test_codes_are_targets_only(tiny, noise):
    """A small crop's gradient comes from its own prediction; its code is never asked for."""
    model, z = small(tiny), embeddings(noise, extra=2)
    asked = []
    codes = model.codes
    model.codes = lambda scores, crop: asked.append(scores.requires_grad) or codes(scores, crop)
    z["large"].requires_grad_()
    model.objective(z, torch.arange(4), LATER)
    assert asked == [False, False]
