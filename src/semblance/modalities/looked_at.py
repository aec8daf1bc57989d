"""The few held-out samples that label-free numbers are of."""

from semblance.data import Source
from semblance.data.samples import Samples
from semblance.engine.loop import run_length
from semblance.runs.config import TrainConfig
from semblance.runtime import random

FEWEST, MOST = 300, 1000
OF_MANY_VIEWS, VIEWS = 100, 10  # for LiDAR
LOOKS = 8  # at the start, at the end, and in between
SHARE = 0.02  # of the run's computing, of which a step back and forth is three times that of a look


def looked_at(source: Source, config: TrainConfig) -> Samples:
    """A fixed draw of held-out samples, so many that looking at them takes a fiftieth of the run, 300 to 1,000."""
    steps = run_length(config, len(source.train))[1]
    views = 3 * steps * config.batch_size * sum(view.count for view in config.views)
    number = (SHARE * views - OF_MANY_VIEWS * VIEWS) / (2 * LOOKS)
    return drawn(source.held_out, round(min(max(number, FEWEST), MOST)))


def drawn(samples: Samples, most: int) -> Samples:
    """A fixed draw of at most so many samples."""
    if len(samples) <= most:
        return samples
    return samples.subset(random.permutation(random.key(0, "looked at"), len(samples))[:most].sort().values)
