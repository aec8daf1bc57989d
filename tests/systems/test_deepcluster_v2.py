"""DeepCluster-v2: memory, prototypes and labels."""

from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from semblance.systems import Clock, grouping
from semblance.systems.clustering.deepcluster_v2 import DeepClusterV2

FIRST, EPOCH, LATER = Clock(0, 100, 5), Clock(10, 100, 5), Clock(11, 100, 5)


def small(backbone: nn.Module, without=(), **hyper) -> DeepClusterV2:
    model = DeepClusterV2(backbone, without, **{"clusters": 6, "hidden": 16, "dim": 5, **hyper})
    model.prepare(40)
    return model


def test_published_constants(defaults):
    assert defaults(DeepClusterV2) == {
        "temperature": 0.1, "clusters": 3000, "heads": 3, "crops": 2, "iterations": 10, "hidden": 2048, "dim": 128,
    }  # fmt: skip


def test_the_memory_is_filled_once_and_then_by_every_step(tiny, noise, whole):
    model, pictures = small(tiny), whole(F.normalize(noise(40, 2, 5), dim=2))
    model.start_step(pictures, FIRST)
    torch.testing.assert_close(model.memory, pictures.rows.transpose(0, 1))
    z, index = F.normalize(noise(4, 3, 5, seed=1), dim=2), torch.tensor([7, 0, 39, 2])
    model.update({"z": z}, index, FIRST)
    torch.testing.assert_close(model.memory[:, index], z[:, :2].transpose(0, 1))
    untouched = [i for i in range(40) if i not in index]
    torch.testing.assert_close(model.memory[:, untouched], pictures.rows[untouched].transpose(0, 1))
    model.start_step(pictures, EPOCH)
    assert pictures.passes == 1


def test_each_head_groups_one_crops_memory(tiny, noise, whole):
    """Prototypes are unit centroids, labels the nearest; heads of the same crop start from other rows."""
    model = small(tiny)
    model.start_step(whole(F.normalize(noise(40, 2, 5), dim=2)), FIRST)
    for head in range(3):
        prototypes = model.prototypes[head]
        torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(6))
        assert torch.equal(model.labels[head], (model.memory[head % 2] @ prototypes.T).argmax(1))
    assert not torch.equal(model.labels[0], model.labels[2])
    before = model.labels.clone()
    model.memory.copy_(model.memory.flip(1))
    model.start_step(None, LATER)
    assert torch.equal(model.labels, before)


def test_loss_is_the_mean_of_heads_and_crops(tiny, noise, whole):
    model = small(tiny)
    model.start_step(whole(F.normalize(noise(40, 2, 5), dim=2)), FIRST)
    z, index = F.normalize(noise(4, 3, 5, seed=1), dim=2), torch.tensor([7, 0, 39, 2])
    loss, _ = model.objective({"z": z}, index, FIRST)
    expected = [
        F.cross_entropy(z[:, v] @ model.prototypes[h].T / 0.1, model.labels[h][index])
        for h in range(3)
        for v in range(3)
    ]
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    level, _ = model.objective({"z": torch.zeros(4, 3, 5)}, index, FIRST)
    assert level.item() == pytest.approx(log(6)) == next(iter(model.constants(4).values()))


def test_labels_and_loss_are_the_authors(tiny, wave, whole, monkeypatch):
    """facebookresearch/swav: main_deepclusterv2.py, cluster_memory from the first rows, and the loss of train()."""
    monkeypatch.setattr(grouping.random, "permutation", lambda key, n: torch.arange(n))
    model = small(tiny, clusters=5, dim=6).double()
    model.start_step(whole(torch.stack([wave(40, 6, 0.2), wave(40, 6, 1.2)], 1)), FIRST)
    labels = ["0123400123403113413013340012340212341301", "0123400433400432101012340012340043210043"]
    assert ["".join(map(str, head.tolist())) for head in model.labels] == [*labels, labels[0]]
    z = torch.stack([wave(4, 6, phase) for phase in (0.0, 1.0, 2.0)], 1)
    loss, _ = model.objective({"z": z}, torch.tensor([7, 0, 39, 2]), FIRST)
    assert loss.item() == pytest.approx(6.603760123689003, rel=1e-10)


def test_the_memory_is_first_filled_from_the_large_crops_one_at_a_time(tiny, crops):
    model, views = small(tiny), crops(8, 12, 12, 6)

    class Whole:
        def crops(self, embed, step):
            self.rows = embed(views)
            return self.rows.repeat(5, 1, 1)

        def track(self, items, what):
            return iter(items)

    model.start_step(pictures := Whole(), FIRST)
    for crop in (0, 1):
        expected = F.normalize(model.projector(model.backbone(views[crop])), dim=1)
        torch.testing.assert_close(pictures.rows[:, crop], expected)
    assert pictures.rows.shape == (8, 2, 5)


def test_prototypes_are_not_trained(tiny):
    assert "prototypes" not in [name for name, p in small(tiny).named_parameters() if p.requires_grad]


def test_embeddings_put_large_crops_first(tiny, crops):
    model = small(tiny).eval()
    views = crops(3, 6, 12, 12)
    z = model.embed(views)["z"]
    for place, v in enumerate((1, 2, 0)):
        torch.testing.assert_close(z[:, place], F.normalize(model.projector(model.backbone(views[v])), dim=1))


def test_without_refit_alike_embeddings_share_a_prototype(tiny, noise, whole):
    """Embeddings in a narrow cone: centroids tell them apart, random prototypes do not."""
    cone = F.normalize(noise(1, 1, 5) + 0.05 * noise(40, 2, 5), dim=2)
    used = []
    for without in ((), ("refit",)):
        model = small(tiny, without)
        model.start_step(whole(cone), FIRST)
        used.append(len(model.labels[0].unique()))
    assert used[0] == 6 and used[1] <= 2
