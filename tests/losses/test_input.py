"""What losses say of input that does not fit."""

import pytest
import torch
from loss_inputs import normal

from semblance import losses
from semblance.errors import UserError

Z, W = normal(4, 3), normal(4, 5)
PAIRS = {
    "nt_xent": (0.1,), "batch_nce": (0.1,), "byol_regression": (), "negative_cosine": (), "cross_correlation": (),
    "barlow_twins": (0.1,), "vicreg": (25.0, 25.0, 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_two_views_are_of_one_shape_and_floats(name: str) -> None:
    loss, settings = getattr(losses, name), PAIRS[name]
    assert loss(Z, Z.flip(0), *settings).isfinite().all()
    with pytest.raises(UserError, match=r"need one shape \(N, D\): they are \(4, 5\) and \(4, 3\)"):
        loss(Z, W, *settings)
    with pytest.raises(UserError, match=r"give \w+.float\(\)"):
        loss(Z.long(), Z, *settings)
    with pytest.raises(UserError, match="need one number type: they are torch.float32 and torch.float64"):
        loss(Z, Z.float(), *settings)
    for wrong in (Z[0], Z[None], Z[:0], Z[:, :0]):
        with pytest.raises(UserError, match=r"a tensor \(N, D\)"):
            loss(wrong, wrong, *settings)
    with pytest.raises(UserError, match="is wanted, not list"):
        loss(Z.tolist(), Z, *settings)


@pytest.mark.parametrize("name", ["cross_correlation", "barlow_twins", "vicreg"])
def test_statistics_want_two_samples(name: str) -> None:
    with pytest.raises(UserError, match="with N >= 2 is wanted"):
        getattr(losses, name)(Z[:1], Z[:1], *PAIRS[name])


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda: losses.nt_xent(Z, Z, 0.0), "temperature: a number above 0"),
        (lambda: losses.batch_nce(Z, Z, float("nan")), "temperature: a number above 0"),
        (lambda: losses.info_nce(Z, Z, W, 0.1), r"negatives \(4, 5\) does not fit query \(4, 3\)"),
        (lambda: losses.info_nce(Z, Z, Z.float(), 0.1), "negatives and query need one number type"),
        (lambda: losses.sigreg(Z, normal(3, 2).float()), "directions and z need one number type"),
        (lambda: losses.info_nce(Z, Z, Z[:0], 0.1), r"negatives: a tensor \(K, D\)"),
        (lambda: losses.info_nce(Z, Z, Z, -1), "temperature"),
        (lambda: losses.nce(Z, W[:2], 0.0), r"negative \(2, 5\) does not fit positive \(4, 3\)"),
        (lambda: losses.sinkhorn(Z, 0.0, 3), "epsilon: a number above 0"),
        (lambda: losses.sinkhorn(Z, 0.1, -1), "iterations: a whole number of at least 0"),
        (lambda: losses.swapped_prediction([Z, Z], [], 0.1), "0 codes of 2 scores"),
        (lambda: losses.swapped_prediction([Z], [Z], 0.1), "1 codes of 1 scores"),
        (lambda: losses.swapped_prediction([Z, Z], [W], 0.1), r"codes\[0\] and scores\[0\] need one shape"),
        (lambda: losses.barlow_twins(Z, Z, -1.0), "lambda_: a number of at least 0"),
        (lambda: losses.vicreg(Z, Z, 1.0, -1.0, 1.0), "variance: a number of at least 0"),
        (lambda: losses.sigreg(Z, W), r"directions \(4, 5\) does not fit z \(4, 3\)"),
        (lambda: losses.sigreg(Z, normal(3, 2), knots=17.5), "knots: a whole number of at least 2"),
        (lambda: losses.nt_xent(Z, Z, "0.2"), "temperature: a number above 0 is wanted, not 0.2"),
        (lambda: losses.sigreg(Z, normal(3, 2), knots=1), "knots: a whole number of at least 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(call, told: str) -> None:
    with pytest.raises(UserError, match=told):
        call()


def test_what_is_not_finite_stays_so() -> None:
    assert losses.nt_xent(Z.masked_fill(Z > 1, torch.nan), Z, 0.1).isnan()


def test_a_temperature_may_be_learnt() -> None:
    temperature = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    losses.nt_xent(Z, Z.flip(0), temperature).backward()
    assert temperature.grad != 0
