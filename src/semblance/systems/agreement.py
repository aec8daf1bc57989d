"""Which samples agree with which, in picture and in sound: the positive sets of CMA, and how pure they are."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from semblance.errors import UserError, unknown
from semblance.runtime.ranks import gather, own_rows

SIMILARITIES_AT_ONCE = 2**22  # similarities held at once
GRID = 2**30  # similarities are rounded to multiples of 1 / GRID, so that rounding errors decide nothing
Track = Callable[[Sequence[Tensor]], Iterable[Tensor]]  # shows the progress of a loop

Agreement = Literal["consensus", "union", "video", "audio"]
AGREEMENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "consensus": torch.minimum,
    "union": torch.maximum,
    "video": lambda video, audio: video,
    "audio": lambda video, audio: audio,
}


@torch.no_grad()
def mine(
    video: Tensor, audio: Tensor, count: int, agreement: str, *, block: int = SIMILARITIES_AT_ONCE, track: Track = iter
) -> Tensor:
    """The other samples that agree most with each sample: unit rows (N, D), (N, D) -> sorted int64 (N, count).

    Agreement is the smaller of the two cosines ("consensus"), the larger ("union"), or that of one modality. Ties go to
    the lower index. In blocks, in float64; ranks share the work, and each gets the whole result (Morgado et al. 2021;
    facebookresearch/AVID-CMA does the same, but drops the most similar sample instead of the sample itself).
    """
    if agreement not in AGREEMENTS:
        raise unknown("agreement", agreement, AGREEMENTS)
    n = len(video)
    check_count(n, count)
    video, audio = video.double(), audio.double()
    later = torch.arange(n, device=video.device)
    own = later[own_rows(n)]
    found = []
    for rows in track(own.split(max(1, block // n))):
        score = AGREEMENTS[agreement](video[rows] @ video.T, audio[rows] @ audio.T)
        ranked = (score * GRID).round().long() * n - later  # of equal ones, the first becomes the largest
        ranked.scatter_(1, rows[:, None], torch.iinfo(torch.int64).min)
        found.append(ranked.topk(count, dim=1).indices.sort(1).values)
    return gather(torch.cat(found) if found else own.new_empty(0, count), n)


def check_count(samples: int, count: int) -> None:
    """Raise UserError unless each of `samples` can have `count` positives and at least one negative."""
    if count > samples - 2:
        raise UserError(
            f"{samples} samples cannot have {count} positives each. Try --hyper.positives {max(1, samples // 100)}."
        )


def purity(positives: Tensor, labels: Tensor) -> tuple[float, float]:
    """Share of positives (N, k) that have their sample's label, and the share expected of random other samples.

    Samples without a label, below 0, are left out on either side.
    """
    known = labels >= 0
    pairs = known[positives] & known[:, None]
    same = ((labels[positives] == labels[:, None]) & pairs).double().sum() / pairs.sum().clamp(min=1)
    own = labels[known]
    others = own.bincount()[own].double() - 1
    return same.item(), (others / max(1, len(own) - 1)).mean().item()
