"""Source of code: found wherever it is the user's, or refused with the reason."""

import os

import pytest
import torch
from torch import nn

from nfas_lightning.results import NoKeyError, content_key
from tests.helpers.networks import Own, written


def test_a_helper_in_a_module_of_ones_own_counts():
    preprocess = written("helpers = None\ndef made(x):\n    return helpers.scale(x)")

    def key(by):
        text = f"def scale(x):\n    return x * {by}"
        preprocess.__globals__["helpers"] = written(text, "helpers")
        return content_key(preprocess)

    assert key(1) == key(1) != key(2)


class Stated:
    def __init__(self):
        self.state = (i for i in range(3))


def executed():
    space = {"__name__": "of_nobody"}
    exec("def made(x):\n    return x", space)
    return space["made"]


def edited():
    made = written("def made(x):\n    return x")
    os.utime(made.__code__.co_filename)
    return made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (executed, "of_nobody.made has no source"),
        (lambda: [lambda x: x, lambda x: x + 1][0], "several lambdas share the source"),
        (edited, r"of_a_user.py, which defines of_a_user.made, was changed after this process"),
        (Stated, "generator can't be pickled"),
        (lambda: torch.jit.script(Own(2.0, nn.Tanh())), "TorchScript, which has no source"),
    ],
)
def test_what_can_not_be_told_from_other_content_has_no_key(make, message):
    with pytest.raises(NoKeyError, match=message):
        content_key(make())
