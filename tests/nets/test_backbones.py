"""What the suffixes of a backbone's name do."""

import pytest
import torch
from torch import nn

from semblance.nets.backbones import backbone, sobel


def test_sobel_gives_the_slopes_of_the_grey_picture():
    """Of a plane 2 x + 3 y: 8 times the slopes, and nothing of the colour."""
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    picture = (2 * x + 3 * y).expand(1, 3, -1, -1) + torch.tensor([1.0, -3, 2])[:, None, None]
    inner = sobel(picture)[0, :, 1:-1, 1:-1]
    for channel, slope in enumerate((-16.0, -24.0, 0.0)):
        torch.testing.assert_close(inner[channel], torch.full((3, 4), slope))


def test_a_sobel_backbone_does_not_see_colour():
    torch.manual_seed(0)
    model = backbone("resnet10-w8-cifar-sobel").eval()
    picture = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model(picture), model(picture[:, [2, 0, 1]]))


def test_a_vision_transformer_takes_the_small_crops_of_its_recipes():
    model = backbone("vit_tiny_patch16_224").eval()
    with torch.no_grad():
        assert [model(torch.zeros(1, 3, size, size)).shape for size in (224, 96)] == [(1, 192)] * 2


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "torchvision/convnext_tiny", "test_efficientnet"])
def test_nothing_is_left_to_chance(name: str) -> None:
    """In training mode too: masks would depend on ranks and micro-batches."""
    model = backbone(name).train()
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.momentum = 0.0
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x), rtol=0, atol=0)
