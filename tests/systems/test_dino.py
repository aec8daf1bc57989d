"""DINO as published: loss, centre, temperature, head."""

from math import log

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from semblance.nets.positions import resample
from semblance.systems import Clock
from semblance.systems.distillation.dino import DINO

INDEX = torch.arange(4)


def small(backbone: nn.Module, without=(), **hyper) -> DINO:
    return DINO(backbone, without, **{"outputs": 6, "hidden": 16, "dim": 5, "temperature_epochs": 4, **hyper})


def rows(last: nn.Module) -> nn.Parameter:
    """Of the last layer, before they get their lengths."""
    return last.parametrizations.weight.original1


def test_published_constants(defaults):
    assert defaults(DINO) == {
        "student_temperature": 0.1, "teacher_temperature": 0.07, "first_temperature": 0.04, "temperature_epochs": 30,
        "momentum": 0.996, "centre_momentum": 0.9, "outputs": 65_536, "hidden": 2048, "dim": 256, "norm_last": True,
        "freeze_epochs": 1.0,
    }  # fmt: skip


@pytest.fixture
def authors(tiny, wave) -> tuple[DINO, dict]:
    model = small(tiny).double()
    rows(model.last).data, rows(model.target[2]).data = wave(6, 5, 0.5), wave(6, 5, 0.9)
    model.centre.copy_(wave(1, 6, 2.0)[0] * 0.1)
    student, teacher = ([wave(4, 5, phase) for phase in phases] for phases in ((0.0, 1.0, 2.0), (3.0, 4.0)))
    return model, {"student": torch.stack(student, 1), "teacher": torch.stack(teacher, 1)}


@pytest.mark.parametrize(("epoch", "loss"), [(0, 8.043142862863789), (2, 8.03306970641136), (5, 8.023696063016693)])
def test_loss_is_the_authors(authors, epoch, loss):
    """facebookresearch/dino: main_dino.py, DINOLoss run in float64 with a warm-up of four epochs."""
    model, z = authors
    assert model.objective(z, INDEX, Clock(5 * epoch, 100, 5))[0].item() == pytest.approx(loss, abs=1e-11)


def test_centre_is_the_authors(authors):
    model, z = authors
    model.update(z, INDEX, Clock(0, 100, 5))
    expected = [-0.006852736102782798, -0.02969417043933756, -0.05146430104819066]
    expected += [-0.01892571021340967, 0.049100691405255976, 0.039939818153678835]
    assert model.centre.tolist() == pytest.approx(expected, abs=1e-12)


def test_the_teacher_follows_as_the_authors_does(authors):
    """Momentum by utils.cosine_scheduler, ten steps from 0.996 to 1; the centre moves by the teacher as it was."""
    model, z = authors
    momentum = [0.996, 0.9960978869674096, 0.9963819660112501, 0.996824429495415, 0.9973819660112501]
    for step, m in enumerate(momentum):
        rows(model.last).data += 1
        weight, outputs = rows(model.target[2]).clone(), model._teacher(z)
        centre = model.centre.clone()
        model.update(z, INDEX, Clock(step, 10, 5))
        torch.testing.assert_close(rows(model.target[2]), m * weight + (1 - m) * rows(model.last))
        torch.testing.assert_close(model.centre, 0.9 * centre + 0.1 * outputs.mean((0, 1)))


def test_an_undecided_student_costs_ln_k_and_a_teacher_at_its_centre_is_undecided(authors):
    model, z = authors
    (level,) = model.constants(4).values()
    loss, _ = model.objective(z | {"student": torch.zeros(4, 3, 5).double()}, INDEX, Clock(50, 100, 5))
    assert loss.item() == pytest.approx(level) == pytest.approx(log(6))
    same = z["teacher"][:1, :1].expand(4, 2, 5)
    model.centre.copy_(model._teacher({"teacher": same})[0, 0])
    _, numbers = model.objective(z | {"teacher": same}, INDEX, Clock(50, 100, 5))
    assert numbers["teacher_entropy"].item() == pytest.approx(log(6))


def test_a_shift_of_the_teachers_outputs_and_the_centre_changes_nothing(authors):
    model, z = authors
    before, outputs = model.objective(z, INDEX, Clock(50, 100, 5))[0], model._teacher(z)
    model._teacher = lambda z: outputs + torch.arange(6)
    model.centre += torch.arange(6)
    torch.testing.assert_close(model.objective(z, INDEX, Clock(50, 100, 5))[0], before)


def test_head_ends_on_the_sphere_and_teacher_sees_large_crops_only(tiny, crops):
    model = small(tiny).eval()
    views = crops(4, 6, 12, 12)
    z = model.embed(views)
    assert z["student"].shape == (4, 3, 5) and z["teacher"].shape == (4, 2, 5)
    for place, v in enumerate((1, 2, 0)):
        expected = F.normalize(model.projector(model.backbone(views[v])), dim=1)
        torch.testing.assert_close(z["student"][:, place], expected)
    torch.testing.assert_close(z["teacher"], z["student"][:, :2])  # a copy at first
    assert not z["teacher"].requires_grad
    assert [type(m) for m in model.projector] == [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear]


@pytest.mark.parametrize(("step", "frozen"), [(0, True), (4, True), (5, False)])
def test_the_last_layer_is_frozen_in_the_first_epoch(authors, step, frozen):
    model, z = authors
    z["student"].requires_grad_()
    model.objective(z, INDEX, Clock(step, 100, 5))[0].backward()
    assert (rows(model.last).grad is None) == frozen


def test_guards_shape_the_teacher(authors):
    """Without sharpening it is near uniform; without centring a common offset decides."""
    model, z = authors
    late = Clock(50, 100, 5)
    entropy = {}
    for name, without in (("whole", ()), ("sharpening", ("sharpening",)), ("centring", ("centring",))):
        model.without = frozenset(without)
        model.centre.copy_(model._teacher(z).mean((0, 1)))
        entropy[name] = model.objective(z, INDEX, late)[1]["teacher_entropy"].item()
    assert entropy["sharpening"] > 1.5 > entropy["whole"] != entropy["centring"]


@pytest.mark.parametrize(("epochs", "expected"), [(0, [0.07] * 3), (1, [0.04, 0.07, 0.07]), (3, [0.04, 0.055, 0.07])])
def test_the_teachers_temperature_rises_as_the_authors_does(tiny, epochs, expected):
    """numpy.linspace over the epochs of the rise, then the last (facebookresearch/dino: main_dino.py, DINOLoss)."""
    model = small(tiny, temperature_epochs=epochs)
    found = [model.temperature_at(Clock(5 * epoch, 100, 5)) for epoch in range(3)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("norm_last", [True, False])
def test_lengths_of_the_last_rows_learn_where_they_may(tiny, norm_last):
    model = small(tiny, norm_last=norm_last)
    z = {"student": F.normalize(torch.randn(4, 3, 5), dim=2), "teacher": F.normalize(torch.randn(4, 2, 5), dim=2)}
    model.objective(z, INDEX, Clock(50, 100, 5))[0].backward()
    lengths = model.last.parametrizations.weight.original0
    assert lengths.flatten().tolist() == [1.0] * 6 and (lengths.grad is None) == norm_last


def test_the_projector_begins_as_the_authors_does(tiny):
    """facebookresearch/dino: vision_transformer.py, DINOHead: truncated normals of deviation 0.02, biases 0."""
    layers = [m for m in DINO(tiny, hidden=256, dim=64, outputs=9).projector if isinstance(m, torch.nn.Linear)]
    assert [layer.weight.std().item() for layer in layers[:2]] == pytest.approx([0.02, 0.02], rel=0.1)
    assert not any(layer.bias.any() for layer in layers)


def vit(size: int = 64) -> torch.nn.Module:
    """A ViT of 4 x 4 cells that takes views of any size, small enough to run in a blink."""
    model = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=size, depth=1, embed_dim=12, num_heads=2, dynamic_img_size=True
    )
    return model.eval()


def test_the_class_token_of_a_vit_begins_as_the_authors_does():
    """timm's has a deviation of 1e-6."""
    model = DINO(timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=1), hidden=8, dim=4, outputs=6)
    for token in (model.backbone.cls_token, model.target[0].cls_token):
        assert token.std().item() == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize(
    ("cells", "some", "total"),
    [
        (6, (0.13748548924922943, 0.18526297807693481, 0.5892770290374756), 4854.111328125),
        (3, (0.31298962235450745, 0.6198669075965881, 0.03803003951907158), 338.8998107910156),
    ],
)
def test_positions_of_other_grids_are_the_authors(cells, some, total):
    """facebookresearch/dino: vision_transformer.py, interpolate_pos_encoding, run on these positions of 4 x 4 cells."""
    positions = torch.sin(torch.arange(1.0, 17 * 12 + 1) ** 1.3).view(1, 17, 12)
    found = resample(positions, (cells, cells), (4, 4))
    assert found.shape == (1, cells**2 + 1, 12) and torch.equal(found[:, 0], positions[:, 0])
    assert [found[0, 1, 0].item(), found[0, 2, 5].item(), found[0, -1, 11].item()] == pytest.approx(some, abs=1e-6)
    weights = torch.arange(1.0, cells**2 + 2)[:, None] * torch.arange(1.0, 13)
    assert (found[0] * weights).sum().item() == pytest.approx(total, rel=1e-5)


def test_views_of_other_sizes_see_the_authors_positions_in_training_only():
    """Student and teacher in training; the backbone alone, as it is measured and exported, is timm's."""
    backbone = vit()
    model = small(backbone).eval()
    views = [torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size)) for size in (96, 96, 48)]
    own = backbone(views[0])
    with torch.no_grad():
        z = model.embed(views)
        cells = resample(backbone.pos_embed, (6, 6), (4, 4))
        other = vit(96)
        other.load_state_dict(backbone.state_dict() | {"pos_embed": cells})
        expected = F.normalize(model.projector(other(views[0])), dim=1)
    torch.testing.assert_close(z["student"][:, 0], expected)
    torch.testing.assert_close(z["teacher"][:, 0], expected)
    assert not torch.allclose(own, other(views[0]), atol=1e-4)
    assert torch.equal(backbone(views[0]), own)


def test_positions_get_gradient_through_views_of_other_sizes():
    model = small(vit())
    model.embed([torch.randn(2, 3, 48, 48)] * 3)["student"].sum().backward()
    assert model.backbone.pos_embed.grad[0, 1:].abs().sum() > 0
