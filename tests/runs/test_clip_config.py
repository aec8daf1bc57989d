"""The configuration of methods that learn from clips."""

from math import inf
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_config

from semblance.errors import UserError
from semblance.runs.config import TrainConfig
from semblance.runs.resolve import resolve
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


def test_no_view_is_mirrored_where_that_is_asked_for() -> None:
    assert resolved(flip_p=0.0).video.picture.flip_p == 0 and resolved().video.picture.flip_p == 0.5
    assert [view.flip_p for view in resolved("pirl", flip_p=0.0).pictures] == [0, 0]
    with pytest.raises(UserError) as told:
        resolved("pirl", flip_p=1.5)
    assert str(told.value).count("--flip-p") == 1


def test_hyper_parameters_may_be_words() -> None:
    assert tiny_config("avid-cma", hyper={"agreement": "union"}).hyper["agreement"] == "union"
    with pytest.raises(UserError, match="hyper.agreement"):
        tiny_config("avid-cma", hyper={"agreement": "onion"})


def test_windows_are_chosen_by_flags() -> None:
    config = resolved(frames=75, fps=25.0, seconds=3.0, mel=0)
    assert (config.video.frames, config.video.fps, config.sound.seconds, config.sound.mel) == (75, 25.0, 3.0, 0)
    assert resolved(frames=12).video.fps == resolved().video.fps and resolved(frames=12).sound == resolved().sound


def test_a_run_that_goes_on_from_another_has_its_windows(tmp_path: Path) -> None:
    resolved(frames=12, seconds=1.5, mel=32, flip_p=0.25).save(tmp_path / "config.yaml")
    config = resolved("avid-cma", from_run=str(tmp_path), fps=5.0)
    assert config.video.picture.flip_p == 0.25
    assert (config.video.frames, config.video.fps, config.sound.seconds, config.sound.mel) == (12, 5.0, 1.5, 32)


def test_a_run_that_goes_on_from_another_has_what_it_shares_of_its_hyper_parameters(tmp_path: Path) -> None:
    resolved(hyper={"temperature": 0.3, "dim": 64, "negatives": 9}).save(tmp_path / "config.yaml")
    hyper = resolved("avid-cma", from_run=str(tmp_path), hyper={"negatives": 7}).hyper
    assert (hyper["temperature"], hyper["dim"], hyper["negatives"], hyper["positives"]) == (0.3, 64, 7, 8)


def test_pictures_do_not_go_on_from_clips(tmp_path: Path) -> None:
    resolved().save(tmp_path / "config.yaml")
    with pytest.raises(UserError, match="is of avid, which learns from something else"):
        resolved("simclr", from_run=str(tmp_path))


def test_all_bad_windows_are_told_at_once() -> None:
    with pytest.raises(UserError) as told:
        resolved(flip_p=2, frames=0, fps=inf, seconds=inf, mel=-3)
    named = [line.split(":")[0] for line in str(told.value).splitlines()]
    assert named == ["--flip-p", "--frames", "--fps", "--seconds", "--mel"]


def resolved(method: str = "avid", **flags: Any) -> TrainConfig:
    return resolve({"method": method} | flags)


@pytest.mark.parametrize("flags", [{"audio_backbone": "conv2d-10"}, {"mel": 64}, {"frames": 9}, {"seconds": 1.0}])
def test_pictures_have_no_sound(flags: dict) -> None:
    with pytest.raises(UserError, match="SimCLR learns from pictures alone"):
        tiny_config("simclr", **flags)
