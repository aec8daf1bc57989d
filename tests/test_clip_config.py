"""The configuration of methods that learn from clips."""

from pathlib import Path

import pytest
from tiny import tiny_config

from semblance.config import TrainConfig
from semblance.errors import UserError
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import View


@pytest.mark.parametrize("method", ["avid", "avid-cma", "pirl"])
def test_views_of_every_kind_survive_config_yaml(method: str, tmp_path: Path) -> None:
    config = tiny_config(method)
    config.save(tmp_path / "config.yaml")
    loaded = TrainConfig.load(tmp_path / "config.yaml")
    assert loaded == config
    assert [type(v) for v in loaded.views] == ([View, View] if method == "pirl" else [ClipView, SoundView])


def test_defaults_follow_what_the_method_learns_from() -> None:
    assert tiny_config("avid", data=None).data == "bounce" and tiny_config("simclr", data=None).data == "shapes"
    assert tiny_config("avid", recipe="imagenet", image_size=None).video.size == 224
    assert tiny_config("avid", image_size=48).image_size == 48


def test_hyper_parameters_may_be_words() -> None:
    assert tiny_config("avid-cma", hyper={"agreement": "union"}).hyper["agreement"] == "union"
    with pytest.raises(UserError, match="hyper.agreement"):
        tiny_config("avid-cma", hyper={"agreement": "onion"})


@pytest.mark.parametrize("flags", [{"audio_backbone": "conv2d-10"}, {"mel": 64}])
def test_pictures_have_no_sound(flags: dict) -> None:
    with pytest.raises(UserError, match="SimCLR learns from pictures alone"):
        tiny_config("simclr", **flags)
