"""Views: the pipeline, its rates, and what a view may depend on."""

from dataclasses import replace

import pytest
import torch
from scipy import stats
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from semblance.errors import UserError
from semblance.runtime import random
from semblance.views import view
from semblance.views.boxes import LAWS
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import View, make_views, normalise

SURE = 1e-3  # the seeds are fixed, so a p-value below this is a fault and not bad luck
STRONG = View(20, bicubic=True, jitter=(0.8, 0.8, 0.8, 0.2), blur_p=0.5, solarize_p=0.2)


def noise(n: int, canvas: int = 24) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Canvases, sizes and dataset indices of n pictures."""
    x = torch.randint(0, 256, (n, 3, canvas, canvas), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    return x, torch.full((n, 2), canvas, dtype=torch.int32), torch.arange(n) * 7 + 3


class Turned:
    """A view that forgets all pictures but the first."""

    count = 1

    def make(self, raw, index, key):
        return raw[0][0] / 255


def spy(monkeypatch, name: str) -> list[tuple]:
    """Record the positional and keyword arguments of an operation of the pipeline."""
    calls, operation = [], getattr(view, name)

    def recorded(*args, **options):
        calls.append((*args, *options.values()))
        return operation(*args, **options)

    monkeypatch.setattr(view, name, recorded)
    return calls


@pytest.mark.parametrize("grey_p, bicubic, cut, length", [(0.0, True, True, 5), (1.0, False, False, 21)])
def test_a_view_is_torchvisions_pipeline_on_the_same_parameters(monkeypatch, grey_p, bicubic, cut, length):
    """Crop, flip, jitter, greyscale, blur, solarize, in this order, each image with parameters of its own."""
    crops, jitters, blurs = (spy(monkeypatch, name) for name in ("resized_crop", "jitter", "gaussian_blur"))
    colours = {"jitter": (0.8, 0.8, 0.8, 0.2), "jitter_p": 1, "grey_p": grey_p}
    recipe = View(40, bicubic=bicubic, **colours, blur_p=1, blur_cut=cut, solarize_p=1)
    x, sizes, index = noise(24, 48)
    ours = recipe(x, sizes, index, 5)
    (_, boxes, _, _, flips), (_, factors, orders, _), (_, sigmas, taps) = crops[0], jitters[0], blurs[0]
    adjust = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]
    mode = InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR
    for i, y in enumerate(ours):
        z = tv.resized_crop(x[i].float() / 255, *boxes[i].tolist(), [40, 40], interpolation=mode, antialias=True)
        z = (tv.horizontal_flip(z) if flips[i] else z).clamp(0, 1)
        for operation in orders[i].tolist():
            z = adjust[operation](z, factors[i, operation].item())
        z = tv.rgb_to_grayscale(z, 3) if grey_p else z
        z = tv.gaussian_blur(z, [taps, taps], [sigmas[i].item()] * 2)
        sure = (z - 0.5).abs() > 1e-4  # elsewhere rounding decides which side of the threshold a pixel is on
        torch.testing.assert_close(y[sure], tv.solarize(z, 0.5)[sure], rtol=0, atol=3e-5)
        assert sure.float().mean() > 0.99
    assert taps == length and len(orders.unique(dim=0)) > 8 and 0 < flips.sum() < 24
    assert all(len(p.unique(dim=0)) == 24 for p in (boxes, factors, sigmas))


def test_jitter_has_the_distribution_of_torchvision(monkeypatch):
    """Factors uniform in [max(0, 1 - s), 1 + s], the turn in [-s, s], all 24 orders alike, all independent."""
    calls = spy(monkeypatch, "jitter")
    n, strength = 6000, (0.4, 0.8, 1.5, 0.2)
    x = torch.zeros(n, 3, 2, 2, dtype=torch.uint8)
    View(2, jitter=strength, jitter_p=1.0)(x, torch.full((n, 2), 2), torch.arange(n), 1)
    _, factors, orders, _ = calls[0]
    for factor, low, high in zip(factors.T, (0.6, 0.2, 0.0, -0.2), (1.4, 1.8, 2.5, 0.2), strict=True):
        assert stats.kstest(factor.numpy(), "uniform", (low, high - low)).pvalue > SURE
    code = (orders * torch.tensor([64, 16, 4, 1])).sum(1)
    counts = code.unique(return_counts=True)[1]
    assert len(counts) == 24 and stats.chisquare(counts.numpy()).pvalue > SURE
    table = torch.corrcoef(torch.cat([factors, orders[:, :3].float()], 1).T)
    assert table[:4].fill_diagonal_(0).abs().max() < 4.5 / n**0.5


def test_a_view_keeps_the_law_and_the_saturation_that_it_names(monkeypatch):
    """Boxes of the law it names, and the saturation of HSV, in the whole pipeline."""
    crops, jitters = (spy(monkeypatch, name) for name in ("resized_crop", "jitter"))
    x, sizes, index = noise(50, 48)
    for law, draw in LAWS.items():
        View(8, law=law, hsv=law != "torchvision", jitter=(0.0, 0.0, 0.9, 0.0), jitter_p=1)(x, sizes, index, 5)
        expected = draw(random.key(5, "crop"), index, sizes, (0.08, 1.0), (3 / 4, 4 / 3))
        assert torch.equal(crops[-1][1], expected) and jitters[-1][3] is (law != "torchvision")
    boxes = [call[1] for call in crops]
    assert not torch.equal(boxes[0], boxes[1]) and not torch.equal(boxes[0], boxes[2])


def test_strengths_of_zero_change_nothing(monkeypatch):
    calls = spy(monkeypatch, "jitter")
    x, sizes, index = noise(50)
    View(8, jitter=(0.0, 0.0, 0.0, 0.1), jitter_p=1.0)(x, sizes, index, 1)
    assert (calls[0][1][:, :3] == 1).all()
    View(8, jitter=(0.3, 0.0, 0.0, 0.0), jitter_p=1.0)(x, sizes, index, 1)
    assert (calls[1][1][:, 3] == 0).all()
    View(8, jitter_p=1.0)(x, sizes, index, 1)
    assert len(calls) == 2


def test_blur_draws_sigma_uniformly(monkeypatch):
    calls, jitters = spy(monkeypatch, "gaussian_blur"), spy(monkeypatch, "jitter")
    n = 3000
    x = torch.zeros(n, 3, 2, 2, dtype=torch.uint8)
    View(2, blur_p=1.0, sigma=(0.1, 2.0), jitter=(0.4,) * 4, jitter_p=1.0)(x, torch.full((n, 2), 2), torch.arange(n), 1)
    sigma, (_, factors, orders, _) = calls[0][1], jitters[0]
    assert stats.kstest(sigma.numpy(), "uniform", (0.1, 1.9)).pvalue > SURE
    table = torch.corrcoef(torch.cat([sigma[:, None], factors, orders[:, :3].float()], 1).T)
    assert table[0, 1:].abs().max() < 4.5 / n**0.5


def test_every_choice_has_its_rate_and_is_independent_of_the_others(monkeypatch):
    """Each operation is replaced by one that adds its own bit to the picture, so a picture tells what was done."""
    rates = {"flip": 0.5, "jitter": 0.8, "grey": 0.2, "gaussian_blur": 0.3, "solarize": 0.1}
    mirrored = lambda x, *_, flip, **__: 255.0 * flip[:, None, None, None].expand(-1, 3, 1, 1)  # noqa: E731
    monkeypatch.setattr(view, "resized_crop", mirrored)
    for bit, name in enumerate(rates):
        if name != "flip":
            monkeypatch.setattr(view, name, lambda x, *_, add=2**bit: x + add)
    n = 4000
    recipe = View(1, jitter=(0.5,) * 4, grey_p=0.2, blur_p=0.3, solarize_p=0.1)
    y = recipe(torch.zeros(n, 3, 1, 1, dtype=torch.uint8), torch.full((n, 2), 1), torch.arange(n), 3)
    done = (y[:, 0].flatten().round().long()[:, None] >> torch.arange(5) & 1).float()
    p = torch.tensor(list(rates.values()))
    assert ((done.sum(0) - n * p).abs() < 4.5 * (n * p * (1 - p)) ** 0.5).all()
    assert torch.corrcoef(done.T).fill_diagonal_(0).abs().max() < 4.5 / n**0.5


def test_no_operation_at_probability_zero_and_every_one_at_one():
    x = torch.arange(0, 256, 4, dtype=torch.uint8).view(1, 1, 8, 8).repeat(40, 3, 1, 1)
    x[:, 0] //= 2
    where = (torch.full((40, 2), 8), torch.arange(40))
    same = {"scale": (1, 1), "ratio": (1, 1), "jitter": (0.4, 0.4, 0.4, 0.1)}
    never = View(8, **same, flip_p=0, jitter_p=0, grey_p=0, blur_p=0, solarize_p=0)(x, *where, 0)
    torch.testing.assert_close(never, x / 255)
    always = View(8, **same, flip_p=1, jitter_p=0, grey_p=1, blur_p=0, solarize_p=1)(x, *where, 0)
    torch.testing.assert_close(always, tv.solarize(tv.rgb_to_grayscale(x.flip(3) / 255, 3), 0.5))


def test_views_of_an_image_differ():
    """Two crops of one image, the same crop in another epoch, under another seed, and of another index."""
    x, sizes, index = noise(6)
    x = x[:1].expand(6, -1, -1, -1)
    a, b = make_views([View(20, count=2)], (x, sizes), index, seed=0, step=0)
    (c,) = make_views([View(20)], (x, sizes), index, seed=0, step=1)
    (d,) = make_views([View(20)], (x, sizes), index, seed=1, step=0)
    crops = torch.cat([a, b, c, d])
    distance = (crops[:, None] - crops[None]).abs().amax((2, 3, 4))
    assert (distance.fill_diagonal_(1) > 1e-2).all()


@pytest.mark.parametrize("recipe", ["crops", "jigsaw"])
def test_crops_of_one_recipe_are_those_of_as_many_recipes(recipe):
    """They are made in one go, and are the same as one after another."""
    x, sizes, index = noise(12)
    single = STRONG if recipe == "crops" else replace(STRONG, size=4, cell=6, grid=3)
    together = make_views([View(8), replace(single, count=3)], (x, sizes), index, seed=1, step=2)
    apart = make_views([View(8), single, single, single], (x, sizes), index, seed=1, step=2)
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-6 / 0.22)


def test_a_view_depends_on_seed_epoch_index_and_crop_only():
    """Not on the rest of the batch, the order in it, nor on the views around it: to 1e-6."""
    x, sizes, index = noise(40)

    def crop(rows, views=(STRONG, STRONG)) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(len(rows))
            return make_views(views, (x[rows], sizes[rows]), index[rows], seed=3, step=9)[1]

    rows = torch.arange(40)
    whole = crop(rows)
    close = {"rtol": 0, "atol": 1e-6 / 0.22}  # after division by the standard deviation
    torch.testing.assert_close(crop(rows), whole, rtol=0, atol=0)
    torch.testing.assert_close(torch.cat([crop(part) for part in rows.split(7)]), whole, **close)
    torch.testing.assert_close(torch.cat([crop(rows[i : i + 1]) for i in range(8)]), whole[:8], **close)
    order = random.permutation(4, 40)
    torch.testing.assert_close(crop(order), whole[order], **close)
    torch.testing.assert_close(crop(rows, (View(8), STRONG, View(8, count=3))), whole, **close)


def test_multi_crop_makes_as_many_views_of_each_size_as_asked():
    x, sizes, index = noise(3, 32)
    views = (View(24, count=2, scale=(0.14, 1.0)), View(10, count=6, scale=(0.05, 0.14)))
    crops = make_views(views, (x, sizes), index, seed=0, step=0)
    assert [tuple(c.shape) for c in crops] == [(3, 3, 24, 24)] * 2 + [(3, 3, 10, 10)] * 6
    assert all(c.dtype == torch.float32 for c in crops)


@pytest.mark.parametrize("canvas, size", [(24, 20), (200, 110)])
def test_views_are_finite_and_between_0_and_1(canvas, size):
    """Hard edges make bicubic interpolation overshoot; on both paths of the crop that is cut off."""
    x, sizes, index = noise(6, canvas)
    x = (x > 127).to(torch.uint8) * 255
    plain, distorted = View(size, bicubic=True), View(size, bicubic=True, jitter=(0.8, 0.8, 0.8, 0.2), blur_p=1)
    for y in (plain(x, sizes, index, 0), distorted(x, sizes, index, 0)):
        assert y.isfinite().all() and y.min() >= 0 and y.max() <= 1
    assert (plain(x, sizes, index, 0) == 0).any() and (plain(x, sizes, index, 0) == 1).any()


@pytest.mark.parametrize("level", [0, 127, 255])
@pytest.mark.parametrize("canvas, size, n", [(1, 1, 1), (1, 20, 1), (24, 20, 1), (24, 1, 5)])
def test_pictures_of_one_grey_survive_everything(level, canvas, size, n):
    """On a canvas of one pixel and in a batch of one too."""
    x = torch.full((n, 3, canvas, canvas), level, dtype=torch.uint8)
    recipe = View(size, bicubic=True, jitter=(0.8, 0.8, 0.8, 0.5), jitter_p=1, blur_p=1, solarize_p=1)
    (y,) = make_views([recipe], (x, torch.full((n, 2), canvas)), torch.arange(n), seed=0, step=0)
    assert y.shape == (n, 3, size, size) and y.isfinite().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"views": View(8)}, "views is a list of views, such as .View.32, count=2.., not View"),
        ({"x": noise(4)[0] / 255}, r"canvases, a tensor uint8 \(N, 3, S, S\) of N = 4 .*, not float32 \(4, 3, 24, 24"),
        ({"x": noise(4)[0].permute(0, 2, 3, 1)}, r"canvases, .* not uint8 \(4, 24, 24, 3"),
        ({"x": noise(4)[0][..., :20]}, r"square canvases, .* not uint8 \(4, 3, 24, 20"),
        ({"x": noise(4)[0].numpy()}, "square canvases, .* not ndarray"),
        ({"sizes": torch.full((2, 2), 24)}, r"Sizes are .* of N = 4 as in index, not int64 \(2, 2"),
        ({"sizes": torch.zeros(4, 2, dtype=torch.int32)}, "Sizes are .* from 1 on, .* from 0 on"),
        ({"index": torch.arange(3)}, "of N = 3 as in index"), ({"index": [0, 1, 2, 3]}, "index is .* not list"),
        ({"views": [Turned()]}, r"Turned.make gives float32 \(3, 24, 24\).* row for each of the 4 samples"),
    ],
)  # fmt: skip
def test_what_no_views_can_be_made_of_is_told(change, said):
    x, sizes, index = noise(4)
    given = {"views": [View(8)], "x": x, "sizes": sizes, "index": index} | change
    with pytest.raises(UserError, match=said):
        make_views(given["views"], (given["x"], given["sizes"]), given["index"], seed=0, step=0)


def test_the_fields_of_a_view_are_held_to_their_ranges():
    for wrong in ({"size": "a"}, {"size": 0}, {"count": 0}, {"blur_p": 1.5}, {"jitter": (0.4,)}, {"law": "none"}):
        with pytest.raises(UserError, match=f"View: {next(iter(wrong))}"):
            View(**{"size": 8} | wrong)
    assert View(8, scale=[0.2, 1]) == View(8, scale=(0.2, 1.0)) and hash(View(8, scale=[0.2, 1]))
    for make in (lambda: ClipView(View(8), frames=0), lambda: SoundView(hop=0), lambda: View(8).scaled(0.01)):
        with pytest.raises(UserError, match="greater than or equal to 1"):
            make()


def test_pictures_are_left_as_they_were():
    x, sizes, index = noise(9)
    before = x.clone()
    make_views([STRONG], (x, sizes), index, seed=0, step=0)
    assert torch.equal(x, before)


@pytest.mark.parametrize(("size", "canvas", "kept"), [(96, 192, 168), (65, 80, 70), (64, 160, 160), (32, 32, 32)])
def test_the_undistorted_view_is_the_middle_of_large_pictures_and_the_whole_of_small_ones(size, canvas, kept):
    """As Resize(256) and CenterCrop(224) where views have more than 64 pixels."""
    x, sizes, _ = noise(3, canvas)
    middle = tv.center_crop(x, [kept, kept]).float() / 255
    expected = normalise(tv.resize(middle, [size, size], antialias=True))
    torch.testing.assert_close(view.plain_view((x, sizes), size), expected, rtol=1e-4, atol=1e-4)


def test_normalise_equals_torchvision():
    x = noise(2)[0] / 255
    torch.testing.assert_close(normalise(x), tv.normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
