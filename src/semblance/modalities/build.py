"""From a configuration to a method with its backbones."""

from collections.abc import Callable

from semblance import systems
from semblance.modalities.modality import Modality
from semblance.runs.config import TrainConfig
from semblance.systems import Method


def build(config: TrainConfig, modality: Modality) -> Method:
    """The method with random weights; modality: what its samples are."""
    make: Callable[..., Method] = systems.get(config.method)  # methods differ in how many networks they take
    return make(*modality.networks(config), without=config.without, **config.hyper)
