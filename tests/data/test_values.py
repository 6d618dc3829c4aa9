"""Responses as people hold them: masks count, stand-ins for missing values and row numbers are found."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.values import to_tensor
from nfas_lightning.datamodules import ArrayDataModule

N = 60
TEXTS = [f"sentence {i}" for i in range(N)]


def values(seed=0, n_rois=3):
    return np.random.default_rng(seed).normal(size=(N, n_rois))


def responses(given, **options):
    module = ArrayDataModule(TEXTS, given, **options)
    module.setup()
    return module.responses


def masked(seed=0):
    given = np.ma.masked_array(values(seed), mask=False)
    given[:4, 0] = np.ma.masked
    given.data[:4, 0] = -999.0
    return given


def test_what_is_masked_is_missing():
    got = responses(masked()).values
    assert bool(got[0, :4, 0].isnan().all())
    assert int(got.isnan().sum()) == 4
    both = to_tensor("x", [masked(0), masked(1)])
    assert both.isnan().sum(dim=(1, 2)).tolist() == [4, 4]
    whole = np.ma.masked_array(np.arange(6), mask=[0, 0, 1, 0, 0, 0])
    assert to_tensor("x", whole).isnan().tolist() == [False, False, True, False, False, False]
    assert to_tensor("x", np.ma.masked_array(np.arange(6))).dtype == torch.int64
    nothing = masked()
    nothing[:, 1] = np.ma.masked
    with pytest.warns(UserWarning, match="1 of 3 ROIs have no value at all"):
        responses(nothing)


def test_a_masked_stimulus_is_no_stimulus():
    image = np.ma.masked_array(np.zeros((3, 4, 4), np.float32), mask=False)
    assert StimulusSet([image, image], "vision")[0][1].shape == (3, 4, 4)
    image[0, 0, 0] = np.ma.masked
    with pytest.raises(ValueError, match="Stimulus 1 must be whole, got a masked array"):
        StimulusSet([image.data, image], "vision")[1]


@pytest.mark.parametrize("stand_in", [-9999.0, -999.0, 999.0, -1e30, 3e4])
def test_a_stand_in_for_missing_values_is_said(stand_in):
    given = values()
    given[::7, 1] = stand_in
    table = pd.DataFrame(given, columns=["V1", "V2", "V4"])
    with pytest.warns(
        UserWarning, match=rf"hold {re.escape(f'{stand_in:g}')} 9 times in 1 of 3 ROIs \('V2'\).*write NaN"
    ):
        responses(table)


def test_a_stand_in_is_found_whatever_the_scale_and_beside_missing_values():
    given = 10_000 + 100 * values()
    given[3:6, 2] = 0.0  # outside the brain
    with pytest.warns(UserWarning, match=r"hold 0 3 times in 1 of 3 ROIs \('column 2'\)"):
        responses(given)
    once = values()
    once[5, 0], once[6, 0] = -999, np.nan
    with pytest.warns(UserWarning, match="hold -999 1 times"), pytest.warns(UserWarning, match="1 NaN"):
        responses(once)


def test_what_is_no_stand_in_is_left_alone():
    given = values()
    given[:5, 0] = given[:, 0].max() + 1  # high, often, and not far
    given[0, 1] = 500.0  # far, but once: an outlier
    given[:, 2] = np.arange(N) % 2  # a response that has two values
    responses(given)


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("Unnamed: 0", values()[:, 0], "pandas' name for a column without one"),
        ("Unnamed: 0", np.arange(60.0), "'Unnamed: 0'"),
        ("number", np.arange(1.0, 61), "holds row numbers, from 1 on"),
        ("Subject", np.repeat([3.0, 1.0], 30), "whole numbers under the name"),
        (
            "image_id",
            np.random.default_rng(0).permutation(60) * 1.0,
            "whole numbers under the name",
        ),
    ],
)
@pytest.mark.parametrize("place", [0, 3])
def test_a_column_that_labels_rows_is_no_region(name, column, message, place):
    table = pd.DataFrame(values(), columns=["V1", "V2", "V4"])
    table.insert(place, name, column)
    with pytest.raises(ValueError, match=f"column {place} .*{message}"):
        responses(table)
    if "row" in message:
        with pytest.raises(ValueError, match=f"column {place} .*row numbers"):
            responses(table.to_numpy())


def test_nuisances_may_count_and_label_but_need_names():
    trend = pd.DataFrame({"trend": np.arange(60.0), "run": np.repeat([0.0, 1.0], 30)})
    assert responses(values(), nuisances=trend).nuisance_names == ("trend", "run")
    with pytest.raises(ValueError, match=r"nuisances .*Unnamed: 0"):
        responses(values(), nuisances=trend.rename(columns={"trend": "Unnamed: 0"}))
