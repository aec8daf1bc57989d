"""Cross-modal retrieval: whether a clip's picture finds its own sound among all, and its sound its picture."""

import torch
from torch import Tensor

RANKS = (1, 5, 10)
SIMILARITIES_AT_ONCE = 2**24  # similarities held at once


def retrieval(video: Tensor, audio: Tensor) -> dict[str, dict[str, float]]:
    """R@1, R@5 and R@10 in [0, 1] and the median rank (1 is best) both ways, of unit rows (N, D), (N, D).

    Of equally similar candidates half are counted as better, so that a collapsed encoder is at chance.
    """
    return {"video_to_audio": _found(video, audio), "audio_to_video": _found(audio, video)}


def chance(n: int) -> dict[str, float]:
    """The same for a random order of n candidates."""
    return {f"r{k}": min(1.0, k / n) for k in RANKS} | {"median_rank": (n + 1) / 2}


def ranks(query: Tensor, candidates: Tensor) -> Tensor:
    """The rank of each query's own candidate, 1 where it is the most similar: float64 (N,)."""
    found = []
    for rows in torch.arange(len(query)).split(max(1, SIMILARITIES_AT_ONCE // len(candidates))):
        similarity = query[rows].double() @ candidates.double().T
        own = similarity.gather(1, rows[:, None])
        better, equal = (similarity > own + 1e-9).sum(1), ((similarity - own).abs() <= 1e-9).sum(1)
        found.append(better + (equal - 1).double() / 2 + 1)
    return torch.cat(found)


def _found(query: Tensor, candidates: Tensor) -> dict[str, float]:
    rank = ranks(query, candidates)
    recall = {f"r{k}": (rank <= k).double().mean().item() for k in RANKS}
    return recall | {"median_rank": rank.quantile(0.5).item()}
