"""Whether all ranks see the same samples."""

from hashlib import blake2b

from semblance.data.samples import Samples
from semblance.runtime import ranks


def differing(samples: Samples | None) -> str | None:
    """How the samples of the ranks differ, in words, the same on all; None where they do not. All must call this."""
    if ranks.world()[1] == 1:
        return None
    own = _told(samples)
    seen = ranks.everyones(own)
    other = next((rank for rank, told in enumerate(seen) if told != seen[0]), None)
    if other is None:
        return None
    counts = [told[0] for told in (seen[0], seen[other])]
    numbers = f"rank 0 has {counts[0]:,}, rank {other} has {counts[1]:,}"
    names = ranks.everyones([str(item) for item in samples.items] if samples is not None else [])
    ours, theirs = (set(names[rank]) for rank in (0, other))
    for rank, alone in ((0, ours - theirs), (other, theirs - ours)):
        if alone:
            return f"{numbers}; only rank {rank} has {min(alone)}"
    if names[0] != names[other]:
        first = next(pair for pair in zip(names[0], names[other], strict=True) if pair[0] != pair[1])
        return f"{numbers}, in another order: {first[0]} on rank 0 stands where {first[1]} does on rank {other}"
    return f"{numbers}, of the same names but with other pixels, sounds or labels"


def _told(samples: Samples | None) -> tuple[int, str]:
    """The number of samples, and a hash of their names, of the content of some, and of their labels."""
    if samples is None:
        return 0, ""
    digest = blake2b(samples.fingerprint().encode(), digest_size=8)
    for name, attribute in sorted(samples.attributes.items()):
        digest.update(repr((name, attribute.classes)).encode() + attribute.values.numpy().tobytes())
    return len(samples), f"{digest.hexdigest()} {samples.canvas}"
