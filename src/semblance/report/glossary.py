"""Words of the field, each explained once on a page that uses it."""

from collections.abc import Collection

# Label-free numbers, as evaluation/label_free/numbers.py names them: what they are called, and what they mean.
LABEL_FREE = {
    "view_percentile": (
        "percentile of the other view",
        "To how many of the others a sample's own other view is preferred; 50 % is chance. What was learnt shows here.",
    ),
    "view_first": (
        "other view found first",
        "How often the other view is the nearest of all; falls with their number.",
    ),
    "unit_deviation": (
        "deviation",
        "Of features of unit length, over samples: 1 where they fill the sphere, 0 where all point one way.",
    ),
    "deviation": ("deviation, not normalised", "The same of features as they are: 0 where all samples get one vector."),
    "rankme": (
        "RankMe",
        "In how many directions features spread, by their singular values: an alarm where it falls to a few.",
    ),
    "alignment": ("alignment", "Squared distance of two views of a sample on the sphere: 0 where views do not matter."),
    "repeatability": (
        "repeatability",
        "Which share of the spread is of the sample and not of the view: 100 % where views do not matter, 0 by chance.",
    ),
    "uniformity": ("uniformity", "How evenly features lie on the sphere: −4 at best, 0 where all are one."),
    "two_nn": ("dimension by two neighbours", "Of the surface that features lie on, by their two nearest neighbours."),
    "tree_dimension": ("dimension by a tree", "The same by the length of the shortest tree that joins them."),
    "lidar": ("LiDAR", "In how many directions samples differ beyond what their own views do."),
}

# By what is on the page: names of measures and of numbers in the log, and sections.
WORDS = {
    "knn_top1": (
        "k-NN",
        "The nearest training samples, by cosine of features, vote for the class; nothing is trained.",
    ),
    "knn_leave_one_out": (
        "k-NN among training pictures",
        "The same of training pictures by each other: a start is compared by it, so that held-out ones only measure.",
    ),
    "linear_top1": (
        "Linear classifier",
        "A linear probe: a softmax regression, trained on labels, on top of features that stay as they are.",
    ),
    "linear_mean_per_class": ("Mean over classes", "Every class counts the same, however few its pictures."),
    "video_to_audio_r1": (
        "R@1, R@10",
        "Recall: how often a clip's own other half is the nearest of all, or among the ten nearest.",
    ),
    "embedding_std": (
        "Deviation of embeddings",
        "Of what the loss sees, at unit length: 1 where a batch fills the sphere, 0 where all of it points one way.",
    ),
    "deviation": (
        "Deviation, not normalised",
        "Of what the loss sees, as it is: near 1 as VICReg asks for, 0 where all samples get one embedding.",
    ),
    "prototypes_in_use": ("Prototypes", "Vectors that stand for groups; a sample belongs to the nearest, or shares."),
    "classes_in_use": ("Classes in use", "Groups that the method itself has made, not those of the labels."),
    "largest_cluster": ("Largest cluster", "The share of all samples that are in one group."),
    "teacher_entropy": (
        "Teacher entropy",
        "How undecided the teacher is between its outputs: 0 where it always gives one, highest where all are alike.",
    ),
    "positive_similarity": ("Positive similarity", "The cosine of two views of one sample."),
    "pair_similarity": ("Pair similarity", "The cosine of the two halves of one clip."),
    "loss": ("Levels of the loss", "What it is where embeddings tell nothing apart, and where they do best."),
    "neighbours": ("Cosine", "Of the angle between two vectors: 1 where they point the same way, 0 at right angles."),
    "t-SNE": ("t-SNE", "A map on which neighbours stay neighbours; distances between groups mean little."),
    "PCA": ("PCA", "A map along the two directions in which features vary most."),
    "untrained": (
        "Untrained",
        "The same network with random weights, its batch norms knowing the data: what an architecture does by itself.",
    ),
    "collapse": ("Collapse", "The trivial solution: all samples get one embedding, or one group, whatever they show."),
}


def explained(on_page: Collection[str]) -> list[tuple[str, str]]:
    """Words with what they mean, of measures, numbers and sections that a page has."""
    return [told for name, told in (LABEL_FREE | WORDS).items() if name in on_page]
