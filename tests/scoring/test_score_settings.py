import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional import dmd, fdr, noise_ceiling, ridge_cv, stable_mode
from nfas_lightning.functional.nulls import permutation_p
from nfas_lightning.functional.ridge_null import ridge_null
from nfas_lightning.functional.state_space import StateSpace
from nfas_lightning.hooks import LayerInfo, Trajectory
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from nfas_lightning.scoring.encoder import Fits
from nfas_lightning.scoring.feature_scores import best_block

CARD = {
    "name": "net", "modality": "vision", "family": "toy", "source": "", "license": "", "parameters": 0,
    "weights_sha256": "", "note": "", "pooling": "mean", "weights": "pretrained", "twin_of": "",
    "seconds_capture": 0.0,
}  # fmt: skip
QUICK = ScoringSettings(n_permutations=99)


def trajectory(n=120, depths=5, width=6, seed=0):
    """A slow rotation over depth, another for every stimulus, in noise."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    x = torch.randn(n, width, generator=generator)
    states = []
    for _ in range(depths):
        states.append(x + 0.1 * torch.randn(n, width, generator=generator))
        x = x @ turn
    layers = tuple(
        LayerInfo(f"block.{i}", i, "Block", (width,), width, "torch.float32") for i in range(depths)
    )
    return Trajectory(tuple(states), layers, torch.arange(n))


def centered(track):
    """Each depth without its mean over stimuli, at unit Frobenius norm."""
    H = track.stack() - track.stack().mean(0)
    return H / H.square().sum((0, 2), keepdim=True).sqrt()


def test_the_card_tells_that_the_first_token_stayed_out():
    track = trajectory()
    layers = tuple(dataclasses.replace(layer, pooling="mean:rest") for layer in track.layers)
    told = [
        score_trajectory(one, brain(track), CARD, QUICK).card["pooling"]
        for one in (track, dataclasses.replace(track, layers=layers))
    ]
    assert told == ["mean", "mean:rest"]


def brain(track, n_subjects=3, noise=1.0, seed=1, **changes):
    """ROI "signal" follows the stable mode, ROI "noise" nothing."""
    generator = torch.Generator().manual_seed(seed)
    signal = stable_mode(track.stack())[:, :2].sum(1)
    clean = torch.stack([signal / signal.std(), torch.zeros(len(signal))], dim=1)
    shape = (n_subjects, *clean.shape)
    values = clean + noise * torch.randn(shape, generator=generator)
    fields = {
        "values": values,
        "rois": pd.DataFrame({"roi": ["signal", "noise"], "network": ["a", "b"]}),
        "stimulus_ids": tuple(map(str, range(len(signal)))),
        "dataset": "toy",
        "modality": "vision",
        "subjects": tuple(f"s{i}" for i in range(n_subjects)),
        "runs": torch.zeros(len(signal), dtype=torch.long),
        **changes,
    }
    return Responses(**fields)


def pick(result, feature, roi, subject="group"):
    rows = result.scores.query("feature == @feature and roi == @roi and subject == @subject")
    assert len(rows) == 1
    return rows.iloc[0]


def test_planted_roi_is_found_and_noise_is_not():
    track = trajectory()
    result = score_trajectory(track, brain(track), CARD, QUICK)
    found = pick(result, "stable_mode", "signal")
    assert found["r"] > 0.7
    assert found["p"] == pytest.approx(0.01)  # the least that 99 permutations can show


def test_an_roi_that_a_run_lacks_is_averaged_over_the_others_in_every_feature():
    track = trajectory()
    twins = dataclasses.replace(track, states=(track.states[0],) * len(track.states))
    responses = brain(track, runs=torch.arange(120) // 40)
    responses.values[:, :40, 0] = float("nan")
    result = score_trajectory(twins, responses, CARD, dataclasses.replace(QUICK, n_permutations=0))
    # blocks that are all the same: whichever is the best of them is the last one too
    last, best = (pick(result, feature, "signal")["r"] for feature in ("last_block", "best_block"))
    assert best == pytest.approx(last)
    assert best > 0.1


def test_noise_rois_pass_at_the_nominal_rate():
    track = trajectory()
    noise = torch.randn(1, 120, 60, generator=torch.Generator().manual_seed(5))
    rois = pd.DataFrame({"roi": [f"n{i}" for i in range(60)]})
    result = score_trajectory(track, brain(track, n_subjects=1, values=noise, rois=rois), CARD, QUICK)
    stable = result.scores.query("feature == 'stable_mode'")
    assert abs(stable["r"].mean()) < 0.1
    assert (stable["p"] <= 0.05).sum() <= 8  # binomial(60, .05): 8 or more in 1 of 100 draws
    assert stable["q"].min() > 0.05


def test_stable_mode_row_is_ridge_on_the_stable_mode():
    track = trajectory()
    responses = brain(track)
    result = score_trajectory(track, responses, CARD, QUICK)
    plain = ridge_cv(stable_mode(track.stack()), responses.group_mean, selection="loo")
    got = result.scores.query("feature == 'stable_mode'")["r"].to_numpy()
    torch.testing.assert_close(torch.tensor(got), plain.r.to(torch.tensor(got).dtype))


def test_best_block_is_chosen_in_training_folds_only():
    track = trajectory()
    responses = brain(track, noise=3.0)
    result = score_trajectory(track, responses, CARD, QUICK)
    blocks = [ridge_cv(state, responses.group_mean, selection="loo") for state in track.states]
    expected = torch.zeros(2)
    for fold in range(5):
        for roi in range(2):
            top = max(block.inner_score[fold, roi] for block in blocks)
            best = next(block for block in blocks if block.inner_score[fold, roi] >= top - 1e-5)
            expected[roi] += best.fold_r[fold, roi] / 5
    got = torch.tensor([pick(result, "best_block", roi)["r"] for roi in ("signal", "noise")])
    torch.testing.assert_close(got, expected, check_dtype=False)
    # choosing by the test score instead would be optimistic, and is not what is reported
    peeked = torch.stack([block.r for block in blocks]).amax(0)
    assert bool((peeked >= got - 1e-6).all())
    assert bool((peeked > got + 1e-3).any())


def test_twin_scores_one_feature():
    track = trajectory()
    result = score_trajectory(track, brain(track), {**CARD, "name": "net_random", "twin_of": "net"}, QUICK)
    assert set(result.scores["feature"]) == {"random_weights"}
    assert set(result.scores["model"]) == {"net"}


def test_nuisances_alone_and_partialled_out():
    track = trajectory()
    responses = brain(track, noise=0.3)
    signal = responses.group_mean[:, :1]
    with_nuisance = dataclasses.replace(responses, nuisances=signal, nuisance_names=("leak",))
    alone = score_trajectory(track, with_nuisance, CARD, dataclasses.replace(QUICK, score="alone"))
    own = pick(alone, "nuisance", "signal")
    assert own["r"] == own["r_joint"] > 0.99
    assert pd.isna(own["r_partial"])
    with pytest.warns(UserWarning, match="score NaN"):  # the nuisance explains the ROI, nothing is left
        result = score_trajectory(track, with_nuisance, CARD, QUICK)
    row = pick(result, "stable_mode", "signal")
    assert pd.isna(row["r_partial"])
    assert row["r_joint"] > 0.99
    assert row["r"] == pytest.approx(pick(alone, "stable_mode", "signal")["r"])


def test_a_table_of_nuisances_without_columns_is_none():
    track = trajectory()
    responses = brain(track)
    empty = dataclasses.replace(responses, nuisances=torch.zeros(len(responses.runs), 0))
    found = score_trajectory(track, empty, CARD, QUICK).scores
    pd.testing.assert_frame_equal(found, score_trajectory(track, responses, CARD, QUICK).scores)


def test_ceilings_of_group_and_subjects_differ():
    track = trajectory()
    responses = brain(track)
    result = score_trajectory(track, responses, CARD, dataclasses.replace(QUICK, subjects="both"))
    fold = torch.arange(120) // 24
    group = noise_ceiling(responses.values, method="split_half", seed=0, fold=fold)
    alone = noise_ceiling(responses.values, method="loo_subject", fold=fold)
    assert pick(result, "stable_mode", "signal")["ceiling"] == pytest.approx(float(group[0]))
    assert pick(result, "stable_mode", "signal", "s1")["ceiling"] == pytest.approx(float(alone[0]))
    assert group[0] > alone[0]
    assert set(result.scores["subject"]) == {"group", "s0", "s1", "s2"}


def test_trajectory_must_hold_every_stimulus_in_order():
    track = trajectory()
    shuffled = dataclasses.replace(track, stimulus_ids=track.stimulus_ids.flip(0))
    with pytest.raises(ValueError, match="must hold stimuli 0 to 119"):
        score_trajectory(shuffled, brain(track), CARD, QUICK)


@pytest.mark.parametrize("operator", ["joint", "per_stimulus", "pooled"])
def test_every_operator_gives_complete_tables(operator):
    track = trajectory()
    settings = dataclasses.replace(QUICK, operator=operator, baselines=False, n_permutations=0)
    result = score_trajectory(track, brain(track), CARD, settings)
    assert result.scores["r"].notna().all()
    assert result.scores["p"].isna().all()
    assert result.spectra["stable"].sum() == 1
    assert len(result.depth) == 5
    assert 0 <= result.card["reconstruction_error"] <= 1.5


# --- every number again, from the functional core


NUISANCES = torch.randn(60, 2, generator=torch.Generator().manual_seed(8))
CASES = {
    "stimuli": ({}, {}, {"selection": "loo"}),
    "series": ({"tr": 2.0, "gap": 3}, {}, {"selection": "folds", "gap": 3}),
    "another gap, folds": (
        {"tr": 2.0, "gap": 3},
        {"gap": 1, "n_folds": 4, "selection": "loo"},
        {"selection": "loo", "gap": 1, "n_folds": 4},
    ),
    "no gap": ({"tr": 2.0, "gap": 3}, {"gap": 0}, {"selection": "folds", "gap": 0}),
    "runs": (
        {"tr": 2.0, "gap": 3, "runs": torch.arange(60) // 15},
        {},
        {"selection": "folds", "groups": torch.arange(60) // 15, "gap": 3},
    ),
    "nuisances": (
        {"tr": 2.0, "gap": 2, "nuisances": NUISANCES, "nuisance_names": ("a", "b")},
        {},
        {"selection": "folds", "gap": 2, "nuisances": NUISANCES},
    ),
    "joint": (
        {"tr": 2.0, "gap": 2, "nuisances": NUISANCES, "nuisance_names": ("a", "b")},
        {"score": "joint"},
        {"selection": "folds", "gap": 2, "nuisances": NUISANCES},
    ),
    "alone": (
        {"tr": 2.0, "gap": 2, "nuisances": NUISANCES, "nuisance_names": ("a", "b")},
        {"score": "alone"},
        {"selection": "folds", "gap": 2},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_row_is_ridge_on_its_feature(case):
    changes, choices, options = CASES[case]
    track = trajectory(n=60)
    responses = brain(track, n_subjects=2, noise=3.0, **changes)
    settings = ScoringSettings(subjects="both", n_permutations=39, seed=4, **choices)
    result = score_trajectory(track, responses, CARD, settings)
    features = {
        "stable_mode": stable_mode(track.stack()),
        "last_block": track.states[4],
        "mean_depth": centered(track).mean(1),  # of depths that weigh the same
        "all_blocks": torch.cat(track.states, 1),
    }
    for subject, Y in {"group": responses.values.mean(0), "s1": responses.values[1]}.items():
        for feature, X in features.items():
            plain = ridge_cv(X, Y, **options)
            alone = ridge_cv(X, Y, **{key: value for key, value in options.items() if key != "nuisances"})
            shown = plain.r_joint if case == "joint" else plain.r
            table = result.scores
            rows = table[(table["feature"] == feature) & (table["subject"] == subject)]
            assert rows["roi"].tolist() == ["signal", "noise"]
            wanted = {"r": alone.r, "r2": alone.r2}
            if case != "alone":
                wanted |= {"r_partial": plain.r, "r2_partial": plain.r2}
                wanted |= {"r_joint": plain.r_joint, "r2_joint": plain.r2_joint}
            for column, value in wanted.items():
                np.testing.assert_allclose(rows[column], value, rtol=1e-4, atol=1e-5, err_msg=column)
            assert set(rows["score"]) == {settings.score}
            np.testing.assert_allclose(rows["alpha_at_edge"], plain.alpha_at_edge)
            if feature != "stable_mode":
                assert rows[["p", "q"]].isna().all(axis=None)
                continue
            moves = "shift" if responses.tr else "blocks"
            kept = {name: options[name] for name in ("groups", "gap", "nuisances") if name in options}
            joint = {"joint": case == "joint"}
            null = ridge_null(X, Y, plain, moves=moves, n_permutations=39, seed=4, **joint, **kept)
            p = permutation_p(shown, null)
            np.testing.assert_allclose(rows["p"], p, rtol=1e-6)
            np.testing.assert_allclose(rows["q"], fdr(p), rtol=1e-6)
    by_block = [ridge_cv(state, responses.values.mean(0), **options) for state in track.states]
    for column in ("r", "r2"):
        name = f"{column}_joint" if case == "joint" else column
        wanted = [getattr(block, name).mean() for block in by_block]
        np.testing.assert_allclose(result.depth[column], wanted, rtol=1e-4, atol=1e-5)


def test_the_nuisance_row_is_the_nuisances_on_their_own_volumes():
    track = trajectory(n=60)
    responses = brain(track, nuisances=NUISANCES, nuisance_names=("a", "b"), tr=2.0, gap=2)
    result = score_trajectory(track, responses, CARD, dataclasses.replace(QUICK, n_permutations=0))
    plain = ridge_cv(NUISANCES, responses.group_mean, gap=2)
    assert pick(result, "nuisance", "noise")["r"] == pytest.approx(float(plain.r[1]), abs=1e-6)


@pytest.mark.parametrize(
    "choices",
    [
        {"operator": "per_stimulus"},
        {"svd_rank": 4},
        {"centering": "none"},
        {"criterion": "amplitude", "svd_rank": 4},
        {"phase": "real"},
    ],
)
def test_choices_reach_the_stable_mode_and_the_tables(choices):
    track = trajectory(seed=1)  # the stable mode is a pair
    responses = brain(track)
    settings = ScoringSettings(n_permutations=0, baselines=False, **choices)
    result = score_trajectory(track, responses, CARD, settings)
    wanted, default = (
        ridge_cv(stable_mode(track.stack(), **options), responses.group_mean, selection="loo").r
        for options in (choices, {})
    )
    assert not torch.allclose(wanted, default, atol=1e-4)
    np.testing.assert_allclose(result.scores["r"], wanted, rtol=1e-5)
    dynamics = dmd(track.stack(), **{name: value for name, value in choices.items() if name != "phase"})
    weights = dynamics.coefficients.abs()
    np.testing.assert_allclose(
        result.depth["weight"], weights.mean(0) if weights.ndim == 2 else weights, rtol=1e-6
    )
    if weights.ndim == 2:
        moduli = result.spectra["modulus"][result.spectra["stable"]]
        assert moduli.item() == pytest.approx(dynamics.stable_eigenvalue.abs().sort().values[60].item())
        return
    spectra = result.spectra
    np.testing.assert_allclose(spectra["real"] + 1j * spectra["imag"], dynamics.eigenvalues)
    np.testing.assert_allclose(spectra["modulus"], dynamics.eigenvalues.abs())
    np.testing.assert_allclose(spectra["distance_to_unit_circle"], (dynamics.eigenvalues.abs() - 1).abs())
    np.testing.assert_allclose(spectra["amplitude"], dynamics.amplitudes)
    assert spectra["stable"].tolist().index(True) == int(dynamics.stable_index)
    assert result.card["distance_to_unit_circle"] == pytest.approx(float(dynamics.distance_to_unit_circle))
    assert result.card["stable_imag"] == pytest.approx(dynamics.stable_eigenvalue.imag.item())


def test_a_state_space_has_the_width_that_was_asked_for():
    track = trajectory()
    responses = brain(track)
    choices = {"state_space": "procrustes", "n_components": 3, "n_permutations": 0, "baselines": False}
    result = score_trajectory(track, responses, CARD, ScoringSettings(**choices))
    H = StateSpace("procrustes", n_components=3).fit_transform(track.states)
    assert H.shape[2] == 3
    plain = ridge_cv(stable_mode(H), responses.group_mean, selection="loo", scaling="common")
    np.testing.assert_allclose(result.scores["r"], plain.r, rtol=1e-5)


def test_scores_in_a_state_space_do_not_depend_on_its_axes(monkeypatch):
    track = trajectory()
    responses = brain(track)
    settings = ScoringSettings(state_space="procrustes", n_permutations=20)
    plain = score_trajectory(track, responses, CARD, settings).scores.set_index(["feature", "roi"])
    fit = StateSpace.fit_transform

    def turned(self, states):
        H = fit(self, states)
        Q, _ = torch.linalg.qr(
            torch.randn(H.shape[2], H.shape[2], generator=torch.Generator().manual_seed(0))
        )
        return H @ Q.to(H.dtype)

    monkeypatch.setattr(StateSpace, "fit_transform", turned)
    other = score_trajectory(track, responses, CARD, settings).scores.set_index(["feature", "roi"])
    for feature in ("stable_mode", "mean_depth"):
        np.testing.assert_allclose(other.loc[feature, "r"], plain.loc[feature, "r"], atol=1e-4)
    np.testing.assert_array_equal(other.loc["stable_mode", "p"], plain.loc["stable_mode", "p"])


def test_ceilings_that_the_responses_know_come_first_and_split_halves_are_seeded():
    track = trajectory()
    responses = brain(track, n_subjects=4)
    settings = ScoringSettings(subjects="both", n_permutations=0, baselines=False, seed=7)
    result = score_trajectory(track, responses, CARD, settings)
    fold = torch.arange(120) // 24
    seeded = noise_ceiling(responses.values, method="split_half", seed=7, fold=fold)
    assert pick(result, "stable_mode", "signal")["ceiling"] == pytest.approx(float(seeded[0]), abs=1e-7)
    assert seeded[0] != noise_ceiling(responses.values, method="split_half", seed=0, fold=fold)[0]
    own = {
        "noise_ceiling": torch.tensor([0.5, 0.4]),
        "subject_ceilings": torch.arange(8).view(4, 2) / 10,
    }
    result = score_trajectory(track, dataclasses.replace(responses, **own), CARD, settings)
    assert pick(result, "stable_mode", "noise")["ceiling"] == pytest.approx(0.4)
    assert pick(result, "stable_mode", "noise", "s2")["ceiling"] == pytest.approx(0.5)


def test_what_all_subjects_share_between_runs_is_in_neither_score_nor_ceiling():
    track = trajectory()
    runs = torch.arange(120) // 24
    responses = brain(track, runs=runs)
    offsets = 20 * torch.arange(5.0)[runs][:, None]
    values = torch.cat([responses.values[..., :1], responses.values[..., 1:] + offsets], dim=2)
    result = score_trajectory(track, dataclasses.replace(responses, values=values), CARD, QUICK)
    assert noise_ceiling(values, method="split_half")[1] > 0.99
    assert pick(result, "stable_mode", "noise")["ceiling"] < 0.5
    assert pick(result, "stable_mode", "signal")["ceiling"] > 0.8


def test_a_ceiling_is_estimated_once_for_all_models_of_a_benchmark(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "nfas_lightning.data.responses.noise_ceiling",
        lambda *args, **options: asked.append(options["method"]) or noise_ceiling(*args, **options),
    )
    track = trajectory()
    responses = brain(track)
    settings = ScoringSettings(subjects="both", n_permutations=0, baselines=False)
    first, again = (score_trajectory(track, responses, CARD, settings).scores for _ in range(2))
    assert asked == ["split_half", "loo_subject"]
    pd.testing.assert_frame_equal(first, again)
    score_trajectory(track, responses, CARD, dataclasses.replace(settings, seed=3))
    score_trajectory(track, responses, CARD, dataclasses.replace(settings, n_folds=4))
    assert asked[2:] == ["split_half", "split_half", "loo_subject"]
    # other values are another benchmark
    score_trajectory(track, dataclasses.replace(responses, values=responses.values + 1), CARD, settings)
    assert len(asked) == 7


def test_volumes_are_counted_by_roi_and_feature():
    track = trajectory()
    responses = brain(track, n_subjects=2, runs=torch.arange(120) // 40)
    responses.values[:, 5:12, 0] = float("nan")
    responses.values[0, 80:, 1] = float("nan")
    settings = ScoringSettings(subjects="both", n_permutations=0)
    result = score_trajectory(track, responses, CARD, settings)
    for feature in ("stable_mode", "last_block", "best_block", "mean_depth", "all_blocks"):
        counts = [
            pick(result, feature, roi, who)["n_volumes"]
            for who in ("group", "s0", "s1")
            for roi in ("signal", "noise")
        ]
        assert counts == [113, 120, 113, 80, 113, 120]


def test_without_nuisances_the_three_numbers_are_one_and_nothing_is_fitted_twice(monkeypatch):
    track = trajectory()
    fitted = []
    monkeypatch.setattr(
        "nfas_lightning.scoring.encoder.ridge_cv",
        lambda *args, **options: fitted.append(options) or ridge_cv(*args, **options),
    )
    scores = score_trajectory(track, brain(track), CARD, QUICK).scores
    assert len(fitted) == 8  # the stable mode, five blocks, their mean and all of them
    for value in ("r", "r2"):
        for score in ("joint", "partial"):
            np.testing.assert_array_equal(scores[value], scores[f"{value}_{score}"])


def test_a_choice_of_subjects_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="subjects must be one of 'group', 'each', 'both', got 'all'"):
        ScoringSettings(subjects="all")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_features_set_the_precision(dtype):
    track = trajectory()
    responses = brain(track)
    states = tuple(state.to(dtype) for state in track.states)
    result = score_trajectory(dataclasses.replace(track, states=states), responses, CARD, QUICK)
    X = states[-1].float() if dtype == torch.float16 else states[-1]
    plain = ridge_cv(X, responses.group_mean.to(X.dtype), selection="loo")
    rows = result.scores.query("feature == 'last_block'")
    assert rows["r"].dtype == str(plain.r.dtype).removeprefix("torch.")
    np.testing.assert_allclose(rows["r"], plain.r, rtol=1e-4)


def chosen(blocks, targets, score="alone"):
    best = best_block([Fits(block, block) for block in blocks], targets, score)
    return best.scores[score].r


def test_each_number_of_the_best_block_has_a_choice_of_its_own():
    X, Y = torch.randn(100, 4, generator=torch.Generator().manual_seed(0)), torch.randn(100, 2)
    first, second = ridge_cv(X, Y), ridge_cv(X.flip(1), Y)
    better = dataclasses.replace(second, inner_score=first.inner_score + 1e-3, fold_r=first.fold_r + 1)
    best = best_block([Fits(first, better), Fits(better, first)], Y, "partial").scores
    torch.testing.assert_close(best["alone"].r, first.r + 1)  # of the second block's fit alone
    torch.testing.assert_close(best["partial"].r, first.r + 1)  # of the first block's beside nuisances
    torch.testing.assert_close(best["joint"].r, second.r_joint)


def test_blocks_tied_but_for_rounding_go_to_the_earliest():
    X, Y = torch.randn(100, 4, generator=torch.Generator().manual_seed(0)), torch.randn(100, 2)
    first, second = ridge_cv(X, Y), ridge_cv(X.flip(1), Y)
    nudged = dataclasses.replace(second, inner_score=first.inner_score + 1e-6, fold_r=first.fold_r + 1)
    assert torch.equal(chosen([first, nudged], Y), first.r)
    better = dataclasses.replace(nudged, inner_score=first.inner_score + 1e-3)
    assert (chosen([first, better], Y) > first.r).all()


def test_too_few_rows_for_a_correlation_are_refused_before_anything_runs():
    track = trajectory(n=9)
    with pytest.raises(ValueError, match=r"takes 3 rows, got 2 at most \(9 rows in 5 folds\)"):
        QUICK.check(brain(track))
    dataclasses.replace(QUICK, n_folds=3).check(brain(track))


def test_a_gap_that_leaves_an_inner_fold_nothing_is_refused_before_anything_runs():
    track = trajectory(n=20)
    settings = dataclasses.replace(QUICK, gap=5, selection="folds")
    with pytest.raises(ValueError, match="gap of 5 rows around inner blocks leaves nothing"):
        settings.check(brain(track))


def test_a_run_that_can_not_be_shuffled_is_refused_before_anything_runs():
    track = trajectory(n=31)
    responses = brain(track, runs=torch.tensor([0] * 15 + [1] * 15 + [2]))
    with pytest.raises(ValueError, match="a run of one row does not allow"):
        QUICK.check(responses)
    dataclasses.replace(QUICK, n_permutations=0).check(responses)


def test_an_roi_without_p_is_said():
    track = trajectory(n=60)
    values = torch.zeros(1, 60, 2)
    values[..., 0] = torch.randn(60, generator=torch.Generator().manual_seed(0))
    values[0, ::12, 1] = 1.0  # five events, one a fold; permuted, some fold has none
    with pytest.warns(UserWarning, match="1 of 2 ROIs have r but no p for 'net' under 'stable_mode'"):
        result = score_trajectory(track, brain(track, n_subjects=1, values=values), CARD, QUICK)
    rows = result.scores.query("feature == 'stable_mode'")
    assert rows["r"].notna().all()
    assert rows["p"].isna().tolist() == [False, True]


def test_settings_are_scoring_settings():
    with pytest.raises(TypeError, match=r"got \{'n_folds': 3\}. .* ScoringSettings\(\*\*settings\)"):
        score_trajectory(trajectory(), brain(trajectory()), CARD, {"n_folds": 3})


def test_best_block_counts_the_volumes_of_the_blocks_that_won():
    generator = torch.Generator().manual_seed(0)
    X = [torch.randn(100, 4, generator=generator) for _ in range(3)]
    Y = torch.stack([X[0][:, 0], X[2][:, 0]], dim=1) + 0.3 * torch.randn(100, 2, generator=generator)
    Y[:7, 1] = float("nan")
    X[1][20:] = 1.0  # untrained in the first fold
    blocks = [ridge_cv(x, Y, warn=False) for x in X]
    fits = [Fits(block, block) for block in blocks]
    assert best_block(fits, Y, "alone").n_volumes.tolist() == [100, 93]
    torch.testing.assert_close(chosen(blocks, Y), torch.stack([blocks[0].r[0], blocks[2].r[1]]))
    assert best_block(fits[1:2], Y, "alone").n_volumes.tolist() == [80, 80]


def test_a_block_that_is_constant_in_training_is_never_the_best():
    track = trajectory()
    states = list(track.states)
    states[3] = states[3].clone()
    states[3][24:] = 1.0  # all that the first fold trains on
    track = dataclasses.replace(track, states=tuple(states))
    responses = brain(trajectory())
    with pytest.warns(UserWarning, match="score NaN"):  # the block alone, and the depth table's row of it
        result = score_trajectory(track, responses, CARD, dataclasses.replace(QUICK, n_permutations=0))
    blocks = [
        ridge_cv(state, responses.group_mean, selection="loo") for i, state in enumerate(states) if i != 3
    ]
    best = max(blocks, key=lambda block: block.inner_score[0, 0])
    assert pick(result, "best_block", "signal")["r"] > 0.3
    assert best.inner_score[0, 0] > 0.3


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"operator": "joint2"}, "operator must be one of 'joint'"),
        ({"state_space": "pca"}, "state_space must be one of"),
        ({"selection": "aic"}, "selection must be one of 'folds', 'loo'"),
        ({"svd_rank": -3}, "svd_rank must be a positive int"),
        ({"n_folds": 1}, "n_folds must be at least 2, got 1"),
        ({"n_permutations": -3}, "n_permutations must be at least 0, got -3"),
    ],
)
def test_settings_refuse_what_no_scoring_can_do(choice, message):
    with pytest.raises(ValueError, match=message):
        ScoringSettings(**choice)


def test_the_depth_table_of_single_subjects_is_their_mean():
    track = trajectory()
    responses = brain(track)
    other = torch.randn(responses.values[0].shape, generator=torch.Generator().manual_seed(1))
    both = dataclasses.replace(
        responses, values=torch.stack([responses.values[0], other]), subjects=("a", "b")
    )
    settings = {"subjects": "each", "n_permutations": 0}
    together = score_trajectory(track, both, CARD, ScoringSettings(**settings)).depth
    alone = [
        score_trajectory(
            track,
            dataclasses.replace(both, values=both.values[k : k + 1], subjects=(name,)),
            CARD,
            ScoringSettings(**settings),
        ).depth
        for k, name in enumerate(both.subjects)
    ]
    np.testing.assert_allclose(together["r"], (alone[0]["r"] + alone[1]["r"]) / 2, rtol=1e-5)
    assert not np.allclose(together["r"], alone[0]["r"])
