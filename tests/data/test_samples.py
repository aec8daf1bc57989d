"""A fixed sample of a set: every class in proportion, and still the labels of its own samples."""

import pytest
import torch

from semblance.data import Images, Source
from semblance.data.samples import Attribute


def images(counts: list[int], labelled: bool = True) -> Images:
    """Classes in a random order; a picture's first pixel and name are its number, its class is in its second pixel."""
    values = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    values = values[torch.randperm(len(values), generator=torch.Generator().manual_seed(0))]
    pixels = torch.zeros(len(values), 3, 4, 4, dtype=torch.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = torch.arange(len(values)), values
    sizes = torch.full((len(values), 2), 4, dtype=torch.int32)
    known = {"class": Attribute(values, [str(i) for i in range(len(counts))])} if labelled else {}
    return Images("some", 4, range(len(values)), pixels, sizes, known)


def test_every_class_has_its_share() -> None:
    sampled = Source(images([100, 60, 40]), images([50, 30, 20])).sampled(50)
    assert sampled.test is not None
    assert sampled.train.attributes["class"].values.bincount().tolist() == [25, 15, 10]
    assert sampled.test.attributes["class"].values.bincount().tolist() == [5, 3, 2]  # a fifth as many


@pytest.mark.parametrize("labelled", [True, False])
def test_a_sample_is_always_the_same_in_order_and_drawn_from_all_of_a_class(labelled: bool) -> None:
    chosen = []
    for seed in range(2):
        torch.manual_seed(seed)
        part = Source(images([100, 60, 40], labelled)).sampled(50).train
        pixels, _ = part.read(range(50))
        chosen.append(pixels[:, 0, 0, 0].long())
        assert list(part.items) == chosen[-1].tolist() == sorted(set(chosen[-1].tolist()))
        if labelled:
            assert torch.equal(part.attributes["class"].values, pixels[:, 0, 0, 1].long())
    assert torch.equal(*chosen)
    assert 80 < float(chosen[0].float().mean()) < 120 and int(chosen[0].max()) > 180


def test_what_is_small_enough_is_taken_whole() -> None:
    source = Source(images([6, 4]), images([3, 1]))
    assert source.sampled(0) is source
    for most, kept in ((10, (10, 2)), (20, (10, 4)), (9, (9, 2))):
        sampled = source.sampled(most)
        assert (len(sampled.train), len(sampled.held_out)) == kept


def test_samples_without_a_label_come_last() -> None:
    whole = images([100, 60, 40])
    whole.attributes["class"].values[whole.attributes["class"].values == 0] = -1
    part = Source(whole).sampled(120).train
    assert (part.attributes["class"].values + 1).bincount().tolist() == [20, 0, 60, 40]
    assert part.attributes["class"].names.count("") == 20


def test_labels_that_no_held_out_sample_has_are_not_measured() -> None:
    train, test = images([10, 10]), images([5, 5])
    assert Source(train, test).attributes == ["class"]
    test.attributes["class"].values[:] = -1
    assert Source(train, test).attributes == []
