"""The pictures of a report with their features."""

from dataclasses import dataclass, field

from torch import Tensor

from semblance.data.samples import Samples


@dataclass
class Gallery:
    """Pictures, held-out ones if there are any, with features by the trained backbone; a few thousand at most.

    pictures: uint8 (N, 3, S, S). features: float (N, D). labels: int64 (N,) or None.
    classes: the name of each label; a label without one is shown as its number, one below 0 not at all.
    """

    pictures: Tensor
    features: Tensor
    labels: Tensor | None = None
    classes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, samples: Samples, pictures: Tensor, features: Tensor) -> "Gallery":
        """Pictures of samples, with the first of the labels that these have."""
        label = next(iter(samples.attributes.values()), None)
        return cls(pictures, features) if label is None else cls(pictures, features, label.values, label.classes)
