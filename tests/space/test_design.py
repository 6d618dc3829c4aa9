"""What groups of models are confounded with."""

import pandas as pd
import pytest

from nfas_lightning.space.design import design_of


@pytest.mark.parametrize(
    ("groups", "benchmarks", "word", "part"),
    [
        ("vva", "xxy", "confounded", "models of one modality alone"),
        ("vvaa", "xyzz", "confounded", "can't tell a difference between groups from one between benchmarks"),
        ("vva", "xxx", "crossed", "The one benchmark has models of every modality"),
        ("vava", "xxyy", "crossed", "Each of the 2 benchmarks"),
        ("vavv", "xxyy", "partly crossed", "1 of 2 benchmarks .* strata='dataset'"),
        ("valval", "xxyyxx", "partly crossed", "2 of 2 benchmarks"),
    ],
)
def test_design_is_named(groups, benchmarks, word, part):
    found = design_of(pd.Series(list(groups), name="modality"), pd.Series(list(benchmarks)))
    assert found.word == word
    assert pd.Series([found.sentence]).str.contains(part).all()
