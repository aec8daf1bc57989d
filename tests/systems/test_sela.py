"""SeLa: when labels are assigned, to which heads, and the loss."""

from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from semblance.systems import Clock
from semblance.systems.clustering import sela
from semblance.systems.clustering.sela import SeLa


def small(backbone: nn.Module, without=(), **hyper) -> SeLa:
    model = SeLa(backbone, without, **{"clusters": 5, "heads": 3, "sharpness": 10.0, **hyper})
    model.prepare(40)
    return model


def times(model: SeLa, pictures, total: int, per_epoch: int = 10) -> list[int]:
    """Steps at which the whole set is passed through."""
    due = []
    for step in range(total):
        passes = pictures.passes
        model.start_step(pictures, Clock(step, total, per_epoch))
        due += [step] * (pictures.passes - passes)
    return due


def test_published_constants(defaults):
    assert defaults(SeLa) == {
        "clusters": 3000, "heads": 10, "sharpness": 25.0, "tolerance": 0.1, "assignments": 100, "spacing": 2.0,
        "in_turn": False,
    }  # fmt: skip


def test_assignments_are_dense_at_first(tiny, noise, whole):
    """At (i / (n - 1))^2 of the run, as the authors' main.py; the last falls just after its end."""
    due = times(small(tiny, assignments=6), whole(noise(40, 8)), total=1000)
    assert due == pytest.approx([0, 40, 160, 360, 640], abs=1)
    linear = times(small(tiny, assignments=6, spacing=1.0), whole(noise(40, 8)), 100)
    assert linear == [0, 21, 41, 61, 81]  # their last time is a hundredth of an epoch after the end


def test_one_assignment_an_epoch(tiny, noise, whole):
    """As many as epochs, evenly spaced, is the same as theirs for CIFAR-10 but for a hundredth of an epoch."""
    each = times(small(tiny, assignments=0), whole(noise(40, 8)), total=40)
    assert each == [0, 10, 20, 30]


def test_assignments_come_when_the_authors_do(tiny, noise, whole):
    """The times of main.py in its loop over four epochs of 10 batches; 0 and 1 may not fall on one step."""
    assert times(small(tiny, assignments=8), whole(noise(40, 8)), total=40) == [0, 1, 4, 8, 14, 21, 30]


def test_all_heads_are_assigned_or_one_in_turn(tiny, noise, whole):
    changed = []
    for in_turn in (False, True):
        model, pictures = small(tiny, in_turn=in_turn, assignments=10, spacing=1.0), whole(noise(40, 8))
        model.start_step(pictures, Clock(0, 90, 10))
        model.labels.fill_(-1)
        for step in range(1, 12):
            model.start_step(pictures, Clock(step, 90, 10))
        changed.append([head for head in range(3) if (model.labels[head] >= 0).all()])
    assert changed == [[0, 1, 2], [1]]


def test_labels_are_balanced_unless_switched_off(tiny, noise, whole):
    x = noise(1, 8) + 0.1 * noise(40, 8, seed=1)  # alike, so that one class is the likeliest of all
    for without, largest in (((), 14), (("balance",), 40)):
        model = small(tiny, without)
        model.start_step(whole(x), Clock(0, 100, 10))
        assert (model.labels[0].bincount().max() <= largest) and (len(model.labels[0].unique()) == 1) == bool(without)


def test_loss_is_the_mean_of_the_heads(tiny, noise, whole):
    model = small(tiny)
    model.start_step(whole(noise(40, 8)), Clock(0, 100, 10))
    z, index = noise(4, 8, seed=1), torch.tensor([7, 0, 39, 2])
    loss, _ = model.objective({"z": z}, index, Clock(0, 100, 10))
    logits = model.top(z).split(5, dim=1)
    expected = torch.stack([F.cross_entropy(logits[h], model.labels[h][index]) for h in range(3)]).mean()
    torch.testing.assert_close(loss, expected)
    assert loss.item() == pytest.approx(log(5), abs=0.5)


def test_a_head_is_transported_with_its_own_weights(tiny, noise, whole):
    model, x = small(tiny), noise(40, 8)
    model.start_step(whole(x), Clock(0, 100, 10))
    alone = small(tiny, heads=1)
    alone.top.weight.data, alone.top.bias.data = model.top.weight[5:10].detach(), model.top.bias[5:10].detach()
    alone.start_step(whole(x), Clock(0, 100, 10))
    assert torch.equal(alone.labels[0], model.labels[1])


@pytest.mark.parametrize("without", [[], ["balance"]])
def test_features_in_half_precision_are_labelled_as_the_numbers_they_are(tiny, noise, whole, without):
    one, other, x = small(tiny, without), small(tiny, without), noise(40, 8).bfloat16()
    other.load_state_dict(one.state_dict())
    for model, features in ((one, x), (other, x.float())):
        model.start_step(whole(features), Clock(0, 100, 10))
    assert torch.equal(one.labels, other.labels)


def test_the_whole_set_is_seen_augmented_in_training_mode(tiny, noise, crops, monkeypatch):
    """And transported as sharply and as far as the hyper-parameters say."""
    model, (pictures,), asked = small(tiny, tolerance=0.3), crops(40, 8), []

    class Whole:
        def crops(self, embed, step):
            assert model.training
            return embed([pictures])

        def track(self, items, what):
            return items

    def transport(x, head, sharpness, tolerance, track):
        asked.append((x, sharpness, tolerance))
        return torch.zeros(len(x), dtype=torch.long)

    monkeypatch.setattr(sela, "balanced_labels", transport)
    model.start_step(Whole(), Clock(0, 100, 10))
    assert [(sharpness, tolerance) for _, sharpness, tolerance in asked] == 3 * [(10.0, 0.3)]
    torch.testing.assert_close(asked[0][0], model.backbone(pictures))
