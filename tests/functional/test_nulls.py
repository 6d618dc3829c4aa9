"""Moves of responses, nulls under fixed predictions, p values."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from nfas_lightning.functional import (
    block_permutation_null,
    circular_shift_null,
    permutation_p,
)
from nfas_lightning.functional.nulls import block_moves, phase_moves, shift_moves, turn_phases

nan = float("nan")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def shifts_of(moves, rows):
    shift = (rows - moves[:, rows]) % len(rows)
    assert torch.equal(shift, shift[:, :1].expand_as(shift))  # one rotation, and inside the run
    return shift[:, 0].tolist()


def test_shift_moves_rotate_every_run_by_a_lawful_shift():
    groups = torch.tensor([1] * 5 + [0] * 4)
    moves = shift_moves(9, groups=groups, n_moves=8)
    pairs = list(zip(shifts_of(moves, torch.arange(5)), shifts_of(moves, torch.arange(5, 9)), strict=True))
    assert len(set(pairs)) == 8
    everything = shift_moves(9, groups=groups, n_moves=20)  # 5 x 4 but the one that moves nothing
    assert sorted(shifts_of(everything, torch.arange(5))) == sorted([1, 2, 3, 4] * 4 + [0] * 3)
    assert sorted(shifts_of(everything, torch.arange(5, 9))) == sorted([1, 2, 3] * 5 + [0] * 4)
    with pytest.raises(ValueError, match="one row can't rotate"):
        shift_moves(3, groups=torch.arange(3))


def test_shift_moves_are_all_rotations_but_the_one_that_moves_nothing():
    assert sorted(shifts_of(shift_moves(30), torch.arange(30))) == list(range(1, 30))
    fewer = shifts_of(shift_moves(300, n_moves=200), torch.arange(300))
    assert len(set(fewer)) == 200
    assert 0 not in fewer
    runs = torch.arange(12) // 6
    moves = shift_moves(12, groups=runs)
    assert len({tuple(move) for move in moves.tolist()}) == len(moves) == 35
    assert tuple(range(12)) not in {tuple(move) for move in moves.tolist()}


def test_shift_moves_of_many_runs_draw_every_rotation_alike():
    groups = torch.arange(80) // 10  # 10^8 rotations, too many to number
    moves = shift_moves(80, groups=groups, n_moves=2000)
    for rows in torch.arange(80).split(10):
        counts = torch.tensor(shifts_of(moves, rows)).bincount(minlength=10)
        assert len(counts) == 10
        assert ((counts - 200).abs() < 67).all()  # five standard errors


def test_shift_moves_are_drawn_from_all_rotations():
    drawn = shifts_of(shift_moves(1000, n_moves=100), torch.arange(1000))
    assert len(set(drawn)) == 100
    assert sum(shift > 500 for shift in drawn) == pytest.approx(50, abs=20)
    # runs of one length rotate each for itself
    runs = torch.arange(1200) // 300
    moves = shift_moves(1200, groups=runs, n_moves=200, seed=3)
    first, second = (shifts_of(moves, (runs == run).nonzero()[:, 0]) for run in (0, 1))
    assert np.mean(np.array(first) == np.array(second)) < 0.1


@pytest.mark.parametrize("lengths", [(20,), (21,), (20, 15)])
def test_turned_phases_keep_spectra_and_correlations_between_rois(lengths):
    groups = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    Y = 3 + normal(len(groups), 2)
    surrogates = turn_phases(Y, phase_moves(len(Y), groups=groups, n_moves=400), groups)
    for label in range(len(lengths)):
        rows = groups == label
        spectrum, turned = (torch.fft.fft(series, dim=-2) for series in (Y[rows], surrogates[:, rows]))
        torch.testing.assert_close(turned.abs(), spectrum.abs().expand_as(turned))
        cross = spectrum[:, 0] * spectrum[:, 1].conj()
        torch.testing.assert_close(turned[..., 0] * turned[..., 1].conj(), cross.expand(400, -1))
        # phases are uniform and those of a mirrored frequency opposite
        assert turned[:, 1, 0].angle().cos().mean().abs() < 0.18  # five standard errors
        torch.testing.assert_close(turned[:, 1], turned[:, -1].conj())
    assert not torch.allclose(surrogates[0], surrogates[1])
    Y[3, 0] = nan
    with pytest.raises(ValueError, match="Y"):
        turn_phases(Y, phase_moves(len(Y), n_moves=1))


@pytest.mark.parametrize("n", [20, 21])
def test_phases_are_drawn_for_every_frequency_but_the_mean(n):
    angles = phase_moves(2 * n, groups=torch.arange(2 * n) // n, n_moves=300)
    for run in angles.split(n, dim=1):
        inside = run[:, 1 : (n + 1) // 2]
        assert inside.cos().mean(0).abs().max() < 5 / (2 * 300) ** 0.5
        assert inside.sin().mean(0).abs().max() < 5 / (2 * 300) ** 0.5
        assert not run[:, 0].any()
        assert not run[:, n // 2 + 1 :].any()
        if n % 2 == 0:  # the fastest is real: as it was, or upside down
            assert sorted(set(run[:, n // 2].tolist())) == pytest.approx([0, np.pi])
    assert not torch.equal(angles[:, :n], angles[:, n:])


def test_blocks_of_every_run_change_places_for_themselves():
    moves = block_moves(24, groups=torch.arange(24) // 12, n_moves=200, block_length=3)
    first, second = moves.split(12, dim=1)
    assert (first == second - 12).all(1).double().mean() < 0.2  # 1 in 24 by chance


def test_block_moves_permute_whole_blocks():
    moves = block_moves(10, n_moves=500, block_length=4)
    orders = {tuple(move) for move in moves.tolist()}
    first, second, last = (0, 1, 2, 3), (4, 5, 6, 7), (8, 9)
    assert orders == {
        a + b + c
        for a in (first, second, last)
        for b in (first, second, last)
        for c in (first, second, last)
        if len({a, b, c}) == 3
    }
    singles = block_moves(6, groups=torch.tensor([0, 1, 0, 1, 0, 1]), n_moves=50)
    assert (singles % 2 == torch.tensor([0, 1, 0, 1, 0, 1])).all()
    with pytest.raises(ValueError, match="at least two blocks"):
        block_moves(10, block_length=10)
    with pytest.raises(ValueError, match="a run of one row does not allow: give longer runs"):
        block_moves(4, groups=torch.tensor([0, 0, 0, 1]))


@pytest.mark.parametrize("missing", [False, True])
def test_fixed_nulls_match_plain_loops(missing):
    preds, Y = normal(43, 3), normal(43, 3, seed=1)
    fold = torch.tensor([-1] * 3 + [0] * 18 + [1] * 22)
    if missing:
        Y[10:14, 1] = nan
    nulls = {
        "shift": circular_shift_null(preds, Y, fold, n_permutations=20, seed=5),
        "block": block_permutation_null(preds, Y, fold, n_permutations=20, block_length=4, seed=5),
    }
    moves = {
        "shift": shift_moves(40, groups=fold[3:], n_moves=20, seed=5) + 3,
        "block": block_moves(40, groups=fold[3:], n_moves=20, block_length=4, seed=5) + 3,
    }
    for name, null in nulls.items():
        for m, move in enumerate(moves[name]):
            for k in range(3):
                rs = []
                for label in (0, 1):
                    rows = (fold == label).nonzero()[:, 0]
                    moved = Y[move[rows - 3], k]
                    seen = ~moved.isnan()
                    rs.append(pearsonr(preds[rows, k][seen], moved[seen])[0])
                assert null[m, k].item() == pytest.approx(np.mean(rs))


def test_fixed_null_rotates_whole_runs_where_folds_are_parts_of_one():
    preds, Y, fold = normal(43, 2), normal(43, 2, seed=1), torch.tensor([-1] * 3 + [0] * 18 + [1] * 22)
    null = circular_shift_null(preds, Y, fold, groups=torch.zeros(43))
    assert len(null) == 39
    for m, shift in enumerate(range(1, 40)):
        moved = np.roll(Y[3:].numpy(), shift, axis=0)
        rs = [pearsonr(preds[3:][rows, 0], moved[rows, 0])[0] for rows in (slice(18), slice(18, None))]
        assert null[m, 0].item() == pytest.approx(np.mean(rs))


def test_fixed_null_of_a_constant_is_nan():
    preds, Y, fold = normal(40, 2), normal(40, 2, seed=1), torch.arange(40) // 20
    preds[:20, 0] = 1.5
    null = circular_shift_null(preds, Y, fold, n_permutations=9)
    assert null[:, 0].isnan().all()
    assert permutation_p(torch.tensor([nan, 0.3]).double(), null).isnan().tolist() == [True, False]


def test_permutation_p_counts():
    null = torch.tensor([[0.1, 0.5], [0.2, 0.5], [0.3, 0.5]])
    torch.testing.assert_close(permutation_p(torch.tensor([0.2, 0.6]), null), torch.tensor([0.75, 0.25]))
    null[1, 0] = nan  # a copy that could not be scored is no copy that scored less
    assert permutation_p(torch.tensor([0.2, 0.6]), null).isnan().tolist() == [True, False]
    assert permutation_p(torch.tensor([0.2, nan]), null).isnan().all()
    with pytest.raises(ValueError, match="at least one permutation"):
        permutation_p(torch.zeros(2), torch.zeros(0, 2))
