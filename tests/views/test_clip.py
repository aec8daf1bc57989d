"""One draw of crop, flip and jitter for all frames of a clip."""

import torch

from semblance.views.clip import ClipView, plain_clip
from semblance.views.view import View, plain_view

STRONG = View(16, jitter=(0.4, 0.4, 0.4, 0.2), jitter_p=1.0, grey_p=0.5, blur_p=0.5)


def raw(n: int = 6, t: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.randint(0, 256, (n, t, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return pixels, torch.full((n, 2), 24, dtype=torch.int32)


def test_equal_frames_stay_equal_and_clips_differ() -> None:
    frames, sizes = raw()
    still = frames[:1, :1].expand(6, 4, -1, -1, -1)
    views = ClipView(STRONG).make((still, sizes), torch.arange(6), 3)
    assert views.shape == (6, 3, 4, 16, 16)
    assert (views - views[:, :, :1]).abs().max() == 0
    assert len({view.sum().item() for view in views}) == 6


def test_a_frame_is_what_the_picture_view_makes_of_it() -> None:
    frames, sizes = raw()
    index = torch.arange(6)
    views = ClipView(STRONG).make((frames, sizes), index, 3)
    for t in range(4):
        torch.testing.assert_close(views[:, :, t], STRONG.make((frames[:, t], sizes), index, 3))
    plain = plain_clip((frames, sizes), 16)
    torch.testing.assert_close(plain[:, :, 2], plain_view((frames[:, 2], sizes), 16))


def test_sizes_scale_with_the_pictures() -> None:
    view = ClipView(STRONG, frames=8, fps=16.0)
    assert view.scaled(2.0).size == 32 and view.seconds == 0.5
