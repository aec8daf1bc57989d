"""A backbone leaves as an ordinary timm or torchvision model, and comes back equal."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

import semblance
from semblance.errors import UserError
from semblance.nets.backbones import backbone
from semblance.runs import weights

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def exported(name: str, run: Path) -> nn.Module:
    """A backbone whose running statistics have moved, saved in a run folder."""
    model = backbone(name)
    with torch.no_grad():
        model(IMAGES)
    weights.save(run / "backbone.safetensors", model, {"backbone": name, "image_size": 64})
    return model.eval()


def assert_same_features(a: nn.Module, b: nn.Module) -> None:
    with torch.no_grad():
        torch.testing.assert_close(a.eval()(IMAGES), b.eval()(IMAGES), rtol=1e-6, atol=1e-6)


def test_timm_reads_it(tmp_path: Path) -> None:
    model = exported("resnet18", tmp_path)
    theirs = timm.create_model("resnet18", num_classes=0)
    theirs.load_state_dict(load_file(tmp_path / "backbone.safetensors"), strict=True)
    assert_same_features(model, theirs)


def test_torchvision_reads_it(tmp_path: Path) -> None:
    model = exported("torchvision/resnet18", tmp_path)
    theirs = torchvision.models.resnet18()
    theirs.fc = nn.Identity()
    theirs.load_state_dict(load_file(tmp_path / "backbone.safetensors"), strict=True)
    assert_same_features(model, theirs)


@pytest.mark.parametrize(
    "name", ["resnet18-cifar", "resnet10-w16-cifar-sobel", "resnet10-w8", "torchvision/resnet18-cifar"]
)
def test_it_comes_back(name: str, tmp_path: Path) -> None:
    model = exported(name, tmp_path)
    for back in (semblance.load_backbone(tmp_path), semblance.load_backbone(tmp_path / "backbone.safetensors")):
        assert not back.training
        assert_same_features(model, back)
    with torch.no_grad():
        assert back(IMAGES).shape == (2, back.num_features)


def test_small_stem_keeps_the_resolution() -> None:
    small, usual = backbone("resnet18-cifar"), timm.create_model("resnet18", num_classes=0)
    with torch.no_grad():
        assert small.forward_features(IMAGES).shape[-1] == 4 * usual.forward_features(IMAGES).shape[-1]
    assert small.state_dict().keys() == usual.state_dict().keys()


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("resnet81", "Did you mean .*resnet18"),
        ("torchvision/resnet81", "Did you mean 'resnet18'"),
        ("resnet50-w32", "works on resnet10, resnet18 and resnet34"),
        ("vit_tiny_patch16_224-cifar", "works on ResNets"),
        ("not a name", "is not a name like resnet18"),
    ],
)
def test_unknown_backbone_says_what_would_do(name: str, advice: str) -> None:
    with pytest.raises(UserError, match=advice):
        backbone(name)


def test_no_backbone_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="semblance train"):
        semblance.load_backbone(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "backbone.safetensors")
    with pytest.raises(UserError, match="does not name its backbone"):
        semblance.load_backbone(tmp_path)
    (tmp_path / "backbone.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="not a whole"):
        semblance.load_backbone(tmp_path)
