"""What is measured of clips: which windows, which pools, and how loud sounds are."""

import pytest
import torch
from tiny import SIZE, tiny_config
from torch import Tensor, nn

from semblance.data.clips.clips import Clips
from semblance.evaluation.clip_features import backbone_features, probed, raw_input, sound_statistics

CONFIG = tiny_config("avid")  # windows of 2 frames at 8 a second and of 400 of 4000 samples


def clips(n: int, frames: int) -> Clips:
    """Noise that gets louder; the grey levels of the frames are 10, 20, 30, ..."""
    g = torch.Generator().manual_seed(0)
    grey = [(10 * (1 + torch.arange(frames)))[:, None, None, None].expand(-1, 3, SIZE, SIZE).byte() for _ in range(n)]
    loud = torch.linspace(1, 3000, frames * 500)
    sounds = [(loud * torch.randn(len(loud), generator=g)).short() for _ in range(n)]
    return Clips("some", SIZE, range(n), grey, sounds, torch.full((n, 2), SIZE), CONFIG.video, CONFIG.sound)


class LastFrame(nn.Module):
    num_features = 1

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x[:, :1, -1].mean((2, 3)) * 0.229 + 0.485) * 255


class Loudness(LastFrame):
    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x.mean((2, 3))


def test_features_are_the_mean_over_the_first_the_middle_and_the_last_window() -> None:
    some = clips(4, 10)
    found = backbone_features(LastFrame(), Loudness(), some, CONFIG)
    windows = [some.at(place).read(range(4)) for place in (0.0, 0.5, 1.0)]
    last = [frames[0, -1, 0, 0, 0].item() for frames, *_ in windows]
    assert last[0] == 20 and 50 < last[1] < 80 and last[2] == 100
    torch.testing.assert_close(found["video"], torch.full((4, 1), sum(last) / 3), rtol=1e-4, atol=1e-2)
    levels = [CONFIG.sound.plain(sounds.float() / 32767).mean((2, 3)) for *_, sounds in windows]
    torch.testing.assert_close(found["audio"], torch.stack(levels).mean(0))


def test_probes_see_a_grid_of_video_by_the_maximum_and_of_sound_by_the_mean() -> None:
    g = torch.Generator().manual_seed(0)
    video, sound = torch.randn(2, 3, 4, 8, 8, generator=g), torch.randn(2, 3, 8, 12, generator=g)
    cells = video.view(2, 3, 4, 4, 2, 4, 2)
    assert probed(video, 1).equal(cells.amax((2, 4, 6)).flatten(1))
    assert probed(video, 2).equal(cells.unflatten(2, (2, 2)).amax((3, 5, 7)).flatten(1))
    torch.testing.assert_close(probed(sound, 1), sound.view(2, 3, 4, 2, 4, 3).mean((3, 5)).flatten(1))
    torch.testing.assert_close(probed(sound, 8), sound.view(2, 3, 8, 4, 3).mean(4).flatten(1))
    assert probed(video[..., :2, :2], 4).equal(video[..., :2, :2].flatten(1))  # no finer than the map


@pytest.mark.parametrize("most", [2000, 30])
def test_sounds_have_the_mean_and_deviation_of_their_bins(most: int) -> None:
    some = clips(120, 3)
    heard = torch.arange(120)[:: -(-120 // most)]
    levels = CONFIG.sound.plain(some.read(heard)[2].float() / 32767).double().flatten(0, 2)
    std, mean = torch.std_mean(levels, 0, correction=0)
    found = sound_statistics(some, CONFIG, most)
    torch.testing.assert_close(torch.stack(found), torch.stack([mean, std]).float())
    assert std.min() > 1.5  # dB, so that its square is another number


def test_raw_input_is_frames_and_spectrograms_made_small() -> None:
    some = clips(3, 4)
    frames, sizes, sounds = some.read(range(3))
    found = raw_input(some, CONFIG)
    levels = frames.float().div(255).transpose(1, 2)
    mean, std = (torch.tensor(c)[:, None, None, None] for c in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(found["video"], ((levels - mean) / std).flatten(1))
    spectrograms = CONFIG.sound.plain(sounds.float() / 32767)
    small = nn.functional.adaptive_avg_pool2d(spectrograms, (24, 32))
    torch.testing.assert_close(found["audio"], small.flatten(1))
