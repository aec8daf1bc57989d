"""The few samples, held out if there are any, that label-free numbers are of."""

from semblance.data import Source
from semblance.data.samples import Samples
from semblance.engine.loop import run_length
from semblance.runs.config import TrainConfig
from semblance.runtime import random

FEWEST = 10  # that say anything
AT_LEAST, AT_MOST = 300, 1000  # if there are so many
OF_MANY_VIEWS, VIEWS = 100, 10  # for LiDAR
LOOKS = 8  # at the start, at the end, and in between
SHARE = 0.02  # of the run's computing, of which a step back and forth is three times that of a look


def looked_at(source: Source, config: TrainConfig) -> Samples:
    """A fixed draw of held-out samples, so many that looking at them takes a fiftieth of the run, 300 to 1,000.

    Of training samples where too few are held out, if the run began with weights: nothing else would tell whether these
    are lost.
    """
    steps = run_length(config, len(source.train))[1]
    views = 3 * steps * config.batch_size * sum(view.count for view in config.views)
    number = (SHARE * views - OF_MANY_VIEWS * VIEWS) / (2 * LOOKS)
    few = config.began_with_weights and len(source.held_out) < FEWEST
    return drawn(source.train if few else source.held_out, round(min(max(number, AT_LEAST), AT_MOST)))


def drawn(samples: Samples, most: int) -> Samples:
    """A fixed draw of at most so many samples."""
    if len(samples) <= most:
        return samples
    return samples.subset(random.permutation(random.key(0, "looked at"), len(samples))[:most].sort().values)
