"""Optimisers: every variant of LARS gives the numbers of its authors' code; schedules and groups are as published."""

from math import prod

import pytest
import torch
from torch import Tensor, nn

from semblance.engine.optimizers import (
    LARS,
    Muon,
    cosine,
    make_optimizer,
    orthogonal,
    set_lr,
    set_weight_decay,
    warmup_cosine,
)
from semblance.errors import UserError
from semblance.systems.recipe import OPTIMIZERS

RATES = (0.0, 0.2, 0.01, 0.4)  # changing, and 0 as at the start of a warm-up
DECAY = 0.1


def wave(n: int, d: int, phase: float = 0.0) -> Tensor:
    """sin(i j + phase), i = 1..n, j = 1..d: float64 (n, d)."""
    return torch.sin(torch.outer(torch.arange(1.0, n + 1), torch.arange(1.0, d + 1)).double() + phase)


def parameters() -> dict[str, nn.Parameter]:
    """A matrix, a 1-D tensor, a weight of norm 0, and one whose gradient has norm 0."""
    zeros = torch.zeros(2, 2, dtype=torch.float64)
    tensors = {"matrix": wave(3, 2), "bias": wave(1, 3)[0], "origin": zeros, "still": wave(2, 2, 1.0)}
    return {name: nn.Parameter(x.clone()) for name, x in tensors.items()}


def gradient(name: str, shape: torch.Size, step: int) -> Tensor:
    if name == "still":
        return torch.zeros(shape, dtype=torch.float64)
    phase = {"matrix": 6, "bias": 4, "origin": 11}[name]
    return torch.cos(torch.arange(prod(shape), dtype=torch.float64) * (step + 1) + phase).view(shape)


# What the authors' code makes of `parameters` in a step at each of RATES, momentum 0.9, weight decay DECAY, in float64.
THEIRS = {
    # facebookresearch/barlowtwins: main.py, LARS; google-deepmind/deepmind-research: byol/utils/optimizers.py
    "lars": {
        "matrix": [0.839737544557, 0.909489223648, 0.909325178474, -0.756711489982, 0.141570942786, -0.278947686101],
        "bias": [2.00672146772, 0.0407100930907, -0.269007278161],
        "origin": [-0.00448338027745, -0.888410218551, -0.0304215468682, 0.0810225107939],
        "still": [0.907676698219, 0.140868476243, 0.140868476243, -0.957215091333],
    },
    "lars-simclr": {  # google-research/simclr: lars_optimizer.py, LARSOptimizer
        "matrix": [0.840511611472, 0.909622085423, 0.909588601877, -0.757412706854, 0.141402368745, -0.279122996656],
        "bias": [1.46962250446, 0.432761002152, -0.101618198056],
        "origin": [-0.0023993328157, -0.491731914464, 0.411618276583, 0.149204013099],
        "still": [0.908423737304, 0.140984414283, 0.140984414283, -0.958002901671],
    },
    "larc": {  # NVIDIA/apex: apex/parallel/LARC.py, trust_coefficient=0.001, clip=False, around SGD; biases adapted too
        "matrix": [0.839855826755, 0.909459559347, 0.909308290766, -0.756676410465, 0.141539290032, -0.278981134043],
        "bias": [0.842441400995, 0.908338228746, 0.140656503304],
        "origin": [-0.00448330152883, -0.888409442026, -0.0304250588991, 0.0810289255788],
        "still": [0.909297426826, 0.14112000806, 0.14112000806, -0.958924274663],
    },
    "lars-clip": {  # vturrisi/solo-learn: solo/utils/lars.py, eta=0.02, clip_lr=True, exclude_bias_n_norm=True
        "matrix": [-0.10226608215, 0.827061170618, 0.620233920551, -0.0252748249525, 0.289413325613, -0.0192511916807],
        "bias": [2.00672146772, 0.0407100930907, -0.269007278161],
        "origin": [-0.00607859189348, -0.922717363816, 0.0668638546729, -0.0683743717414],
        "still": [0.909297426826, 0.14112000806, 0.14112000806, -0.958924274663],
    },
}


def optimizer_of(variant: str, p: dict[str, nn.Parameter], decay_1d: bool):
    return make_optimizer(variant, nn.ParameterDict(p), weight_decay=DECAY, decay_1d=decay_1d)


def walk(optimizer, p: dict[str, nn.Parameter], rates=RATES, first: int = 0) -> None:
    for step, lr in enumerate(rates, start=first):
        for name, w in p.items():
            w.grad = gradient(name, w.shape, step)
        set_lr(optimizer, lr, lr)
        optimizer.step()


@pytest.mark.parametrize("variant", THEIRS)
def test_each_variant_gives_the_numbers_of_its_authors(variant):
    """Weights and gradients of norm 0 and 1-D tensors included."""
    p = parameters()
    walk(optimizer_of(variant, p, decay_1d=variant == "larc"), p)
    for name, expected in THEIRS[variant].items():
        expected = torch.tensor(expected, dtype=torch.float64).view_as(p[name])
        torch.testing.assert_close(p[name].detach(), expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("variant", THEIRS)
def test_a_resumed_optimizer_goes_on_alike(variant):
    whole, part = parameters(), parameters()
    walk(optimizer_of(variant, whole, False), whole)
    first = optimizer_of(variant, part, False)
    walk(first, part, RATES[:2])
    second = optimizer_of(variant, part, False)
    second.load_state_dict(first.state_dict())
    walk(second, part, RATES[2:], first=2)
    assert all(torch.equal(whole[name], part[name]) for name in whole)


@pytest.mark.parametrize("variant", OPTIMIZERS)
def test_tensors_without_gradient_stay_as_they_are(variant):
    """To the bit, whatever the weight decay; a gradient of zeros would let SGD decay them."""
    p = parameters()
    before = {name: w.detach().clone() for name, w in p.items()}
    optimizer = make_optimizer(variant, nn.ParameterDict(p), weight_decay=0.5, decay_1d=True)
    set_lr(optimizer, 1.0, 1.0)
    optimizer.step()
    assert all(torch.equal(before[name], w) for name, w in p.items())
    for w in p.values():
        w.grad = torch.zeros_like(w)
    optimizer.step()
    moved = {name for name, w in p.items() if not torch.equal(before[name], w)}
    assert moved == (set() if variant in ("larc", "lars-clip") else {"matrix", "bias", "still"})


@pytest.mark.parametrize("variant, step", [("lars", 1e-3), ("lars-simclr", 1e-3), ("larc", 1e-3), ("lars-clip", 0.02)])
def test_a_unit_gradient_moves_a_unit_weight_by_eta(variant, step):
    """lr = 1 and no decay; a tensor that is not adapted moves by the whole gradient."""
    p = {"matrix": nn.Parameter(torch.full((2, 2), 0.5)), "bias": nn.Parameter(torch.full((4,), 0.5))}
    optimizer = make_optimizer(variant, nn.ParameterDict(p), weight_decay=0.0)
    for w in p.values():
        w.grad = torch.full_like(w, -0.5)
    set_lr(optimizer, 1.0, 1.0)
    optimizer.step()
    assert (p["matrix"] - 0.5).norm().item() == pytest.approx(step, rel=1e-4)
    assert (p["bias"] - 0.5).norm().item() == pytest.approx(1.0)


@pytest.mark.parametrize("lr, step", [(0.001, 0.001), (0.5, 0.02)])
def test_the_clipped_variant_takes_lr_as_a_ceiling(lr, step):
    w = nn.Parameter(torch.full((2, 2), 0.5))
    optimizer = LARS([w], lr, variant="lars-clip", eta=0.02)
    w.grad = torch.full_like(w, 0.5)
    optimizer.step()
    assert (w - 0.5).norm().item() == pytest.approx(step, rel=1e-4)  # min(eta |w| / |g|, lr) |g|


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (6, 2, 2, 2), (12, 1, 2, 2)])
def test_the_step_of_muon_is_about_orthogonal(shape):
    """Singular values near 1, in the directions of the matrix; tall ones longer by the root of their aspect."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(orthogonal([x])[0].flatten(1), full_matrices=False)
    rows, columns = x.flatten(1).shape
    aspect = max(1, rows / columns) ** 0.5
    assert 0.6 * aspect < s.min() and s.max() < 1.3 * aspect
    left, _, right = torch.linalg.svd(x.flatten(1), full_matrices=False)
    assert torch.linalg.matrix_norm(u @ v - left @ right) < 0.05


def test_tensors_made_orthogonal_together_are_those_made_alone():
    """Whatever their shapes, sizes and scales."""
    shapes = [(4, 9), (9, 4), (4, 3, 2, 2), (4, 4), (2, 7), (1, 5)]
    tensors = [10.0**i * wave(s[0], prod(s[1:]), i).view(s) for i, s in enumerate(shapes)]
    alone = [orthogonal([x])[0] for x in tensors]
    torch.testing.assert_close(orthogonal(tensors), alone)
    assert [x.shape for x in alone] == [torch.Size(s) for s in shapes]


def test_muon_walks_as_torch_does():
    """torch.optim.Muon, which takes matrices only and computes in bf16."""
    start = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    mine = Muon([{"params": [ours], "weight_decay": 0.1}], lr=0.05)
    torchs = torch.optim.Muon([theirs], lr=0.05, weight_decay=0.1, momentum=0.9, adjust_lr_fn="original")
    for step in range(5):
        for w, optimizer in ((ours, mine), (theirs, torchs)):
            w.grad = torch.randn(6, 9, generator=torch.Generator().manual_seed(step + 1))
            optimizer.step()
    assert (ours - start).norm() > 0.3
    torch.testing.assert_close(ours, theirs, atol=0.01, rtol=0)


def test_simclr_and_byol_differ_only_where_the_rate_changes():
    def end(variant: str, rates: tuple[float, ...]) -> Tensor:
        p = parameters()
        walk(optimizer_of(variant, p, False), p, rates)
        return p["matrix"].detach()

    torch.testing.assert_close(end("lars", (0.3,) * 4), end("lars-simclr", (0.3,) * 4))
    assert (end("lars", RATES) - end("lars-simclr", RATES)).abs().max() > 1e-5


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_dimensional_tensors_have_a_group_of_their_own(name):
    """Biases and norms are not decayed, and have their own rate; frozen tensors are left out."""
    net = Net()
    optimizer = make_optimizer(name, net, weight_decay=0.3, bias_lr_ratio=0.024)
    matrices, flat = optimizer.param_groups
    assert {id(p) for p in matrices["params"]} == {id(net.conv.weight), id(net.head.weight)}
    assert {id(p) for p in flat["params"]} == {id(p) for p in (net.conv.bias, *net.norm.parameters(), net.head.bias)}
    assert (matrices["weight_decay"], flat["weight_decay"]) == (0.3, 0.0)
    set_lr(optimizer, 1.6, 1.6)
    assert (matrices["lr"], flat["lr"]) == (1.6, pytest.approx(0.0384))
    if isinstance(optimizer, LARS):
        assert (matrices["adapt"], flat["adapt"]) == (True, False)
        assert matrices["eta"] == (0.02 if name == "lars-clip" else 1e-3)
    if name != "adamw":
        assert matrices["momentum"] == flat["momentum"] == 0.9


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_they_are_decayed_and_adapted_where_asked(name):
    flat = make_optimizer(name, Net(), weight_decay=0.3, decay_1d=True).param_groups[1]
    assert flat["weight_decay"] == 0.3 and flat["peak"] == 1.0 and flat.get("adapt", True)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="lars"):
        make_optimizer("larz", Net(), weight_decay=0.0)


@pytest.mark.parametrize("step, weights, biases", [
    (0, 0, 0), (1, 0.016, 0.000384), (50, 0.8, 0.0192), (99, 1.584, 0.038016), (100, 1.6, 0.0384),
    (500, 0.939579623591, 0.0225499109662), (999, 0.00160486899989, 3.85168559975e-05),
])  # fmt: skip
def test_the_schedule_equals_barlow_twins(step, weights, biases):
    """facebookresearch/barlowtwins: main.py, adjust_learning_rate; batch 2048, 100 epochs of 10 steps, warm-up 10."""
    factor = warmup_cosine(step, 1000, 100, 0.001) * 2048 / 256
    assert (factor * 0.2, factor * 0.0048) == (pytest.approx(weights, abs=1e-11), pytest.approx(biases, abs=1e-11))


def test_weight_decay_rises_as_in_dino():
    """facebookresearch/dino: utils.py, cosine_scheduler from 0.04 to 0.4 over ten steps; biases and norms have none."""
    optimizer = make_optimizer("adamw", Net(), weight_decay=0.04)
    seen = []
    for step in range(0, 10, 3):
        set_weight_decay(optimizer, cosine(0.04, 0.4, step / 10))
        seen.append([group["weight_decay"] for group in optimizer.param_groups])
    expected = [0.03999999999999998, 0.11419865458735484, 0.2756230589874905, 0.39119017293312763]
    assert seen == [[pytest.approx(decay), 0.0] for decay in expected]


def test_the_schedule_starts_at_0_peaks_after_warmup_and_ends_at_its_final_fraction():
    assert [warmup_cosine(s, 100, 10) for s in (0, 5, 10)] == [0.0, 0.5, 1.0]
    assert warmup_cosine(55, 100, 10) == pytest.approx(0.5)
    assert warmup_cosine(100, 100, 10) == pytest.approx(0.0)
    assert 4.8 * warmup_cosine(100, 100, 10, 0.001) == pytest.approx(0.0048)  # SwAV
    assert warmup_cosine(0, 100, 0) == 1.0
    falling = [warmup_cosine(s, 100, 10, 0.2) for s in range(10, 101)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon", "lars"])
def test_parts_without_momentum_forget_the_step_before(name: str) -> None:
    """As facebookresearch/deepcluster does with its top layer, a new optimiser for which is made in every epoch."""
    module = nn.ModuleDict({"body": nn.Linear(4, 3), "top": nn.Linear(4, 3)})
    optimizer = make_optimizer(name, module, weight_decay=0.0, no_momentum=("top",))
    moved = {}
    for scale in (1.0, 0.0):
        for p in module.parameters():
            p.grad = torch.full_like(p, scale)
        set_lr(optimizer, 0.1, fixed_lr=0.1)
        before = {n: p.clone() for n, p in module.named_parameters()}
        optimizer.step()
        moved = {n: not torch.equal(p, before[n]) for n, p in module.named_parameters()}
    assert moved == {"body.weight": True, "body.bias": True, "top.weight": False, "top.bias": False}
