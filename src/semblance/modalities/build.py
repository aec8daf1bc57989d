"""From a configuration to a method with its backbones."""

from collections.abc import Callable

from semblance import modalities, systems
from semblance.runs.config import TrainConfig
from semblance.systems import Method


def build(config: TrainConfig) -> Method:
    """The method with random weights."""
    make: Callable[..., Method] = systems.get(config.method)  # methods differ in how many networks they take
    return make(*modalities.of(config.method).networks(config), without=config.without, **config.hyper)
