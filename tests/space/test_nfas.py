"""The space of models: its groups, measures, tables and figures."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from skbio import DistanceMatrix
from skbio.stats.distance import permanova as skbio_permanova
from sklearn.metrics import silhouette_score

from nfas_lightning.functional.anova import anova
from nfas_lightning.functional.embedding import mds, pca
from nfas_lightning.functional.permanova import permanova
from nfas_lightning.functional.snci import snci, snci_bootstrap, snci_permutation
from nfas_lightning.plotting.style import SIMULATED
from nfas_lightning.results import RunResults
from nfas_lightning.space import NFAS
from tests.helpers.results import ZOO
from tests.helpers.space import scores_table, wide


def test_rois_of_a_run_describe_the_columns():
    table = scores_table()
    rois = pd.DataFrame({"roi": [f"roi{r}" for r in range(9, -1, -1)], "x": range(10)})
    empty = pd.DataFrame()
    space = NFAS.from_scores(RunResults(table, empty, empty, empty, rois))
    assert space.rois["roi"].tolist() == [f"roi{r}" for r in range(8)]
    assert space.rois["x"].tolist() == [9, 8, 7, 6, 5, 4, 3, 2]


def test_constructor_refuses_what_does_not_match():
    models = pd.DataFrame({"model": ["a", "b"], "modality": ["audio", "vision"]})
    rois = pd.DataFrame({"roi": ["V1", "A1", "A2"]})
    V = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"scores must have shape \(M, R\) = \(2, 3\).*got \(3, 2\)"):
        NFAS(V.T, models, rois)
    with pytest.raises(ValueError, match=r"at 1 expected 'A1', got 'A2'\. Reindex by name"):
        NFAS(pd.DataFrame(V, columns=["V1", "A2", "A1"]), models, rois)
    with pytest.raises(ValueError, match="models must name each model once"):
        NFAS(V, models.assign(model="a"), rois)
    with pytest.raises(ValueError, match="rois must have the column 'roi'"):
        NFAS(V, models, pd.DataFrame({"name": range(3)}))
    with pytest.raises(ValueError, match=r"1 missing at 1 ROIs, such as \['A1'\]"):
        NFAS(np.array([[1, np.nan, 1], [1, 1, 1]]), models, rois)
    with pytest.raises(ValueError, match="rois must be given"):
        NFAS(V, models)
    assert NFAS(pd.DataFrame(V, columns=["V1", "A1", "A2"]), models).rois["roi"].tolist() == [
        "V1",
        "A1",
        "A2",
    ]


def test_standardized_models_are_compared_by_pattern():
    table = scores_table()
    louder = table.assign(r2=table["r2"].where(table["model"] != "m0", 0.5 * table["r2"]))
    plain, pattern = (NFAS.from_scores(louder, standardize=how) for how in ("none", "model"))
    reference = NFAS.from_scores(table, standardize="model")
    torch.testing.assert_close(pattern.distances(), reference.distances())
    assert not torch.allclose(plain.distances(), reference.distances())
    assert torch.equal(pattern.snci(), plain.snci())  # SNCI needs the level
    assert repr(pattern) == "NFAS(6 models x 8 ROIs, r2, pattern only: 3 audio, 3 vision)"
    models = pd.DataFrame({"model": ["a"], "modality": ["x"]})
    flat = NFAS([[1.0, 1.0]], models, pd.DataFrame({"roi": ["p", "q"]}), standardize="model")
    with pytest.raises(ValueError, match=r"\['a'\] score the same at every ROI"):
        flat.distances()


def test_scores_are_copied():
    V = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    models = pd.DataFrame({"model": ["a", "b"], "modality": "audio"})
    for given in (V, V.numpy()):
        space = NFAS(given, models, pd.DataFrame({"roi": list("pqr")}))
        before = space.scores.clone()
        V *= 0.5
        assert torch.equal(space.scores, before)


def test_nearest_and_select():
    space = NFAS.from_scores(scores_table())
    nearest = space.nearest("m0", 2)
    assert nearest["modality"].tolist() == ["audio", "audio"]
    assert nearest["distance"].is_monotonic_increasing
    with pytest.raises(ValueError, match="got 'resnet'"):
        space.nearest("resnet")
    for where in (
        "modality == 'vision'",
        [False] * 3 + [True] * 3,
        lambda table: table["modality"] == "vision",
    ):
        part = space.select(where)
        assert part.models["model"].tolist() == ["m3", "m4", "m5"]
        torch.testing.assert_close(part.scores, space.scores[3:])
    with pytest.raises(ValueError, match="mask of 6 booleans"):
        space.select([True])
    with pytest.raises(ValueError, match=r"Did you mean 'modality'.*Columns of a model: \['model'"):
        space.select("modalty == 'audio'")
    with pytest.raises(ValueError, match="No model of 6"):
        space.select("modality == 'smell'")
    with pytest.raises(ValueError, match="group_by must be a column"):
        space.regroup("color")


def test_geometry_delegates_with_the_chosen_metric():
    space = NFAS.from_scores(scores_table(), metric="correlation")
    assert space.pca(3).coordinates.shape == (6, 3)
    assert space.mds().coordinates.shape == (6, 2)
    torch.testing.assert_close(space.distances(), space.distances("correlation"))
    assert space.anova().p_value.shape == (8,)
    assert space.convergence().shape == (8,)
    assert (
        space.snci_bootstrap("bounded").low.shape == space.snci_permutation(n_permutations=9).shape == (2, 8)
    )
    assert space.permanova_pairwise(n_permutations=9).pairs == (("audio", "vision"),)


def test_pattern_and_metric_reach_every_statistic_that_is_of_vectors():
    table = scores_table(("vision", "vision", "audio", "audio", "audio", "vision"))
    space = NFAS.from_scores(table, standardize="model", metric="correlation")
    assert space.groups == ("audio", "vision")
    scores, labels = space.scores, space.models["modality"].tolist()
    V = (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True)
    torch.testing.assert_close(space.vectors, V)
    D = 1 - torch.from_numpy(np.corrcoef(V.numpy()))
    torch.testing.assert_close(space.distances(), D)
    # a metric of one's own for once
    torch.testing.assert_close(space.distances("euclidean"), torch.cdist(V, V))
    torch.testing.assert_close(
        space.mds(2, "euclidean").coordinates, mds(torch.cdist(V, V), 2).coordinates, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(space.pca(2).coordinates, pca(V, 2).coordinates)
    torch.testing.assert_close(space.anova().statistic, anova(V, labels).statistic)
    torch.testing.assert_close(
        space.permanova(n_permutations=9, seed=3).statistic, permanova(D, labels, n_permutations=9).statistic
    )
    # consistency is of the scores as they are
    torch.testing.assert_close(space.snci("db"), snci(scores, labels, form="db"))
    torch.testing.assert_close(space.convergence(), snci(scores, labels, form="bounded").amin(0))
    wanted = snci_bootstrap(scores, labels, confidence=0.5, seed=4)
    torch.testing.assert_close(space.snci_bootstrap(confidence=0.5, seed=4), wanted)
    p = snci_permutation(scores, labels, n_permutations=19, seed=4)
    torch.testing.assert_close(space.snci_permutation(n_permutations=19, seed=4), p)
    # and a part of the space is read in the same way
    part = space.select([True, True, True, True, False, True])
    torch.testing.assert_close(part.distances(), D[[0, 1, 2, 3, 5]][:, [0, 1, 2, 3, 5]])
    row = D[2].clone()
    row[2] = np.inf
    found = space.nearest("m2", 4)
    assert found["model"].tolist() == [f"m{i}" for i in row.argsort()[:4].tolist()]
    np.testing.assert_allclose(found["distance"], row.sort().values[:4])


@pytest.mark.usefixtures("undrawn")
def test_report_is_written(tmp_path):
    path = NFAS.from_scores(scores_table()).report(tmp_path / "report.html", title="Six models")
    assert "Six models" in path.read_text()


def test_a_regrouped_space_says_what_its_groups_are_of():
    models = pd.DataFrame(
        {
            "model": list("abcdef"),
            "modality": ["audio"] * 3 + ["vision"] * 3,
            "family": ["vit"] * 3 + ["a modality's", "cnn", "cnn"],
            "maker": "one",
        }
    )
    values = np.random.default_rng(0).random((6, 4))
    space = NFAS(values, models, pd.DataFrame({"roi": list("pqrs")}))
    families = space.regroup("family")
    assert (space.group_by, families.group_by) == ("modality", "family")
    for compute in (families.snci, families.snci_bootstrap, families.snci_permutation, families.convergence):
        with pytest.warns(UserWarning, match=r"\"a modality's\" has one model and no spread"):
            compute()
    makers = families.regroup("maker")  # of a space that was regrouped before
    pd.testing.assert_frame_equal(makers.models, models)
    with pytest.raises(ValueError, match="expected at least two, got one"):
        makers.convergence()
    assert makers.select([True] * 3 + [False] * 3).group_by == "maker"
    assert makers.statistics(n_permutations=9).group_by == "maker"
    with pytest.raises(ValueError, match="expected at least two, got one"):
        space.select("modality == 'audio'").convergence()


def test_names_come_with_scores_vectors_and_distances():
    space = NFAS.from_scores(scores_table(), standardize="model")
    frame = space.to_frame()
    pd.testing.assert_frame_equal(frame, wide(scores_table()).loc[frame.index, frame.columns])
    assert (frame.index.name, frame.columns.name) == ("model", "roi")
    assert float(space.to_frame("vectors").loc["m3", "roi2"]) == float(space.vectors[3, 2])
    assert float(space.to_frame("distances").loc["m1", "m4"]) == float(space.distances()[1, 4])
    with pytest.raises(ValueError, match="of must be one of"):
        space.to_frame("ranks")
    statistics = space.statistics(n_permutations=9)
    tables = space.tables(statistics)
    assert set(tables) == {"scores", "models", "rois", "distances", *statistics.tables()}
    assert tables["scores"].columns[:3].tolist() == ["model", "group", "roi0"]


def test_figures_of_a_simulated_space_are_marked():
    table = scores_table()
    for simulated in (True, False):
        space = NFAS.from_scores(table.assign(simulated=simulated))
        for draw in (
            space.plot_pca,
            space.plot_mds,
            space.plot_snci,
            space.plot_convergence,
            space.plot_networks,
        ):
            assert draw().get_supxlabel() == (SIMULATED if simulated else "")


def test_a_space_of_ones_own_scores_draws_without_a_mark():
    models = pd.DataFrame({"model": list("abcd"), "modality": ["audio"] * 2 + ["vision"] * 2})
    values = np.random.default_rng(0).random((4, 3))
    space = NFAS(values, models, pd.DataFrame({"roi": list("pqr")}))
    assert space.plot_pca().get_supxlabel() == ""
    axes = space.plot_networks().axes[0]
    # ROIs without a network stand for themselves, vision before audio
    assert {label.get_text() for label in axes.get_xticklabels()} == set("pqr")
    drawn = {label.get_text(): i for i, label in enumerate(axes.get_xticklabels())}
    order = [drawn[name] for name in "pqr"]
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array())[:, order], values[[2, 3, 0, 1]])


def test_numbered_rois_of_several_datasets_are_no_axis():
    table = scores_table()
    numbered = table.assign(roi="roi_00" + table["roi"].str[3:])
    with pytest.raises(ValueError, match=r"several datasets \(audio, vision\).*roi_000, roi_001"):
        NFAS.from_scores(numbered)
    assert len(NFAS.from_scores(numbered.assign(dataset="one"))) == 6
    assert len(NFAS.from_scores(numbered, rois=numbered[["roi"]])) == 6


def test_cards_describe_the_models(space):
    models = space.models.set_index("model")
    assert models.loc["tinyllama_1_1b", "size"] == "large"
    assert models.loc["bert_base", "size"] == "medium"
    assert models.loc["whisper_tiny", "size"] == "small"
    assert models.loc["mae_base", "objective_kind"] == "self-supervised"
    assert models.loc["gpt2", "objective_kind"] == "causal language model"
    assert models.loc["wav2vec2_base", "family"] == "wav2vec2"


def test_groups_of_any_column(space, plain):
    wide, _ = plain
    kinds = space.models.set_index("model")["objective_kind"]
    statistics = space.regroup("objective_kind").statistics(n_permutations=99)
    many = kinds[kinds.map(kinds.value_counts()) > 1]
    part = wide.loc[many.index]
    oracle = skbio_permanova(DistanceMatrix(squareform(pdist(part))), many.tolist(), permutations=0)
    assert statistics.permanova["statistic"] == pytest.approx(oracle["test statistic"])
    assert statistics.silhouette["statistic"] == pytest.approx(silhouette_score(part, many))
    assert statistics.group_by == "objective_kind"
    assert set(statistics.snci["group"]) == set(kinds)
    assert set(statistics.tables()["snci"].columns) >= {"group", "roi", "ratio_low"}
    assert any("objective_kind" in note for note in statistics.notes)
    with pytest.raises(ValueError, match="group_by must be a column"):
        space.regroup("color")


def test_everything_is_written_as_parquet_and_csv(space, statistics, tmp_path):
    space.save(tmp_path, statistics)
    names = {path.stem for path in tmp_path.glob("*.parquet")}
    assert names == {path.stem for path in tmp_path.glob("*.csv")}
    assert names == {
        "scores", "models", "rois", "distances", "tests", "coordinates", "pairwise", "silhouette_samples",
        "anova", "snci", "convergence", "nearest", "stability", "controls",
    }  # fmt: skip
    scores = pd.read_csv(tmp_path / "scores.csv")
    np.testing.assert_allclose(scores[space.rois["roi"]], space.scores)
    tests = pd.read_parquet(tmp_path / "tests.parquet").set_index("test")
    assert tests.loc["permanova", "statistic"] == statistics.permanova["statistic"]


def test_figures_take_an_axis(space):
    from matplotlib.figure import Figure

    names = [entry[0] for group in ZOO.values() for entry in group[:4]]
    few = space.select(space.models["model"].isin(names).tolist())
    figure = Figure(figsize=(24, 16))
    axes = figure.subplots(2, 3).ravel()
    names = ("pca", "mds", "snci", "convergence", "networks", "sizes")
    drawn = [getattr(few, f"plot_{name}") for name in names]
    for ax, draw in zip(axes, drawn, strict=True):
        assert draw(ax=ax) is figure
        assert ax.has_data()
    assert axes[5].get_xscale() == "log"
    with pytest.raises(ValueError, match="must have a column 'parameters'"):
        NFAS(space.scores, space.models[["model", "modality"]], space.rois).plot_sizes()
