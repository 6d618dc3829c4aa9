"""Finished runs, joined into one space."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from nfas_lightning.results import RunResults
from nfas_lightning.space import NFAS
from tests.helpers.results import ZOO
from tests.helpers.space import scores_table


def test_columns_of_ones_own():
    empty = pd.DataFrame()
    table = scores_table()
    cards = table[["model", "modality", "dataset"]].drop_duplicates()
    run = RunResults(table, empty, empty, cards, pd.DataFrame({"roi": table["roi"].unique()}))
    own = pd.DataFrame({"model": ["m5", "m2", "m0", "m1", "m3"], "lab": list("ABABA")})
    space = NFAS.from_runs(run, table=own)
    assert space.models["lab"].fillna("").tolist() == ["A", "B", "B", "A", "", "A"]
    assert list(cards) == ["model", "modality", "dataset"]  # the caller's run is left as it was
    with pytest.raises(ValueError, match=r"group_by='lab' must say of every model.*1 of 6, such as \['m4'\]"):
        space.regroup("lab")
    known = space.select("lab.notna()")
    assert known.regroup("lab").groups == ("A", "B")
    # which is what an assignment does
    known.models["again"] = list("ABBAA")
    assert known.regroup("again").permanova(n_permutations=9) == known.regroup("lab").permanova(
        n_permutations=9
    )
    with pytest.raises(ValueError, match="table must have a column 'model'"):
        NFAS.from_runs(run, table=own.rename(columns={"model": "name"}))
    with pytest.raises(ValueError, match=r"no run has \['m9'\], while \['m1', 'm4'\] have no row"):
        NFAS.from_runs(run, table=own.replace({"model": {"m1": "m9"}}))


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("family == 'whisper'", {"whisper_base", "whisper_small", "whisper_tiny"}),
        (
            "size == 'large' and modality == 'language'",
            {"bloom_560m", "deberta_v3_base", "qwen2_5_0_5b", "tinyllama_1_1b"},
        ),
        ("parameters < 9e6", {"densenet121", "efficientnet_b0", "whisper_tiny"}),
    ],
)
def test_a_filter_keeps_what_it_says(results, space, where, kept):
    chosen = NFAS.from_runs([results], where=where)
    assert set(chosen.models["model"]) == kept
    rows = space.models["model"].isin(kept).to_numpy().nonzero()[0]
    torch.testing.assert_close(chosen.scores, space.scores[rows])
    part = results.select(where)
    assert set(part.scores["model"]) == set(part.spectra["model"]) == set(part.depth["model"]) == kept


def test_a_filter_that_can_not_be_read_is_named(results):
    with pytest.raises(ValueError, match=r"where must be a query of the models, got.*Columns of a model: \["):
        results.select("color == 'red'")
    with pytest.raises(ValueError, match="where must be a query of the models, got 'family =='"):
        results.select("family ==")
    with pytest.raises(ValueError, match="keeps none of 45 models"):
        results.select("family == 'perceptron'")


def test_runs_of_one_axis_are_joined(results, space):
    runs = [results.select(f"modality == '{name}'") for name in ZOO]
    joined = NFAS.from_runs(runs)
    order = [joined.models["model"].tolist().index(name) for name in space.models["model"]]
    columns = [joined.rois["roi"].tolist().index(name) for name in space.rois["roi"]]
    torch.testing.assert_close(joined.scores[order][:, columns], space.scores)


def on_axis(results, modality, name, rename):
    """The run of one modality under a name of its own, its ROIs renamed."""
    part = results.select(f"modality == '{modality}'")
    renamed = {
        t: getattr(part, t).assign(roi=getattr(part, t)["roi"].map(rename)) for t in ("scores", "rois")
    }
    return replace(part, **renamed, meta={"name": name})


def test_mixed_axes_are_refused_and_both_named(results):
    audio = on_axis(results, "audio", "runs/sounds", str)
    other = on_axis(results, "language", "runs/story", "own_{}".format)
    message = (
        r"got 2 that share 0 ROIs: 60 ROIs \(seitzman.*runs/sounds; 60 ROIs \(own_.*runs/story.*nfas space"
    )
    with pytest.raises(ValueError, match=message) as refused:
        NFAS.from_runs([audio, other])
    assert "intersection" not in str(refused.value)  # nothing is shared: it would not help
    with pytest.raises(ValueError, match=message):
        NFAS.from_runs([audio, other], axis="intersection")
    # a filter that leaves one axis leaves nothing to refuse
    assert len(NFAS.from_runs([audio, other], where="modality == 'audio'")) == 15


def test_what_mixed_axes_share_can_be_asked_for(results):
    some = set(results.rois["roi"][:12])
    audio = on_axis(results, "audio", "runs/sounds", str)
    half = on_axis(results, "language", "runs/story", lambda roi: roi if roi in some else f"own_{roi}")
    with pytest.raises(ValueError, match="keeps the 12 ROIs that all share"):
        NFAS.from_runs([audio, half])
    assert set(NFAS.from_runs([audio, half], axis="intersection").rois["roi"]) == some
