"""The families of methods, in the order of a lecture: each has its own answer to the trivial solution."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A family: what its methods ask of the embeddings, why the trivial solution does not answer that, and what to
    look at when it does."""

    name: str
    idea: str
    trivial: str
    watch: str
    example: str  # the method to begin with

    @property
    def folder(self) -> str:
        """Of its methods, in this package."""
        return self.name.replace(" ", "_")


TRIVIAL = (
    "All of them want the embeddings of two views of a sample to agree. The trivial solution agrees best: one "
    "embedding for everything. A family is a way to keep it out."
)

FAMILIES = (
    Family(
        "contrastive",
        "Your own other view attracts you, all others repel you.",
        "With one embedding for everything your own view cannot be told from the others, and the loss is at chance.",
        "the loss against its level at which all embeddings are equal, and the deviation of the embeddings",
        "simclr",
    ),
    Family(
        "clustering",
        "From one view, predict the group that the other view is put into; groups are kept equally large.",
        "With one embedding for everything all samples would have to share one group, which equal sizes forbid.",
        "how many of the prototypes or clusters are in use",
        "swav",
    ),
    Family(
        "distillation",
        "A student predicts what a teacher makes of another view; the teacher takes no gradient.",
        "One embedding for everything would be a perfect answer, and nothing in the loss forbids it. But the two are "
        "not equals: only the student moves towards the other, so they do not slide there together.",
        "the deviation of the embeddings, since the loss alone cannot tell success from collapse",
        "simsiam",
    ),
    Family(
        "redundancy reduction",
        "Every dimension agrees between the views, varies, and tells what the others do not.",
        "A dimension that is the same for everything does not vary, and two that tell the same are correlated: the "
        "loss sees both.",
        "the spectrum of the embeddings and the correlation of their dimensions",
        "barlow-twins",
    ),
)
