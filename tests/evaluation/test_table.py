"""Rows of a table: which features go with which labels, how many neighbours vote, and what raw pixels are."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

from semblance.data import Images, Source
from semblance.data.samples import Attribute
from semblance.evaluation.picture_features import features, raw_pixels
from semblance.evaluation.table import Embedded, Labelled, neighbours_of
from semblance.modalities.clips import MODALITY as CLIPS
from semblance.modalities.pictures import MODALITY as PICTURES
from semblance.runs.resolve import resolve
from semblance.views.view import normalise


def images(pixels: Tensor, **labels: Tensor) -> Images:
    sizes = torch.full((len(pixels), 2), pixels.shape[-1], dtype=torch.int32)
    known = {name: Attribute(values, ["no", "yes"]) for name, values in labels.items()}
    return Images("some", pixels.shape[-1], range(len(pixels)), pixels, sizes, known)


AGREE = 0.7


def two_labels(n: int) -> Images:
    """Of ten samples, seven are labelled alike by both."""
    first = torch.arange(n) // 10 % 2
    second = torch.where(torch.arange(n) % 10 < 10 * AGREE, first, 1 - first)
    return images(torch.zeros(n, 3, 4, 4, dtype=torch.uint8), first=first, second=second)


def axes(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, 2).float()


@pytest.fixture
def source() -> Source:
    return Source(two_labels(60), two_labels(40))


def parts(source: Source, streams: dict[str, str]) -> tuple[Embedded, Embedded]:
    """Features by stream that tell one attribute each."""
    return tuple(  # type: ignore[return-value]
        Embedded({stream: axes(part.attributes[name].values) for stream, name in streams.items()})
        for part in (source.train, source.held_out)
    )


def test_every_attribute_is_measured_by_its_own_labels(source: Source) -> None:
    found = PICTURES.measure(parts(source, {"pictures": "second"}), source, resolve({"method": "simclr"}))
    assert found["second_knn_top1"] == found["second_linear_top1"] == 1.0
    assert found["first_linear_top1"] == pytest.approx(AGREE)


def test_every_stream_is_measured_by_every_attribute(source: Source) -> None:
    found = CLIPS.measure(parts(source, {"video": "first", "audio": "second"}), source, resolve({"method": "avid"}))
    expected = {"first_from_video": 1.0, "second_from_audio": 1.0}
    assert found == pytest.approx(expected | dict.fromkeys(("first_from_audio", "second_from_video"), AGREE))


def test_unreadable_samples_are_left_out_with_their_labels(source: Source) -> None:
    """Features of what stood in for them say the other class."""
    for part in (source.train, source.held_out):
        part.skipped = [(str(i), "no picture") for i in range(0, len(part), 3)]
    train, test = parts(source, {"pictures": "first"})
    for part in (train, test):
        part.features["pictures"][::3] = part.features["pictures"][::3].flip(1)
    rows = Labelled.of(train.features["pictures"], test.features["pictures"], source, "first")
    assert (len(rows.train), len(rows.test)) == (40, 26)
    assert rows.knn_top1() == rows.linear().top1 == 1.0


def at(*cosines: float) -> Tensor:
    """Unit rows of these cosines with the first axis."""
    c = torch.tensor(cosines)
    return torch.stack([c, (1 - c.square()).sqrt()], 1)


@pytest.mark.parametrize(("n", "votes"), [(9, 1), (40, 4), (1000, 100), (2500, 200)])
def test_a_tenth_of_the_gallery_votes_and_200_at_most(n: int, votes: int) -> None:
    """Just over half of those that vote are of class 1, and with any two more or less of them as many are not."""
    assert neighbours_of(n) == votes
    labels = torch.zeros(n, dtype=torch.int64)
    labels[: votes // 2 + 1] = 1
    gallery, query = at(*torch.linspace(1, 0.999, n).tolist()), at(1.0)

    def top1(k: int | None) -> float:
        return Labelled(gallery, labels, query, torch.ones(1, dtype=torch.int64), 2).knn_top1(k)

    assert top1(None) == top1(votes) == 1.0
    assert top1(votes + 4) == 0.0


def test_votes_are_weighed_by_a_temperature_of_a_tenth_unless_it_is_said() -> None:
    """A neighbour outvotes two that are 0.06 further: exp(0.6) < 2 < exp(0.8)."""
    labels, query = torch.tensor([1, 0, 0]), at(1.0)
    for further, right in ((0.06, 0.0), (0.08, 1.0)):
        rows = Labelled(at(1.0, 1 - further, 1 - further), labels, query, torch.ones(1, dtype=torch.int64), 2)
        assert rows.knn_top1(3) == rows.knn_top1(3, 0.1) == right
        assert (rows.knn_top1(3, 0.05), rows.knn_top1(3, 0.2)) == (1.0, 0.0)


def test_a_compiled_network_is_measured_as_it_is_written() -> None:
    compiled: list[torch.fx.GraphModule] = []

    def compiler(graph: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
        compiled.append(graph)
        return graph.forward

    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    network.compile(backend=compiler)
    features(network, images(torch.zeros(4, 3, 8, 8, dtype=torch.uint8)), size=8)
    assert not compiled
    network(torch.zeros(4, 3, 8, 8))
    assert compiled


def test_raw_pixels_are_standardised_by_the_training_set_colour_by_colour() -> None:
    g = torch.Generator().manual_seed(0)
    train, test = (
        torch.randint(high, (n, 3, 8, 8), generator=g, dtype=torch.uint8) for n, high in ((30, 90), (20, 256))
    )
    train[:, 1] += 100
    rows = raw_pixels(images(train), images(test))
    std, mean = torch.std_mean(train.double(), (0, 2, 3), correction=0, keepdim=True)
    for found, pixels in zip(rows, (train, test), strict=True):
        torch.testing.assert_close(found, ((pixels - mean) / std).flatten(1).float(), rtol=1e-4, atol=1e-4)


def test_raw_pixels_of_large_pictures_are_those_of_32_by_32_antialiased() -> None:
    g = torch.Generator().manual_seed(0)
    train, test = (torch.randint(256, (n, 3, 128, 128), generator=g, dtype=torch.uint8) for n in (5, 3))
    small = [resize(pixels.double(), [32, 32], antialias=True) for pixels in (train, test)]
    std, mean = torch.std_mean(small[0], (0, 2, 3), correction=0, keepdim=True)
    for found, pixels in zip(raw_pixels(images(train), images(test)), small, strict=True):
        torch.testing.assert_close(found, ((pixels - mean) / std).flatten(1).float(), rtol=1e-3, atol=1e-3)


def test_features_are_what_the_network_gives() -> None:
    """Of whole pictures, normalised, and otherwise untouched."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    pixels = torch.randint(256, (7, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        expected = network(normalise(pixels / 255))
    torch.testing.assert_close(features(network, images(pixels), size=8), expected)


def test_samples_without_a_label_are_not_measured() -> None:
    values, features = torch.tensor([0, -1, 1, -1, 0]), torch.arange(5.0)[:, None]
    pictures = Images(
        "some", 4, range(5), attributes={"class": Attribute(values, ["a", "b"])}, skipped=[("4", "broken")]
    )
    rows = Labelled.of(features, features, Source(pictures, pictures), "class")
    assert rows.train_labels.tolist() == rows.test_labels.tolist() == [0, 1]
    assert rows.train[:, 0].tolist() == rows.test[:, 0].tolist() == [0, 2]
