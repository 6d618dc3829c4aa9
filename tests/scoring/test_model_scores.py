"""Every number of a network again, from the functional core."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.functional import dmd, fdr, ridge_cv, stable_mode
from nfas_lightning.functional.nulls import permutation_p
from nfas_lightning.functional.ridge_null import ridge_null
from nfas_lightning.functional.state_space import StateSpace
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from tests.helpers.scoring import CARD, NUISANCES, QUICK, brain, pick, trajectory


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


def test_planted_roi_is_found_and_noise_is_not():
    track = trajectory()
    result = score_trajectory(track, brain(track), CARD, QUICK)
    found = pick(result, "stable_mode", "signal")
    assert found["r"] > 0.7
    assert found["p"] == pytest.approx(0.01)  # the least that 99 permutations can show


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

    def turned(self, states, device=None):
        H = fit(self, states, device)
        Q, _ = torch.linalg.qr(
            torch.randn(H.shape[2], H.shape[2], generator=torch.Generator().manual_seed(0))
        )
        return H @ Q.to(H.dtype)

    monkeypatch.setattr(StateSpace, "fit_transform", turned)
    other = score_trajectory(track, responses, CARD, settings).scores.set_index(["feature", "roi"])
    for feature in ("stable_mode", "mean_depth"):
        np.testing.assert_allclose(other.loc[feature, "r"], plain.loc[feature, "r"], atol=1e-4)
    np.testing.assert_array_equal(other.loc["stable_mode", "p"], plain.loc["stable_mode", "p"])


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
