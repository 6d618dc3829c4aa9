"""Tables of pandas: rows go by an index that two of them share, else by place."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from nfas_lightning.data import ImageFiles, clean_series
from nfas_lightning.data.pairing import name_list, pick, row_orders
from nfas_lightning.datamodules import ArrayDataModule

# which is said where one of two indices only counts the rows, see the last test
pytestmark = pytest.mark.filterwarnings("ignore:.*goes by its index")

N = 12
TEXTS = [f"sentence {i}" for i in range(N)]
VALUES = pd.DataFrame(np.random.default_rng(0).normal(size=(N, 2)), columns=["V1", "V2"])
ORDER = np.random.default_rng(1).permutation(N)


def responses(stimuli, values, **options):
    module = ArrayDataModule(stimuli, values, **options)
    module.setup()
    return module.stimuli, module.responses


def same(values, expected):
    np.testing.assert_allclose(values.numpy(), np.asarray(expected), rtol=1e-6)


@pytest.mark.parametrize(
    ("indices", "names", "orders"),
    [
        ([None, [2, 0, 1]], [], "no known order"),
        ([[2, 0, 1], None], [], "no known order"),
        ([[0, 1, 2], [2, 0, 1]], [], [None, [1, 2, 0]]),
        ([[2, 0, 1], [0, 1, 2]], [], [None, [2, 0, 1]]),
        ([[2, 0, 1], [2, 0, 1], None], [], [None, None, None]),
        ([[2, 0, 1], [0, 1, 2], None], [], "to show which rows"),
        ([[2, 0, 1], [0, 1, 2], [1, 0, 2]], [], [None, [2, 0, 1], [2, 1, 0]]),
        # a filtered table, and tables below one another
        ([None, [0, 2, 5]], [], [None, None]),
        ([[0, 1, 2], [0, 2, 5]], [], [None, None]),
        ([None, [0, 1, 0, 1]], [], [None, None]),
        ([[1, 2, 3], [0, 2, 5]], [], "must have the labels"),
        ([None, list("bac")], [list("abc")], [None, [1, 0, 2]]),
        ([None, list("bac")], [list("xyz"), list("abc")], [None, [1, 0, 2]]),
        ([None, list("abd")], [list("abc")], "no known order"),
        ([None, list("abc")], [], "no known order"),
        ([None, [3, 5, 9]], [["9", "3", "5"]], [None, [2, 0, 1]]),
        ([None, [0, 1, 2]], [["2", "1", "0"]], [None, None]),  # nobody chose to count from 0
        ([list("abc"), list("abd")], [], "must have the labels"),
        ([list("aab"), list("aab")], [], [None, None]),
        ([None, list("aab")], [], "no known order"),
        ([[0, 0, 1, 1], [0, 0, 1, 1]], [], [None, None]),
    ],
)
def test_orders(indices, names, orders):
    given = {
        what: None if index is None else pd.Index(index)
        for what, index in zip(["stimuli", "responses", "runs"], indices, strict=False)
    }
    if isinstance(orders, str):
        message = {"no known order": "index that is not in order"}.get(orders, orders)
        with pytest.raises(ValueError, match=message):
            row_orders(given, names)
        return
    found = row_orders(given, names)
    assert [None if order is None else order.tolist() for order in found.values()] == orders


def test_an_index_of_several_levels():
    index = pd.MultiIndex.from_product([["a", "b"], [0, 1]])
    assert row_orders({"stimuli": index, "responses": index[::-1]})["responses"].tolist() == [3, 2, 1, 0]
    with pytest.raises(ValueError, match="index that is not in order"):
        row_orders({"stimuli": None, "responses": index}, [list("abcd")])
    times = pd.date_range("2020-01-01", periods=4, freq="2s")
    assert row_orders({"responses": times - times[0], "runs": None})["responses"] is None


def test_a_series_of_stimuli_goes_by_place_as_responses_do():
    """A Series used to be read by label: stimulus 0 was the row labeled 0, wherever it stood."""
    table = VALUES.assign(text=TEXTS).iloc[ORDER]
    stimuli, got = responses(table["text"], table[["V1", "V2"]])
    assert [stimuli[i][1].text for i in range(N)] == table["text"].tolist()
    same(got.values[0], table[["V1", "V2"]])
    ids = [f"s{i}" for i in ORDER]  # a list beside tables of one order goes by place, too
    assert responses(table["text"], table[["V1", "V2"]], stimulus_ids=ids)[1].stimulus_ids == tuple(ids)
    stimuli, got = responses(table["text"].reset_index(drop=True), table[["V1", "V2"]].to_numpy())
    same(got.values[0], table[["V1", "V2"]])
    assert stimuli[0][1].text == table["text"].iloc[0]


def test_tables_in_two_orders_go_by_their_index():
    texts, table = pd.Series(TEXTS), VALUES.iloc[ORDER]
    runs = pd.Series(np.arange(N) // 6, index=VALUES.index).iloc[ORDER[::-1]]
    nuisances = pd.DataFrame({"length": np.arange(N) ** 2.0}).iloc[np.roll(ORDER, 3)]
    _, got = responses(texts, table, runs=runs, nuisances=nuisances)
    same(got.values[0], VALUES)
    assert got.runs.tolist() == (np.arange(N) // 6).tolist()
    same(got.nuisances[:, 0], np.arange(N) ** 2.0)
    with pytest.raises(ValueError, match=r"responses goes by its index, .* and runs has none"):
        responses(texts, table, runs=list(runs))


def test_one_side_alone_that_was_shuffled_is_a_question():
    table, texts = VALUES.iloc[ORDER], pd.Series(TEXTS).iloc[ORDER]
    for stimuli, values in ((TEXTS, table), (texts, VALUES.to_numpy())):
        with pytest.raises(ValueError, match=r"index that is not in order .*reset_index\(drop=True\)"):
            responses(stimuli, values)
    for what in ("runs", "nuisances"):
        given = pd.Series(range(N)) if what == "runs" else pd.DataFrame({"a": np.arange(N) ** 2.0})
        with pytest.raises(ValueError, match=f"{what} has an index that is not in order"):
            responses(TEXTS, VALUES, **{what: given.sample(frac=1, random_state=0)})
    same(responses(TEXTS, table.reset_index(drop=True))[1].values[0], table)


def test_an_index_of_ids_or_of_files_goes_by_name(tmp_path):
    ids = [f"s{i}" for i in range(N)]
    named = VALUES.set_axis(ids, axis=0).iloc[ORDER]
    same(responses(TEXTS, named, stimulus_ids=ids)[1].values[0], VALUES)
    shuffled = pd.Series(ids).iloc[ORDER]  # the ids themselves go by their index
    _, got = responses(pd.Series(TEXTS), named, stimulus_ids=shuffled)
    assert got.stimulus_ids == tuple(ids)
    same(got.values[0], VALUES)
    with pytest.raises(ValueError, match="responses has an index that is not in order"):
        responses(TEXTS, named, stimulus_ids=[f"x{i}" for i in range(N)])
    files = ImageFiles([tmp_path / f"{name}.png" for name in ids], size=8, in_order=True)
    for i, path in enumerate(files.paths):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(path)
    same(responses(files, named)[1].values[0], VALUES)
    same(responses(files, named.rename(index="{}.png".format))[1].values[0], VALUES)


def test_events_go_by_their_index_where_they_name_no_stimulus():
    events = pd.DataFrame({"onset": 3.0 * np.arange(N)})
    values = torch.zeros(25, 1)
    options = {"tr": 2.0, "temporal": "fir", "delays": [0]}
    _, wanted = responses(TEXTS, values, events=events, **options)
    _, got = responses(pd.Series(TEXTS), values, events=events.iloc[ORDER], **options)
    assert torch.equal(got.design[0].to_dense(), wanted.design[0].to_dense())
    with pytest.raises(ValueError, match="events has an index that is not in order"):
        responses(TEXTS, values, events=events.iloc[ORDER], **options)
    named = events.assign(stimulus=range(N)).iloc[ORDER]  # then their order does not matter
    _, got = responses(TEXTS, values, events=named, **options)
    assert torch.equal(got.design[0].to_dense(), wanted.design[0].to_dense())


def test_volumes_go_by_their_index():
    events, volumes = {"onset": 3.0 * np.arange(N)}, pd.DataFrame({"V1": np.arange(25) ** 0.5})
    order = np.random.default_rng(2).permutation(25)
    with pytest.raises(ValueError, match="responses has an index that is not in order"):
        responses(TEXTS, volumes.iloc[order], events=events, tr=2.0)
    runs = pd.Series([0] * 25)
    with pytest.raises(ValueError, match="runs has an index that is not in order"):
        responses(TEXTS, volumes.to_numpy(), events=events, tr=2.0, runs=runs.iloc[order])
    _, got = responses(TEXTS, volumes.iloc[order], events=events, tr=2.0, runs=runs.iloc[order])
    same(got.values[0], volumes.iloc[order])


def test_rois_go_by_the_names_of_columns():
    rois = pd.DataFrame({"roi": ["V2", "V1"], "network": ["late", "early"]})
    _, got = responses(TEXTS, VALUES, rois=rois)
    assert got.rois["roi"].tolist() == ["V1", "V2"]
    assert got.rois["network"].tolist() == ["early", "late"]
    assert responses(TEXTS, VALUES, rois=["V2", "V1"])[1].rois["roi"].tolist() == ["V1", "V2"]
    assert responses(TEXTS, VALUES.to_numpy(), rois=["V2", "V1"])[1].rois["roi"].tolist() == ["V2", "V1"]
    numbered = VALUES.set_axis([0, 1], axis=1)  # pandas' own numbers are no names
    assert responses(TEXTS, numbered, rois=rois)[1].rois["roi"].tolist() == ["V2", "V1"]
    with pytest.raises(ValueError, match=r"rois must name the ROIs as the columns .*got \['V2', 'V4'\]"):
        responses(TEXTS, VALUES, rois=["V2", "V4"])
    with pytest.raises(ValueError, match="rois has an index that is not in order"):
        responses(TEXTS, VALUES.to_numpy(), rois=rois.iloc[::-1])
    ceiling = pd.Series({"V2": 0.2, "V1": 0.1})
    same(responses(TEXTS, VALUES, noise_ceiling=ceiling)[1].noise_ceiling, [0.1, 0.2])
    same(responses(TEXTS, VALUES, rois=["V2", "V1"], noise_ceiling=ceiling)[1].noise_ceiling, [0.1, 0.2])
    same(responses(TEXTS, VALUES, rois=["V1", "V2"], noise_ceiling=[0.1, 0.2])[1].noise_ceiling, [0.1, 0.2])
    with pytest.raises(ValueError, match="noise_ceiling has an index"):
        responses(TEXTS, VALUES, noise_ceiling=ceiling.rename({"V1": "A1"}))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_name_that_is_missing_is_none(missing):
    with pytest.raises(ValueError, match="each ROI with text"):
        responses(TEXTS, VALUES.to_numpy(), rois=["V1", missing])
    with pytest.raises(ValueError, match="name of its ROI"):
        responses(TEXTS, VALUES.set_axis(["V1", missing], axis=1))
    with pytest.raises(ValueError, match=r"stimulus_ids must name each, got none at \[1\]"):
        responses(TEXTS, VALUES, stimulus_ids=["a", missing, *TEXTS[2:]])


def test_a_table_per_subject():
    """A list of tables used to be stacked by place, columns in whatever order."""
    other = (VALUES + 1)[["V2", "V1"]].iloc[ORDER]
    _, got = responses(TEXTS, [VALUES, other])
    assert got.rois["roi"].tolist() == ["V1", "V2"]
    same(got.values, np.stack([VALUES, VALUES + 1]))
    _, got = responses(pd.Series(TEXTS).iloc[ORDER], [VALUES, other])
    same(got.values, np.stack([VALUES, VALUES + 1])[:, ORDER])
    with pytest.raises(ValueError, match=r"rows and the columns of the first, got .* in responses\[1\]"):
        responses(TEXTS, [VALUES, VALUES.rename(columns={"V1": "A1"})])


@pytest.mark.parametrize("stimuli", [pd.DataFrame({"text": TEXTS}), dict(enumerate(TEXTS))])
def test_stimuli_are_one_sequence(stimuli):
    with pytest.raises(TypeError, match="stimuli must be one sequence"):
        responses(stimuli, VALUES)


def test_confounds_go_by_the_index_of_their_series():
    generator = np.random.default_rng(0)
    series = pd.DataFrame(generator.normal(size=(40, 2)))
    confounds = pd.DataFrame(generator.normal(size=(40, 3)))
    order = generator.permutation(40)
    wanted = clean_series(series, tr=2.0, confounds=confounds)
    torch.testing.assert_close(clean_series(series, tr=2.0, confounds=confounds.iloc[order]), wanted)
    with pytest.raises(ValueError, match="confounds has an index that is not in order"):
        clean_series(series.to_numpy(), tr=2.0, confounds=confounds.iloc[order])


def test_a_new_tables_index_that_reorders_is_said():
    """Rows in the order of presentation get an index of 0, 1, 2, ... from pandas too."""
    shuffled, fresh = pd.Index([2, 0, 1]), pd.RangeIndex(3)
    with pytest.warns(UserWarning, match=r"responses goes by its index.*reset_index\(drop=True\)"):
        assert row_orders({"stimuli": shuffled, "responses": fresh})["responses"].tolist() == [2, 0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row_orders({"stimuli": pd.Index(["b", "a"]), "responses": pd.Index(["a", "b"])})
        row_orders({"stimuli": shuffled, "responses": shuffled[::-1]})


def test_pick():
    assert pick("subjects", None, ["a", "b"]) == [0, 1]
    assert pick("subjects", ["b", "a"], ["a", "b"]) == [1, 0]
    with pytest.raises(ValueError, match="did you mean s18"):
        pick("subjects", ["s81"], ["s18", "x"])
    with pytest.raises(ValueError, match="each once"):
        pick("subjects", ["a", "a"], ["a", "b"])
    with pytest.raises(ValueError, match="at least one"):
        pick("subjects", [], ["a"])
    with pytest.raises(TypeError, match=r"write \['a'\]"):
        pick("subjects", "a", ["a"])


def test_names_are_compared_as_they_are_spelled():
    assert name_list("subjects", ["a", "B"], str.upper) == ["A", "B"]
    with pytest.raises(ValueError, match=r"each once, got \['a', 'A'\]"):
        name_list("subjects", ["a", "A"], str.upper)
