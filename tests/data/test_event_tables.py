"""Which event showed which stimulus: by file name, id or place, never by the order of presentation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfas_lightning.data.event_tables import events_table, pair_events

FILES = [f"/data/stimuli/img{i}.png" for i in (1, 2, 10)]
STEMS = ["img1", "img2", "img10"]
ONSETS = [0.0, 5.0, 10.0]


def pair(column, labels, **known):
    table = pd.DataFrame({"onset": np.arange(len(labels)) * 1.0, column: labels})
    _, places = pair_events(events_table(table), 3, **known)
    return places.tolist()


@pytest.mark.parametrize("spell", ["img{}.png", "img{}", "images/img{}.png", "a/b/img{}", r"a\img{}.png"])
@pytest.mark.parametrize("known", [{"paths": FILES}, {"ids": STEMS}, {"paths": FILES, "ids": list("abc")}])
@pytest.mark.parametrize("column", ["stim_file", "stimulus"])
def test_files_are_found_with_or_without_folders_and_suffix(spell, known, column):
    assert pair(column, [spell.format(i) for i in (10, 1, 2)], **known) == [2, 0, 1]


@settings(deadline=None, derandomize=True)
@given(st.permutations(range(8)))
def test_any_order_is_undone(order):
    names = [f"s{i}.wav" for i in range(8)]
    events = pd.DataFrame({"onset": range(8), "stim_file": [names[i] for i in order]})
    assert pair_events(events, 8, ids=names)[1].tolist() == list(order)


def test_ids_and_places():
    assert pair("stimulus", ["c", "a", "b"], ids=list("abc")) == [2, 0, 1]
    assert pair("stimulus", [7, 9, 8], ids=["7", "8", "9"]) == [0, 2, 1]
    assert pair("stimulus", [2, 0, 1]) == [2, 0, 1]
    assert pair("stimulus", ["2", "0", "1"]) == [2, 0, 1]
    assert pair("stimulus", [2, 0, 1], paths=FILES) == [2, 0, 1]
    # the first column counts, but for files that nothing could be compared with
    both = pd.DataFrame({"onset": ONSETS, "stim_file": ["c", "a", "b"], "stimulus": [0, 1, 2]})
    assert pair_events(both, 3, ids=list("abc"))[1].tolist() == [2, 0, 1]
    assert pair_events(both, 3)[1].tolist() == [0, 1, 2]


def test_folders_count_where_names_need_them():
    paths = ["/x/faces/1.png", "/x/houses/1.png", "/x/houses/2.png"]
    shown = ["houses/2.png", "houses/1.png", "stimuli/faces/1.png"]
    assert pair("stim_file", shown, paths=paths) == [2, 1, 0]
    with pytest.raises(ValueError, match=r"1 names that are no stimulus's: \['1\.png'\]"):
        pair("stim_file", ["1.png", "houses/1.png", "houses/2.png"], paths=paths)
    with pytest.raises(ValueError, match=r"no stimulus's: \['d/a'\]"):
        pair("stim_file", ["d/a", "c/b", "c/c"], ids=["c/a", "c/b", "c/c"])
    with pytest.raises(ValueError, match=r"one way, got 'faces/img1\.png' and 'houses/img1\.png' for 'img1"):
        pair("stim_file", ["faces/img1.png", "houses/img1.png", "img2"], paths=FILES)


def test_decimals_are_no_suffix():
    with pytest.raises(ValueError, match=r"no stimulus's: \['3\.7'\]"):
        pair("stimulus", ["3.7", "4.5", "5.5"], ids=["3.5", "4.5", "5.5"])


def test_a_file_is_listed_once():
    twice = [FILES[0], FILES[1], FILES[0]]
    with pytest.raises(ValueError, match=r"got more than once: \['/data/stimuli/img1\.png'\]"):
        pair("stim_file", ["img1.png", "img1.png", "img2.png"], paths=twice)


def test_repeats_and_stimuli_that_were_never_shown_are_said():
    with (
        pytest.warns(UserWarning, match=r"2 of 3 stimuli are in no event.*\['img1\.png', 'img10\.png'\]"),
        pytest.warns(UserWarning, match=r"1 of 3 stimuli are shown more than once: \['img2\.png'\]"),
    ):
        assert pair("stim_file", ["img2.png", "img2.png"], paths=FILES) == [1, 1]


@pytest.mark.parametrize("nothing", [None, np.nan, "n/a", " "])
def test_events_without_a_stimulus_are_left_out(nothing):
    table = events_table({"onset": ONSETS, "stim_file": ["img2", nothing, "img1"]})
    with (
        pytest.warns(UserWarning, match="1 of 3 events name no stimulus in column 'stim_file', .* in row 2"),
        pytest.warns(UserWarning, match=r"in no event.*\['img10'\]"),
    ):
        events, places = pair_events(table, 3, ids=STEMS)
    assert events["onset"].tolist() == [0.0, 10.0]
    assert places.tolist() == [1, 0]
    with pytest.raises(ValueError, match="must name stimuli, got none in 3 rows"):
        pair("stim_file", [nothing] * 3, ids=STEMS)


@pytest.mark.parametrize(
    ("column", "labels", "known", "message"),
    [
        ("stim_file", ["img1", "x", "y"], {"ids": STEMS}, r"2 names .* \['x', 'y'\]\. Stimuli are \['img1'"),
        ("stim_file", list("abc"), {}, "Give stimulus_ids"),
        ("stimulus", ["face", "house", "face"], {}, r"from 0 to 2, got \['face', 'house', 'face'\]"),
        ("stimulus", [1, 2, 3], {}, r"from 0 to 2, got \['3'\]"),
        ("stimulus", [-1, 0, 1], {}, r"got \['-1'\]"),
        ("stimulus", [0.5, 1, 2], {}, r"got \['0\.5'\]"),
        ("stimulus", [0, 1, 2], {"ids": STEMS}, r"no stimulus's: \['0', '1', '2'\]"),
    ],
)
def test_names_that_are_no_stimulus(column, labels, known, message):
    with pytest.raises(ValueError, match=message):
        pair(column, labels, **known)


def test_without_names_rows_are_stimuli():
    assert pair_events(pd.DataFrame({"onset": ONSETS}), 3)[1].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"one row per stimulus \(4\), or a column 'stimulus'.* and 3 rows"):
        pair_events(pd.DataFrame({"onset": ONSETS}), 4)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_path_is_read(tmp_path, suffix):
    path = tmp_path / f"events{suffix}"
    table = pd.DataFrame({"onset": [1, 2], "stim_file": ["007", "n/a"]})
    table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    for form in (path, str(path)):
        read = events_table(form)
        assert read["onset"].tolist() == [1.0, 2.0]
        assert read["stim_file"].iloc[0] == "007"
    with pytest.raises(FileNotFoundError):
        events_table(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([pd.DataFrame({"onset": [0.0]})] * 3, "one table, shared by all subjects.* got a list of 3"),
        ({"sub-01": pd.DataFrame({"onset": [0.0]})}, "got a dict of 1.* estimate betas"),
        ({"sub-01": {"onset": [0.0]}}, "got a dict of 1"),
        (7, "got a int"),
        ({"onset": [0.0], "duration": [1.0, 2.0]}, "columns of one length"),
        ({"start": [0.0]}, r"events must have the columns \['onset'\].*got \['start'\]\.$"),
        ({"onset": ["1", "n/a"]}, "'onset' must hold finite numbers, got 'n/a' in row 2"),
        ({"onset": [0.0, np.nan]}, "'onset' must hold finite numbers, got nothing in row 2"),
        ({"onset": [0.0], "duration": ["long"]}, "'duration' must hold finite numbers, got 'long'"),
        ({"onset": [0.0], "duration": [-1.0]}, "got a duration of -1 s in row 1"),
    ],
)
def test_what_is_no_table_of_events(given, message):
    with pytest.raises(ValueError, match=message):
        events_table(given)
