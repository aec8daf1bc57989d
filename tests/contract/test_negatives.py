"""Positives are never negatives: a sample like nothing but its positives has the loss of all others at 0."""

from math import exp, log, log1p

import pytest
import torch
from tiny import PICTURES, tiny_config, tiny_method

from semblance import systems
from semblance.systems import Clock
from semblance.systems.contrastive.avid import AVID

N, DIM = 8, 16
INDEX = torch.arange(N)


def softmax(temperature: float, negatives: int) -> float:
    """Cross-entropy of a positive of cosine 1 among negatives of cosine 0."""
    return log(exp(1 / temperature) + negatives) - 1 / temperature


def nce(temperature: float, negatives: int) -> float:
    """The same by noise-contrastive estimation with a partition constant of 1."""
    return log1p(negatives * exp(-1 / temperature)) + negatives * log1p(1 / negatives)


EXPECTED = {
    "simclr": lambda m: 2 * softmax(m.temperature, 2 * N - 2),
    "moco": lambda m: (1 + m.symmetric) * softmax(m.temperature, len(m.queue)),
    "moco-v3": lambda m: 4 * m.temperature * softmax(m.temperature, N - 1),
    "npid": lambda m: nce(m.temperature, m.negatives),
    "pirl": lambda m: nce(m.temperature, m.negatives),
    "avid": lambda m: nce(m.temperature, m.negatives),
    "avid-cma": lambda m: (nce(m.temperature, m.negatives) + nce(m.temperature, m.within_negatives)) / 2,
}


SWITCHED = {
    "npid": {"negatives": 16},
    "pirl": {"negatives": 16, "nce": True},
    "avid": {"negatives": 16},
    "avid-cma": {"negatives": 16, "positives": 5},
}


@pytest.mark.parametrize("method", [m for m in systems.names() if "negatives" in systems.get(m).guards])
def test_positives_are_never_negatives(method: str) -> None:
    """At several epochs, whose draws of 16 out of 50 would hit the sample itself again and again."""
    if method not in EXPECTED:
        pytest.skip(f"EXPECTED does not say what {method} costs then")
    own = tiny_config(method).hyper
    hyper = {name: value for name, value in own.items() if name != "negatives"} | SWITCHED.get(method, {})
    config = tiny_config(method, precision="64", hyper=hyper)
    model = tiny_method(config)
    basis = torch.eye(DIM, dtype=torch.float64)
    rows = basis[-1].repeat(PICTURES, 1)
    rows[:N] = basis[:N]
    if method == "avid-cma":  # five clips more like each
        mined = torch.arange(N, 6 * N).view(5, N).T
        rows[mined] = basis[:N, None]
        model.positive_set[:N] = mined
    banks = [model.video_bank, model.audio_bank] if isinstance(model, AVID) else [getattr(model, "bank", None)]
    for bank in filter(None, banks):
        bank.rows.copy_(rows)
        model.log_partition.fill_(0.0)
    if method == "moco":
        model.queue.copy_(rows[N])
    names = {"simclr": "z1 z2", "moco": "q0 q1 k0 k1", "moco-v3": "q1 q2 k1 k2", "npid": "z", "pirl": "z patches"}
    z = {name: basis[:N] for name in names.get(method, "video audio").split()}
    for epoch in range(5):
        loss, _ = model.objective(z, INDEX, Clock(3 * epoch, 100, 3))
        assert loss.item() == pytest.approx(EXPECTED[method](model), rel=1e-9)
