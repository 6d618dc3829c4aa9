from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.data import TextStimulus
from nfas_lightning.datamodules import ArrayDataModule

TEXTS = [f"sentence number {i}" for i in range(6)]


def ready(*args, **kwargs) -> ArrayDataModule:
    datamodule = ArrayDataModule(*args, **kwargs)
    datamodule.setup()
    return datamodule


def test_one_response_a_stimulus():
    values = torch.randn(6, 4)
    responses = ready(TEXTS, values, rois=list("abcd"), dataset="mine").responses
    torch.testing.assert_close(responses.values, values[None])
    assert responses.modality == "language"
    assert responses.rois["roi"].tolist() == list("abcd")
    assert responses.design == ()
    assert responses.gap == 0
    assert not responses.simulated
    assert responses.nuisances is None  # no events, no event rate
    features = torch.randn(6, 2)
    assert responses.carry(features) is features
    torch.testing.assert_close(responses.to_volumes(features), features - features.mean(0))


def test_single_words_stand_in_a_carrier_phrase():
    words = ["cat", "dog", "the sun"]
    data = ready(words, torch.randn(3, 4), carrier="The word is {}")
    assert [data.stimuli[i][1] for i in range(3)] == [
        TextStimulus(f"The word is {word}", (12, 12 + len(word))) for word in words
    ]
    assert data.responses.hashes != ready(words, torch.randn(3, 4)).responses.hashes
    with pytest.raises(ValueError, match="carrier is a phrase around texts, and the stimuli are vision"):
        ready(torch.rand(3, 3, 4, 4), torch.randn(3, 4), carrier="The word is {}")


def test_what_the_user_holds_is_copied():
    values = torch.zeros(6, 2)
    responses = ready(TEXTS, values).responses
    values += 1
    assert (responses.values == 0).all()


def test_numpy_and_subjects():
    values = np.random.default_rng(0).standard_normal((3, 6, 2))
    responses = ready(TEXTS, values, subject_names=["p", "q", "r"], subjects=["r", "p"]).responses
    assert responses.subjects == ("r", "p")
    np.testing.assert_array_equal(responses.values.numpy(), values[[2, 0]])


@pytest.mark.parametrize("stimuli", [torch.rand(6, 3, 8, 8), [torch.rand(3, 8, 8) for _ in range(6)]])
def test_images_as_tensor_or_list(stimuli):
    batch = next(iter(ready(stimuli, torch.zeros(6, 1), batch_size=6).test_dataloader()))
    assert batch["image"].shape == (6, 3, 8, 8)


def test_nuisances_keep_their_names():
    table = pd.DataFrame({"luminance": np.arange(6.0), "motion": np.ones(6)})
    assert ready(TEXTS, torch.zeros(6, 1), nuisances=table).responses.nuisance_names == (
        "luminance",
        "motion",
    )
    named = ready(TEXTS, torch.zeros(6, 1), nuisances=torch.zeros(6, 1)).responses
    assert named.nuisance_names == ("nuisance_0",)


def test_missing_values_are_kept_with_a_warning():
    values = torch.randn(6, 3)
    values[2, 0] = torch.nan
    values[:, 1] = torch.nan
    with pytest.warns(UserWarning, match=r"7 NaN of 18 values, and 1 of 3 ROIs have no value at all"):
        responses = ready(TEXTS, values).responses
    assert responses.values.isnan().sum() == 7


@pytest.mark.parametrize("stimuli", [(text for text in TEXTS), "images"])
def test_stimuli_must_be_a_list(stimuli):
    with pytest.raises(TypeError, match="Turn an iterable into a list"):
        ready(stimuli, torch.zeros(6, 2))


def test_a_tables_columns_name_the_rois():
    responses = ready(TEXTS, pd.DataFrame({"V1": [0.0] * 6, "IT": [1.0] * 6})).responses
    assert list(responses.rois["roi"]) == ["V1", "IT"]


@pytest.mark.parametrize("rois", [[17, 4], np.array([17, 4]), pd.DataFrame({"roi": [17, 4]})])
def test_parcels_numbers_are_names(rois):
    assert list(ready(TEXTS, torch.zeros(6, 2), rois=rois).responses.rois["roi"]) == ["17", "4"]


def test_an_expanded_tensor_has_a_hash():
    one = torch.rand(1, 3, 4, 4)
    hashes = []
    for images in (one.expand(6, 3, 4, 4), one.repeat(6, 1, 1, 1)):
        with pytest.warns(UserWarning, match="6 of 6 stimuli are identical"):
            hashes.append(ready(images, torch.zeros(6, 1)).responses.hashes)
    assert hashes[0] == hashes[1]


def test_hash_follows_the_stimuli():
    one = ready(TEXTS, torch.zeros(6, 1)).responses
    two = ready(TEXTS[::-1], torch.zeros(6, 1)).responses
    assert one.hashes["stimuli"] != two.hashes["stimuli"]
