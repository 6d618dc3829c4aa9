"""Bootstrap intervals against rsatoolbox, plain loops and their coverage."""

import numpy as np
import pytest
import torch
from rsatoolbox.util import inference_util
from scipy import stats

from nfas_lightning.functional.intervals import (
    BootstrapDraws,
    _counts,
    bootstrap_scores,
    dual_variance,
    interval,
)


def data(n_subjects=4, n_rows=30, n_rois=2, n_features=2, seed=0, noise=1.0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    signal = draw(n_rows, n_rois)
    preds = signal + draw(n_features, n_rows, n_rois)
    return preds, signal + noise * draw(n_subjects, n_rows, n_rois), torch.arange(n_rows) // (n_rows // 3)


@pytest.mark.parametrize("block_length", [1, 4, None])
@pytest.mark.parametrize("missing", [False, True])
def test_draws_are_correlations_of_the_rows_and_subjects_drawn(monkeypatch, block_length, missing):
    preds, targets, fold = data()
    fold[-2:] = -1
    if missing:
        targets[1, 3:6, 0] = torch.nan
        targets[:, 7, 1] = torch.nan
    seen = []
    counts = _counts
    monkeypatch.setattr(
        "nfas_lightning.functional.intervals._counts", lambda *a: seen.append(counts(*a)) or seen[-1]
    )
    draws = bootstrap_scores(preds, targets, fold, block_length=block_length, n_draws=3)
    members, *by_row = (part.numpy() for part in seen)
    by_fold = np.ones((3, 3))
    if block_length is None:
        by_fold, by_row = by_row[0], [np.ones((3, int((fold == f).sum()))) for f in range(3)]
    for name, use_rows, use_subjects in (("stimuli", 1, 0), ("subjects", 0, 1), ("both", 1, 1)):
        for b in range(3):
            expected = np.zeros((2, 2))
            for f in range(3):
                rows = (fold == f).numpy()
                Y = targets[:, rows].numpy()
                Y = Y - np.nanmean(Y, axis=1, keepdims=True)
                m = members[b] if use_subjects else np.ones(4)
                w = by_row[f][b].astype(int) if use_rows else np.ones(rows.sum(), int)
                y = np.full(Y.shape[1:], np.nan)
                for t in range(Y.shape[1]):
                    for r in range(2):
                        there = ~np.isnan(Y[:, t, r])
                        if m[there].sum():
                            y[t, r] = (m[there] * Y[there, t, r]).sum() / m[there].sum()
                again = np.repeat(np.arange(rows.sum()), w)
                for k in range(2):
                    for r in range(2):
                        a, c = preds[k, rows, r].numpy()[again], y[again, r]
                        kept = ~np.isnan(c)
                        share = by_fold[b, f] / 3 if use_rows and block_length is None else 1 / 3
                        expected[k, r] += share * np.corrcoef(a[kept], c[kept])[0, 1]
            assert getattr(draws, name)[b].numpy() == pytest.approx(expected, rel=1e-9), name
    assert draws.n_stimuli == {1: 28, 4: 6, None: 3}[block_length]


def test_one_subject_has_stimuli_alone():
    preds, targets, fold = data(n_subjects=1)
    draws = bootstrap_scores(preds, targets, fold, n_draws=4)
    assert draws.both is None
    assert draws.subjects is None
    torch.testing.assert_close(dual_variance(draws), draws.stimuli.var(0) * 30 / 27 * 3 / 2)


@pytest.mark.parametrize("level", [0.1, 1.0, 4.0])
def test_variance_is_corrected_as_rsatoolbox_does(level):
    random = np.random.default_rng(1)
    parts = [random.normal(size=(50, 6)) * scale for scale in (1.3 * (1 + level**2) ** 0.5, level, 1.0)]
    draws = BootstrapDraws(
        torch.tensor(parts[2]), torch.tensor(parts[1]), torch.tensor(parts[0]), n_stimuli=20, n_subjects=7
    )
    variances = np.stack([part.var(0, ddof=1) for part in parts])
    expected = inference_util._dual_bootstrap(variances, n_rdm=7, n_pattern=20)
    below = (
        expected < variances[0] * 0.999
    )  # where rsatoolbox stays below the uncorrected variance, ours does not
    assert below.sum() >= 2
    found = dual_variance(draws).numpy()
    assert found[below] == pytest.approx(expected[below])
    assert (found[~below] >= expected[~below]).all()


def test_draws_are_paired_chunked_and_seeded(monkeypatch):
    preds, targets, fold = data()
    state = torch.get_rng_state()
    once = bootstrap_scores(preds, targets, fold, n_draws=20, seed=3)
    alone = bootstrap_scores(preds[1:], targets, fold, n_draws=20, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("stimuli", "subjects", "both"):
        torch.testing.assert_close(getattr(once, name)[:, 1:], getattr(alone, name))
    monkeypatch.setattr("nfas_lightning.functional.intervals._AT_ONCE", 200)
    torch.testing.assert_close(bootstrap_scores(preds, targets, fold, n_draws=20, seed=3).both, once.both)
    assert not torch.equal(bootstrap_scores(preds, targets, fold, n_draws=20, seed=4).both, once.both)


def test_intervals_of_functions_of_scores():
    preds, targets, fold = data()
    draws = bootstrap_scores(preds, targets, fold, n_draws=200)
    difference = draws.map(lambda scores: (scores[:, 0] - scores[:, 1]).mean(-1))
    found = interval(torch.tensor(0.1, dtype=torch.float64), difference)
    assert float(found.standard_error) == pytest.approx(float(dual_variance(difference) ** 0.5))
    assert float(found.high + found.low) == pytest.approx(0.2)
    # Satterthwaite's degrees of freedom, of 30 rows in three folds and four subjects
    by_stimuli, by_subjects = (
        float(part.var()) * n / k
        for part, n, k in ((difference.stimuli, 30 * 1.5, 27), (difference.subjects, 4, 3))
    )
    added = float(dual_variance(difference)) - by_stimuli
    assert by_subjects <= float(dual_variance(difference))
    freedom = float(found.standard_error) ** 4 / (by_stimuli**2 / 27 + added**2 / 3)
    half = stats.t.ppf(0.975, np.clip(freedom, 3, 30)) * float(found.standard_error)
    assert float(found.high - found.estimate) == pytest.approx(half)
    assert float(found.p_value) == pytest.approx(2 * stats.t.sf(0.1 / float(found.standard_error), freedom))
    assert 0 < float(found.p_value) < 1
    r = draws.map(lambda scores: scores[:, 0, 0])
    high = torch.tensor(0.9, dtype=torch.float64)
    near, plain = interval(high, r, correlation=True), interval(high, r)
    assert plain.high > 1 > near.high > 0.9 > near.low > -1
    assert float(near.high.atanh() - near.low.atanh()) == pytest.approx(
        float(plain.high - plain.low) / (1 - 0.9**2)
    )
    constant = bootstrap_scores(torch.zeros_like(preds), targets, fold, n_draws=5)
    assert constant.both.isnan().all()
    # what is undefined in one draw of twenty is left out; in more than a tenth of them there is no interval
    lost = r._replace(stimuli=r.stimuli.clone(), subjects=None, both=None)
    lost.stimuli[:10] = torch.nan
    assert float(dual_variance(lost)) == pytest.approx(float(r.stimuli[10:].var()) * 30 / 27 * 3 / 2)
    lost.stimuli[:30] = torch.nan
    assert interval(torch.tensor(0.1), lost).low.isnan()


def test_repeats_of_a_stimulus_are_drawn_together_and_blocks_keep_what_rows_remember():
    preds, targets, fold = data(n_subjects=1)
    twice = [part.repeat_interleave(2, dim=1) for part in (preds, targets)]
    units = torch.arange(30).repeat_interleave(2)
    drawn = bootstrap_scores(*twice, fold.repeat_interleave(2), units=units, n_draws=300)
    assert drawn.n_stimuli == 30
    once = bootstrap_scores(preds, targets, fold, n_draws=300)
    torch.testing.assert_close(dual_variance(drawn), dual_variance(once), rtol=0.3, atol=0)
    rows = bootstrap_scores(*twice, fold.repeat_interleave(2), n_draws=300)  # half the variance, and wrong
    assert (dual_variance(rows) < 0.75 * dual_variance(drawn)).all()
    slow = [part.repeat_interleave(8, dim=1) for part in (preds, targets)]
    fold = fold.repeat_interleave(8)
    told = [dual_variance(bootstrap_scores(*slow, fold, block_length=n, n_draws=300)) for n in (1, 16)]
    assert (told[1] > 3 * told[0]).all()


def test_what_can_not_be_drawn_is_refused():
    preds, targets, fold = data()
    with pytest.raises(ValueError, match="targets"):
        bootstrap_scores(preds, targets[:, :-1], fold)
    with pytest.raises(ValueError, match="block_length must be at least 1"):
        bootstrap_scores(preds, targets, fold, block_length=0)
    draws = bootstrap_scores(preds, targets, fold, n_draws=5)
    with pytest.raises(ValueError, match=r"estimate's shape \(3,\), got \(5, 2, 2\)"):
        interval(torch.zeros(3), draws)
    with pytest.raises(ValueError, match="confidence"):
        interval(torch.zeros(2, 2), draws, confidence=95)


@pytest.mark.parametrize(("n_subjects", "noise"), [(8, 3.0), (1, 0.7)])
def test_coverage_over_new_stimuli_and_subjects(n_subjects, noise):
    """Subjects share a signal and differ in how they respond to it; the truth is that of endless data."""
    rows, truth = 40, []

    def experiment(seed, n_rows, n_people):
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        signal = draw(n_rows, 1)
        people = 1 + 0.5 * draw(n_people, 1, 1) * (n_subjects > 1)  # of one subject, itself is the truth
        preds = torch.stack([signal + draw(n_rows, 1), signal + 1.5 * draw(n_rows, 1)])
        return preds, people * signal + noise * draw(n_people, n_rows, 1)

    # what a new sample of as many subjects would score on average
    for seed in range(400):
        preds, targets = experiment(10_000 + seed, 400, n_subjects)
        mean = targets.mean(0)
        truth.append([float(torch.corrcoef(torch.stack([x, mean[:, 0]]))[0, 1]) for x in preds[:, :, 0]])
    first, second = np.mean(truth, axis=0)
    fold = torch.arange(rows) // 20
    inside = []
    for seed in range(200):
        preds, targets = experiment(seed, rows, n_subjects)
        draws = bootstrap_scores(preds, targets, fold, n_draws=200, seed=seed)
        r = torch.stack(
            [
                torch.corrcoef(torch.stack([x[fold == f], targets.mean(0)[fold == f, 0]]))[0, 1]
                for x in preds[:, :, 0]
                for f in range(2)
            ]
        ).view(2, 2).mean(1)  # fmt: skip
        of_first = interval(r[0], draws.map(lambda s: s[:, 0, 0]))
        gap = interval(r[0] - r[1], draws.map(lambda s: s[:, 0, 0] - s[:, 1, 0]))
        inside.append([of_first.low <= first <= of_first.high, gap.low <= first - second <= gap.high])
    rate = np.mean(inside, axis=0)
    assert (rate >= 0.9).all(), rate
    assert (rate < 1).any(), rate
