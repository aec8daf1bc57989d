"""SeLa-v2: DeepCluster-v2 with balanced labels and trained prototypes."""

import torch
import torch.nn.functional as F

from semblance.systems import Clock
from semblance.systems.clustering import sela_v2
from semblance.systems.clustering.sela_v2 import SeLaV2

FIRST = Clock(0, 100, 5)


def small(backbone, without=()) -> SeLaV2:
    torch.manual_seed(0)
    model = SeLaV2(backbone, without, clusters=5, hidden=16, dim=6)
    model.prepare(40)
    return model


def test_published_constants(defaults):
    assert defaults(SeLaV2) == {
        "temperature": 0.1, "epsilon": 0.05, "tolerance": 0.1, "clusters": 3000, "heads": 3, "crops": 2, "hidden": 2048,
        "dim": 128,
    }  # fmt: skip


def test_labels_are_balanced_and_prototypes_stay(tiny, noise, whole):
    """Embeddings in a narrow cone: every prototype gets its share; without balance one takes nearly all."""
    cone = F.normalize(noise(1, 1, 6) + 0.3 * noise(40, 2, 6), dim=2)
    model, bare = small(tiny), small(tiny, ["balance"])
    bare.prototypes.data.copy_(model.prototypes)
    before = model.prototypes.detach().clone()
    for m in (model, bare):
        m.start_step(whole(cone), FIRST)
    assert all(labels.bincount(minlength=5).min() >= 5 for labels in model.labels)
    assert bare.labels[0].bincount().max() > 2 * model.labels[0].bincount().max()
    assert torch.equal(model.prototypes, before)


def test_transport_is_as_sharp_and_exact_as_asked(tiny, noise, whole, monkeypatch):
    asked = []

    def transport(z, head, sharpness, tolerance, track):
        asked.append((sharpness, tolerance))
        return torch.zeros(len(z), dtype=torch.long)

    monkeypatch.setattr(sela_v2, "balanced_labels", transport)
    small(tiny).start_step(whole(F.normalize(noise(40, 2, 6), dim=2)), FIRST)
    assert set(asked) == {(20.0, 0.1)}


def test_prototypes_are_trained_and_stay_on_the_sphere(tiny, noise, whole):
    model = small(tiny)
    model.start_step(whole(F.normalize(noise(40, 2, 6), dim=2)), FIRST)
    z, index = {"z": F.normalize(noise(4, 2, 6, seed=1), dim=2)}, torch.arange(4)
    model.objective(z, index, FIRST)[0].backward()
    assert model.prototypes.grad.abs().sum() > 0
    model.prototypes.data *= 3
    model.update(z, index, FIRST)
    torch.testing.assert_close(model.prototypes.norm(dim=2), torch.ones(3, 5))
