"""DeepCluster: what an epoch starts with, and the order in which it visits the clusters."""

from math import log

import pytest
import torch
from torch import nn

from semblance.systems import Clock
from semblance.systems.clustering import deepcluster
from semblance.systems.clustering.deepcluster import DeepCluster

EPOCH, LATER = Clock(10, 100, 5), Clock(11, 100, 5)


def small(backbone: nn.Module, samples: int = 60, **hyper) -> DeepCluster:
    model = DeepCluster(backbone, **{"clusters": 6, "components": 3, "iterations": 5, "hidden": 16, **hyper})
    model.prepare(samples)
    return model


def test_published_constants(defaults):
    assert defaults(DeepCluster) == {"clusters": 10_000, "components": 256, "iterations": 20, "hidden": 4096}
    assert DeepCluster.no_momentum == ("top",)


def test_an_epoch_starts_with_clusters_and_a_new_top_layer(tiny, noise, whole):
    """Then the loss is that of a layer which knows nothing: ln K."""
    model = small(tiny)
    before, pictures = model.top.weight.clone(), whole(noise(60, 16))
    model.start_step(pictures, LATER)
    assert pictures.passes == 0 and torch.equal(model.top.weight, before)
    model.start_step(pictures, EPOCH)
    assert pictures.passes == 1 and model.labels.unique().tolist() == list(range(6))
    assert model.training and not model.top.bias.any()
    assert model.top.weight.std().item() == pytest.approx(0.01, rel=0.2)
    loss, _ = model.objective({"z": noise(8, 16)}, torch.arange(8), EPOCH)
    assert loss.item() == pytest.approx(log(6), abs=0.05) == next(iter(model.constants(8).values()))


def test_features_in_half_precision_are_clustered_as_the_numbers_they_are(tiny, noise, whole):
    labels = []
    for x in (noise(60, 16).bfloat16(), noise(60, 16).bfloat16().float()):
        model = small(tiny)
        model.start_step(whole(x), EPOCH)
        labels.append(model.labels)
    assert torch.equal(*labels)


def test_it_starts_alike_each_time_and_differently_each_epoch(tiny, noise, whole):
    """A resumed run starts the epoch again."""
    model, pictures = small(tiny), whole(noise(60, 16))
    seen = []
    for clock in (EPOCH, EPOCH, Clock(15, 100, 5)):
        model.start_step(pictures, clock)
        seen.append((model.labels.clone(), model.top.weight.clone()))
    assert torch.equal(seen[0][0], seen[1][0]) and torch.equal(seen[0][1], seen[1][1])
    assert not torch.equal(seen[0][1], seen[2][1])


def test_the_features_that_are_clustered_lack_the_last_relu(tiny, crops):
    """In evaluation mode, of undistorted pictures."""
    model = small(tiny)
    (pictures,) = crops(60, 8)

    class Whole:
        def plain(self, embed):
            self.features = embed(pictures)
            return self.features

        def track(self, items, what):
            return items

    model.start_step(whole := Whole(), EPOCH)
    torch.testing.assert_close(whole.features, model.eval().projector(model.backbone(pictures)))
    assert (whole.features < 0).any()


def test_an_epoch_visits_every_cluster_equally_often(tiny):
    """Clusters of 700, 200, 0 and 100 of 1,000 pictures: 334 draws each before the cut to 1,000."""
    model = small(tiny, samples=1000, clusters=4)
    model.labels.copy_(torch.tensor([0] * 700 + [1] * 200 + [3] * 100))
    order = model.order(1000, EPOCH)
    visits = model.labels[order].bincount()
    assert len(order) == 1000 and visits.sum() == 1000
    assert all(332 <= visits[c] <= 334 for c in (0, 1, 3))
    assert len(order[order < 700].unique()) == visits[0]  # none of a large cluster twice
    assert len(order[order >= 900].unique()) > 90
    assert not torch.equal(order, model.order(1000, Clock(15, 100, 5)))
    assert torch.equal(order, model.order(1000, EPOCH))


def test_without_uniform_sampling_every_picture_comes_once(tiny):
    model = DeepCluster(tiny, ["uniform_sampling"], clusters=4, hidden=16)
    model.prepare(1000)
    assert model.order(1000, EPOCH).sort().values.tolist() == list(range(1000))


def test_whitened_components_are_clustered_with_a_bar(tiny, noise, whole, monkeypatch):
    model, pictures, bars, asked = small(tiny), whole(noise(60, 16)), [], []

    def kmeans(x, k, iterations, key, track):
        asked.append((x.shape, x.norm(dim=1), k, iterations, len(list(track(range(2))))))
        return torch.arange(60) % 6

    monkeypatch.setattr(deepcluster, "kmeans", kmeans)
    monkeypatch.setattr(pictures, "track", lambda items, what: bars.append(what) or iter(items))
    model.start_step(pictures, EPOCH)
    ((shape, lengths, *rest),) = asked
    assert shape == (60, 3) and rest == [6, 5, 2] and bars == ["whitening", "k-means"]
    torch.testing.assert_close(lengths, torch.ones(60))


def test_the_top_layer_sees_what_is_positive(tiny, noise):
    model, z = small(tiny), noise(8, 16)
    with torch.no_grad():
        model.top.weight.normal_()
    losses = [model.objective({"z": rows}, torch.arange(8), LATER)[0] for rows in (z, z.clamp(min=0), z.abs())]
    assert losses[0] == losses[1] != losses[2]
