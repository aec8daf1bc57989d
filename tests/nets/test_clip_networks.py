"""The video and audio networks of AVID: published sizes and shapes; picture networks over frames."""

import pytest
import torch

from semblance.errors import UserError
from semblance.nets.audio import audio_backbone
from semblance.nets.video import max_of_parts, video_backbone


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_published_numbers_of_parameters() -> None:
    with torch.device("meta"):
        found = [count(video_backbone(f"r2plus1d-{depth}")) for depth in (10, 18, 34)]
        assert found == [7_015_616, 15_379_136, 28_861_632]
        assert count(audio_backbone("conv2d-10", 257)) == 4_725_696


def test_published_shapes() -> None:
    with torch.device("meta"):
        video, audio = video_backbone("r2plus1d-18"), audio_backbone("conv2d-10", 257)
        clip, sound = torch.empty(1, 3, 8, 224, 224), torch.empty(1, 1, 200, 257)
        shapes, x = [], video.stem(clip)
        for stage in video.stages:
            shapes.append(tuple(x.shape[1:]))
            x = stage(x)
        assert shapes == [(64, 8, 56, 56), (64, 8, 56, 56), (128, 4, 28, 28), (256, 2, 14, 14)]
        assert x.shape == (1, 512, 1, 7, 7) and video(clip).shape == (1, 512)
        shapes, x = [], audio.stem(audio.standardise(sound))
        for block in audio.blocks:
            shapes.append(tuple(x.shape[1:]))
            x = block(x)
        assert shapes == [(64, 100, 129), (64, 50, 65), (128, 25, 33), (256, 13, 17)]
        assert x.shape == (1, 512, 13, 17) and audio(sound).shape == (1, 512)


def test_small_variants() -> None:
    with torch.device("meta"):
        video, audio = video_backbone("r2plus1d-10-small"), audio_backbone("conv2d-10-small", 129)
        assert video.stem(torch.empty(1, 3, 8, 112, 112)).shape == (1, 64, 8, 56, 56)
        assert audio.forward_features(torch.empty(1, 1, 100, 129)).shape == (1, 512, 13, 17)


def test_width_is_a_suffix() -> None:
    assert video_backbone("r2plus1d-10-w8").num_features == 64 == audio_backbone("conv2d-10-small-w8", 129).num_features


def test_parts_of_time_are_kept_apart() -> None:
    """What changes late in a clip changes late features only; one part is as published."""
    video = video_backbone("r2plus1d-10-w4-t2").eval()
    audio = audio_backbone("conv2d-10-w4-t2", 33).eval()
    for network, shape in ((video, (2, 32, 6, 3, 3)), (audio, (2, 32, 6, 3))):
        x = torch.randn(shape)
        early, late = network.pool(x).chunk(2, 1)
        assert network.num_features == 64 and (early == x[:, :, :3].flatten(2).amax(2)).all()
        x[:, :, 3:] = 9.0
        assert (network.pool(x)[:, :32] == early).all() and (network.pool(x)[:, 32:] == 9).all() and (late < 9).all()
    assert video(torch.randn(2, 3, 16, 32, 32)).shape == (2, 64)
    with pytest.raises(ValueError, match="-t2 wants as many steps of time, of which 1 are left"):
        video(torch.randn(2, 3, 8, 32, 32))


def test_parts_of_time_are_as_long() -> None:
    """Five steps in two parts: the middle one counts in both."""
    x = torch.tensor([0.0, 1.0, 2.0, 1.0, 0.0]).view(1, 1, 5, 1)
    assert max_of_parts(x, 2).tolist() == [[2.0, 2.0]] and max_of_parts(x, 5).tolist() == [x.flatten().tolist()]


@pytest.mark.parametrize("frames", [1, 5])
def test_any_picture_network_over_frames(frames: int) -> None:
    video, clip = video_backbone("resnet10-w8-cifar").eval(), torch.randn(2, 3, frames, 16, 16)
    per_frame = [video.picture(clip[:, :, t]) for t in range(frames)]
    torch.testing.assert_close(video(clip), torch.stack(per_frame).mean(0))
    audio = audio_backbone("resnet10-w8-cifar", 20)
    assert audio(torch.randn(2, 1, 30, 20)).shape == (2, audio.num_features)


def test_unknown_names_are_told() -> None:
    with pytest.raises(UserError, match="Did you mean"):
        video_backbone("resnet81")
