"""Preprocessing that an entry describes."""

import pytest

from nfas_lightning.models.zoo.architecture import build_preprocess


def test_unknown_kinds_and_arguments_of_preprocessing_are_refused():
    with pytest.raises(ValueError, match="kind must be one of image, clip, text"):
        build_preprocess({"kind": "smell"}, lambda: None)
    with pytest.raises(TypeError, match="sizes"):
        build_preprocess(
            {"kind": "image", "size": 8, "sizes": 8, "mean": [0] * 3, "std": [1] * 3}, lambda: None
        )
