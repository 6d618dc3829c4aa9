"""Clocks that contradict one another are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.data.events import check_onsets, check_tr, volume_clock
from nfas_lightning.data.values import to_tensor

RUNS = torch.tensor([1, 1, 1, 2, 2, 2])


def test_multiples_of_tr_restart_with_each_run():
    assert volume_clock(RUNS, 1.5).tolist() == [0, 1.5, 3, 0, 1.5, 3]


@pytest.mark.parametrize(
    "times",
    [
        [0.5, 2.5, 4.5, 0.0, 2.0, 4.0],
        [0, 2.1, 4.2, 0, 1.9, 3.8],  # within a tenth
        [0, 2, 8, 0, 2, 4],  # a gap where volumes were taken out
    ],
)
def test_times_that_agree_are_kept(times):
    given = torch.tensor(times)
    assert torch.equal(volume_clock(RUNS, 2.0, given), given.double())


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (np.arange(6) * 0.8, r"got tr=2 s and volume_times that lie 0\.8 s apart"),
        ([0, 2, 4, 0, 2.5, 5], r"lie 2\.5 s apart"),
        ([4, 2, 0, 0, 2, 4], r"must ascend within a run, got 4 s and then 2 s in row 1"),
        ([0, 2, 2, 0, 2, 4], r"got 2 s and then 2 s in row 2"),
        ([0, 2, np.nan, 0, 2, 4], "volume_times must be finite"),
        ([0, 2, 4], r"volume_times must have shape \(T=6,\)"),
    ],
)
def test_times_that_contradict_tr(times, message):
    with pytest.raises(ValueError, match=message):
        volume_clock(RUNS, 2.0, torch.as_tensor(np.asarray(times)))


def test_a_run_of_one_volume_has_no_spacing():
    assert volume_clock(torch.tensor([0, 1]), 2.0, torch.tensor([7.0, 3.0])).tolist() == [7.0, 3.0]


@pytest.mark.parametrize(
    ("tr", "message"), [(2000.0, "must be seconds, got 2000.*by 1000"), (0.0, "positive"), (np.nan, "nan")]
)
def test_tr(tr, message):
    with pytest.raises(ValueError, match=message):
        check_tr(tr)


def test_onsets_are_compared_with_the_end_of_their_own_run():
    runs = torch.tensor([0] * 10 + [1] * 2)
    times = volume_clock(runs, 2.0)
    onsets = torch.tensor([0.0, 8.0, 0.0, 8.0])
    with pytest.warns(UserWarning, match=r"1 of 4 events begin after the last volume ends \(4 s, 20 s\)"):
        check_onsets(onsets, torch.tensor([0, 0, 1, 1]), times, runs, tr=2.0, n_rois=3)
    check_onsets(onsets, torch.tensor([0, 0, 0, 0]), times, runs, tr=2.0, n_rois=3)


@pytest.mark.parametrize(
    ("onsets", "n_rois", "message"),
    [
        ([0, 5000, 9000], 100, r"onset must be seconds .*2 of 3 events .*\(6 s\), with tr=2 s\. Divide"),
        ([0, 50, 90], 100, r"volumes x ROIs, got 3 volumes and 100 ROIs.* Are the axes exchanged"),
        ([0, 50, 90], 2, "onset must be seconds"),
    ],
)
def test_onsets_on_another_clock(onsets, n_rois, message):
    runs = torch.zeros(3, dtype=torch.long)
    with pytest.raises(ValueError, match=message):
        check_onsets(torch.tensor(onsets) * 1.0, None, volume_clock(runs, 2.0), runs, tr=2.0, n_rois=n_rois)


def test_anything_of_numbers_becomes_a_tensor():
    table = pd.DataFrame({"a": [1.5, 2.0], "b": [True, False]})  # pandas makes objects of them
    assert to_tensor("x", table).tolist() == [[1.5, 1.0], [2.0, 0.0]]
    assert to_tensor("x", pd.Series([1.0, None], dtype="Float64"))[0] == 1.0
    assert to_tensor("x", np.array([1.0, 2.0], dtype=">f8")).tolist() == [1.0, 2.0]
    held = np.zeros(2)
    to_tensor("x", held)[0] = 1
    assert held[0] == 0
    with pytest.raises(ValueError, match="x must hold numbers, got 'n/a' in row 1 of column 'b'"):
        to_tensor("x", table.assign(b=["1", "n/a"]))
    with pytest.raises(ValueError, match=r"x must hold numbers, got <U3 such as '1\.5'"):
        to_tensor("x", [["1.5"], ["2"]])
