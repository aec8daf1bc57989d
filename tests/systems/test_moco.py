"""MoCo v1 and v2 as published, and its three guards."""

from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from semblance.nets.batchnorm import GroupedBatchNorm
from semblance.systems import Clock
from semblance.systems.contrastive.moco import MoCo

CLOCK, INDEX = Clock(0, 100, 10), torch.arange(8)


def small(backbone: nn.Module, without=(), **hyper) -> MoCo:
    return MoCo(backbone, without, **{"queue": 12, "dim": 4, "groups": 2, **hyper})


def test_published_constants(defaults):
    assert defaults(MoCo) == {
        "temperature": 0.2, "momentum": 0.999, "queue": 65536, "dim": 128, "mlp_head": True, "groups": 8,
        "symmetric": False,
    }  # fmt: skip


def test_heads_of_both_versions(tiny):
    assert [type(m) for m in small(tiny).projector] == [nn.Linear, nn.ReLU, nn.Linear]
    (linear,) = small(tiny, mlp_head=False).projector
    assert linear.bias is not None and (linear.in_features, linear.out_features) == (8, 4)


def test_only_the_query_learns(tiny, crops):
    model = small(tiny)
    z = model.embed(crops(8, 8, 8))
    assert z.keys() == {"q0", "k0"} and z["q0"].requires_grad and not z["k0"].requires_grad
    for t in z.values():
        torch.testing.assert_close(t.norm(dim=1), torch.ones(8))


def test_symmetric_adds_the_swapped_loss_and_enqueues_both(tiny, crops):
    model, views = small(tiny, symmetric=True, groups=1), crops(8, 8, 8)
    z = model.embed(views)
    torch.testing.assert_close(z["k0"], F.normalize(model.target(views[1]), dim=1))
    torch.testing.assert_close(z["k1"], F.normalize(model.target(views[0]), dim=1))
    loss, _ = model.objective(z, INDEX, CLOCK)
    one = small(tiny)
    one.queue = model.queue
    parts = [one.objective({"q0": z[f"q{i}"], "k0": z[f"k{i}"]}, INDEX, CLOCK)[0] for i in (0, 1)]
    torch.testing.assert_close(loss, sum(parts))
    model.update(z, INDEX, CLOCK)
    torch.testing.assert_close(model.queue, torch.cat([z["k0"], z["k1"]])[:12])


def test_the_queue_holds_the_last_keys_and_is_read_before(tiny, noise):
    model = small(tiny)
    keys = [F.normalize(noise(8, 4, seed=s), dim=1) for s in range(3)]
    for k in keys:
        before = model.queue.clone()
        loss, _ = model.objective({"q0": k, "k0": k}, INDEX, CLOCK)
        logits = torch.cat([torch.ones(8, 1), k @ before.T], 1) / 0.2
        torch.testing.assert_close(loss, -logits.log_softmax(1)[:, 0].mean())
        model.update({"k0": k}, INDEX, CLOCK)
    torch.testing.assert_close(model.queue, torch.cat([keys[2], keys[1]])[:12])


def test_four_steps_of_the_authors_code(rows, sines, wave):
    """facebookresearch/moco: moco/builder.py around a linear encoder, with SGD: losses, queue, key encoder."""
    model = MoCo(rows(6), temperature=0.2, momentum=0.9, queue=8, dim=4, mlp_head=False).double()
    for layer in (model.projector[0], model.target[1][0]):
        layer.weight.data, layer.bias.data = sines(4, 6, 0.3), sines(1, 4, 0.7)[0]
    model.queue.copy_(wave(8, 4, 2.0).roll(4, 0))  # theirs drop the first rows first
    optimizer = torch.optim.SGD(model.projector.parameters(), lr=0.5)
    losses = [0.20426130365515016, 0.852758795829058, 0.9248766442674667, 0.9498943172759174]
    for step, expected in enumerate(losses):
        z = model.embed([sines(4, 6, step), sines(4, 6, step + 0.1)])
        loss, _ = model.objective(z, INDEX, CLOCK)
        assert loss.item() == pytest.approx(expected, rel=1e-10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.update(z, INDEX, CLOCK)
    key = model.target[1][0].weight
    assert (key * torch.arange(24).view(4, 6)).sum().item() == pytest.approx(-27.623103057206784, rel=1e-10)
    expected = [1.4427714349411307, 0.16356872319029364, -2.982875803968205, -4.52153227811262]
    assert model.queue.sum(0).tolist() == pytest.approx(expected, rel=1e-10)


def test_equal_embeddings_cost_the_constant(tiny):
    model, one = small(tiny), torch.eye(4)[:1]
    model.queue.copy_(one.expand(12, 4))
    z = {"q0": one.expand(8, 4), "k0": one.expand(8, 4)}
    (level,) = model.constants(8).values()
    assert model.objective(z, INDEX, CLOCK)[0] == pytest.approx(level) == pytest.approx(log(13))
    assert small(tiny, ["negatives"]).objective(z, INDEX, CLOCK)[0] == pytest.approx(-5)


def test_the_key_encoder_follows(tiny):
    for without, share in (([], 0.001), (["ema"], 1.0)):
        model = small(tiny, without)
        before = model.target[1][0].weight.clone()
        with torch.no_grad():
            model.projector[0].weight.add_(1)
        model.update({"k0": torch.zeros(8, 4)}, INDEX, CLOCK)
        torch.testing.assert_close(model.target[1][0].weight, before + share)


def test_queries_and_keys_share_statistics_with_others(tiny):
    def sides(model: MoCo) -> list[str]:
        parts = (model.backbone, model.target)
        return [m.by for part in parts for m in part.modules() if isinstance(m, GroupedBatchNorm)]

    assert sides(small(tiny)) == ["blocks", "residues"]
    assert sides(small(tiny.__class__(), ["shuffled_bn"])) == ["blocks", "blocks"]
