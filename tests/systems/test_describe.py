"""What `semblance methods` says of each method."""

import pytest

from semblance import systems
from semblance.systems.describe import about, state


@pytest.mark.parametrize("name", systems.names())
def test_every_method_explains_itself(name):
    told = about(name)
    assert told["guards"] and told["equation"] and told["paper"] and told["views"]
    assert 2 <= len(told["picture"].splitlines()) <= 4
    assert max(map(len, told["picture"].splitlines())) <= 80  # of a terminal
    assert list(told["recipes"]) == ["imagenet", "small", "quick"]


def test_state_is_what_is_kept_between_steps():
    kept = {name: state(systems.get(name)) for name in systems.names()}
    assert kept["simclr"] == {} == kept["barlow-twins"]
    assert kept["npid"] == {"log_partition": "one number", "bank.rows": "N x 128"}
    assert kept["moco"] == {"queue": "65,536 x 128", "target": "a moving average of the trained parts"}
    assert kept["sela"] == {"labels": "10 x N"}
