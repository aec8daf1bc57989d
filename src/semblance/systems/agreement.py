"""Which samples agree with which, in picture and in sound: the positive sets of CMA, and how pure they are."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from semblance.errors import UserError, unknown
from semblance.runtime.ranks import gather, own_rows

BLOCK = 2**22  # similarities held at once
GRID = 2**30  # similarities are compared in these steps, so that the rounding of a product decides nothing
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
    video: Tensor, audio: Tensor, count: int, agreement: str, *, block: int = BLOCK, track: Track = iter
) -> Tensor:
    """The samples that agree most with each one, itself left out: unit rows (N, D) twice -> sorted int64 (N, count).

    Agreement is the smaller of the two cosines ("consensus"), the larger ("union"), or that of one modality. Of equal
    ones the first counts. In blocks, in float64; ranks share the work, and each gets the same whole result
    (Morgado et al. 2021; facebookresearch/AVID-CMA draws its sets likewise, but drops the first instead of itself).
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
        ranked = (score * GRID).round().long() * n - later  # the first of equal ones is the largest
        ranked.scatter_(1, rows[:, None], torch.iinfo(torch.int64).min)
        found.append(ranked.topk(count, dim=1).indices.sort(1).values)
    return gather(torch.cat(found) if found else own.new_empty(0, count), n)


def check_count(samples: int, count: int) -> None:
    """A UserError unless so many samples can have so many positives each, and at least one negative."""
    if count > samples - 2:
        raise UserError(
            f"{samples} samples cannot have {count} positives each. Try --hyper.positives {max(1, samples // 100)}."
        )


def purity(positives: Tensor, labels: Tensor) -> tuple[float, float]:
    """Share of positives (N, k) with the label of their sample, and that of other samples drawn at random."""
    same = (labels[positives] == labels[:, None]).double().mean().item()
    others = labels.bincount()[labels].double() - 1
    return same, (others / (len(labels) - 1)).mean().item()
