"""What docs/method/degenerate.md promises for input that has no answer: each row of its table is tested."""

import math
import re
from pathlib import Path

import pytest
import torch

from nfas_lightning import functional as F
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.functional.state_space import StateSpace
from nfas_lightning.metrics import DMDAlignment

PAGE = Path(__file__).parents[2] / "docs" / "method" / "degenerate.md"
ROWS = []


def row(title):
    """Name the row of the table that a test stands for."""

    def keep(test):
        ROWS.append(title)
        return test

    return keep


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def refused(message):
    return pytest.raises(ValueError, match=message)


@row("fewer than three depths")
def test_two_depths():
    with refused("L >= 3 depths"):
        F.stable_mode(normal(8, 2, 4))


@row("one stimulus")
def test_one_stimulus():
    with refused("N >= 2 stimuli"):
        F.stable_mode(normal(1, 5, 4))
    F.stable_mode(normal(1, 5, 4), centering="none")  # nothing is centered: one is enough
    with refused("At least two stimuli"):
        ArrayDataModule(torch.rand(1, 3, 4, 4), torch.randn(1, 2)).setup()


@row("stimuli that do not differ at a depth")
def test_dead_depth():
    H = normal(8, 5, 4)
    H[:, 0] = 1.5  # the class token before the first block
    with pytest.warns(RuntimeWarning, match=r"same state at depth \[0\]"):
        assert F.stable_mode(H).isnan().all()


@row("the same, where layers differ in width")
def test_dead_layer():
    with refused("Layer 1 is the same for all 8"):
        StateSpace().fit([normal(8, 5), torch.ones(8, 4), normal(8, 4)])


@row("a trajectory of zeros")
def test_zeros():
    with pytest.warns(RuntimeWarning, match="no part in any mode|nothing to decompose"):
        assert F.stable_mode(torch.zeros(8, 5, 4), centering="none").isnan().all()


@row("linearly dependent depths")
def test_rank_deficient():
    H = normal(8, 1, 4).expand(8, 5, 4) * torch.tensor([1.0, 0.5, 0.25, 0.125, 0.0625])[:, None]
    result = F.dmd(H, svd_rank=3, centering="none")
    assert result.svd_rank == 1
    assert result.stable_eigenvalue.real == pytest.approx(0.5)


@row("repeated eigenvalues")
def test_repeated():
    result = F.dmd(normal(8, 1, 4).expand(8, 5, 4) + 0.0, operator="pooled", centering="none")
    assert torch.allclose(result.eigenvalues, torch.ones_like(result.eigenvalues))


@row("NaN or infinity in a trajectory")
def test_nan_states():
    H = normal(8, 5, 4)
    H[3, 2, 1] = math.nan
    with refused("finite"):
        F.stable_mode(H)


@row("float16 or bfloat16")
def test_half():
    H = normal(30, 6, 8).cumsum(1)
    for dtype in (torch.float16, torch.bfloat16):
        narrow = H.to(dtype)
        feature = F.stable_mode(narrow)
        assert feature.dtype == torch.float32
        assert torch.allclose(feature, F.stable_mode(narrow.float()), atol=1e-5)


@row("fewer volumes than folds")
def test_few_volumes():
    with refused("need at least that many volumes"):
        F.ridge_cv(normal(3, 2), normal(3, 1))


@row("a gap that leaves no training volumes")
def test_wide_gap():
    with refused("leaves no training data"):
        F.ridge_cv(normal(20, 2), normal(20, 1), gap=20)


@row("a constant ROI")
def test_constant_roi():
    Y = normal(40, 2)
    Y[:, 0] = 3.0
    with pytest.warns(UserWarning, match="1 of 2 ROIs score NaN"):
        r = F.ridge_cv(normal(40, 3, seed=1), Y).r
    assert r.isnan().tolist() == [True, False]


@row("a constant feature")
def test_constant_feature():
    X, Y = normal(40, 3), normal(40, 2, seed=1)
    wide = torch.cat([X, torch.full((40, 1), 7.0)], 1)
    alphas = torch.tensor([1.0, 10.0])
    assert torch.allclose(F.ridge_cv(wide, Y, alphas=alphas).r, F.ridge_cv(X, Y, alphas=alphas).r)
    with pytest.warns(UserWarning, match="2 of 2 ROIs score NaN"):
        assert F.ridge_cv(torch.ones(40, 3), Y).r.isnan().all()


@row("missing responses")
def test_missing():
    X, Y = normal(60, 3), normal(60, 2, seed=1)
    holes = Y.clone()
    holes[[3, 40], 1] = math.nan
    result, whole = F.ridge_cv(X, holes), F.ridge_cv(X, Y)
    assert result.n_volumes.tolist() == [60, 58]
    assert result.r[0] == pytest.approx(float(whole.r[0]))
    assert torch.isfinite(result.r[1])


@row("an ROI without a single response")
def test_never_observed():
    Y = normal(40, 2)
    Y[:, 0] = math.nan
    with pytest.warns(UserWarning, match="1 of 2 ROIs score NaN"):
        assert F.ridge_cv(normal(40, 3, seed=1), Y).r.isnan().tolist() == [True, False]


@row("stimuli that a metric never saw")
def test_unseen():
    brain = ArrayDataModule(torch.rand(20, 3, 4, 4), torch.randn(20, 2))
    brain.setup()
    metric = DMDAlignment(brain.responses)
    metric.update(normal(19, 5, 4).float(), torch.arange(19))
    with pytest.warns(UserWarning, match="1 of the 20 stimuli"):
        assert metric.compute().isnan()
    assert metric.details["r"].isnan().all()


@row("one subject")
def test_one_subject():
    with refused("at least two subjects"):
        F.noise_ceiling(normal(1, 30, 2))


@row("one model in a group")
def test_one_model():
    with pytest.warns(UserWarning, match="one model"):
        scores = F.snci(normal(4, 2).abs(), ["audio", "audio", "audio", "vision"])
    assert scores.isnan().tolist() == [[False, False], [True, True]]


@row("models that score the same")
def test_no_spread():
    same = torch.full((3, 2), 0.2)
    for form, value in (("ratio", math.inf), ("bounded", 1.0)):
        with pytest.warns(UserWarning, match="score the same"):
            assert (F.snci(same, ["a"] * 3, form=form) == value).all()


@row("one modality")
def test_one_modality():
    V = normal(6, 4)
    for test in (F.permanova, F.permdisp, F.silhouette):
        with refused("at least two groups"):
            test(F.distances(V), ["vision"] * 6)
    with refused("at least two groups"):
        F.anova(V, ["vision"] * 6)


@row("models that do not differ at all")
def test_identical():
    labels = ["a", "a", "b", "b"]
    for test in (F.permanova, F.permdisp, F.silhouette):
        with pytest.warns(UserWarning, match="NaN"):
            result = test(torch.zeros(4, 4), labels, n_permutations=9)
        assert result.statistic.isnan()
        assert result.p_value.isnan()
    with pytest.warns(UserWarning, match="do not vary"):
        assert F.anova(torch.ones(4, 2), labels).p_value.isnan().all()


@row("a model without a score at an ROI")
def test_missing_score():
    V = normal(6, 3)
    V[0, 0] = math.nan
    with pytest.warns(UserWarning, match="1 of 3 ROIs have a missing score"):
        assert F.anova(V, ["a", "b"] * 3).p_value.isnan().tolist() == [True, False, False]
    with refused("finite"):
        F.pca(V)


def test_the_page_has_a_test_a_row():
    titles = re.findall(r"^\| ([^|]+?) \|", PAGE.read_text(), flags=re.MULTILINE)
    assert [title for title in titles if title not in ("input", "---")] == ROWS
