"""Time: haemodynamic and finite-impulse operators, drifts, confounds."""

import numpy as np
import pytest
import torch
from nilearn.glm.first_level import compute_regressor, glover_hrf, spm_hrf
from nilearn.glm.first_level.design_matrix import create_cosine_drift

from nfas_lightning.functional.hrf import HRF_LENGTH, hrf, hrf_integral
from nfas_lightning.functional.temporal import fir_operators, high_pass_basis, hrf_operator, regress_out

TR = 2.0
TIMES = TR * torch.arange(60, dtype=torch.float64)


def relative(value, expected):
    return np.abs(value - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(("kind", "oracle"), [("spm", spm_hrf), ("glover", glover_hrf)])
def test_hrf_matches_nilearn(kind, oracle):
    steps = 2000  # nilearn's kernel starts one step late, so it needs a fine grid
    expected = oracle(TR, oversampling=steps) * steps / TR
    times = torch.linspace(0, HRF_LENGTH, len(expected), dtype=torch.float64)
    # SPM's undershoot is 1/6 of the peak; nilearn rounds it to 0.167
    assert relative(hrf(times, kind).numpy(), expected) < 2e-3


@pytest.mark.parametrize("kind", ["spm", "glover"])
def test_integral_is_the_area_under_the_hrf(kind):
    times = torch.linspace(0, 40, 40001, dtype=torch.float64)
    area = torch.cumulative_trapezoid(hrf(times, kind), times)
    torch.testing.assert_close(hrf_integral(times[1:], kind), area, atol=2e-6, rtol=0)
    assert hrf_integral(torch.tensor([-1.0, 0.0, 32.0, 99.0]), kind).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("kind", ["spm", "glover"])
@pytest.mark.parametrize(("durations", "tolerance"), [([3.0, 1.0, 20.0], 2e-2), ([0.0, 0.0, 0.0], 2e-2)])
def test_operator_converges_to_nilearn_regressor(kind, durations, tolerance):
    onsets, weights = [4.0, 21.3, 50.0], [1.0, -2.0, 0.5]
    errors = []
    for steps in (20, 200):
        expected, _ = compute_regressor(
            np.array([onsets, durations, weights]), kind, TIMES.numpy(), oversampling=steps, min_onset=-24
        )
        # nilearn gives an impulse the area of one grid step; here its area is one second
        scale = steps / TR if max(durations) == 0 else 1
        A = hrf_operator(
            torch.tensor(onsets).double(), TIMES, tr=TR, durations=torch.tensor(durations).double(), hrf=kind
        )
        errors.append(relative((A @ torch.tensor(weights).double()).numpy(), expected[:, 0] * scale))
    assert errors[1] < tolerance
    assert errors[1] < errors[0] / 3, "a finer grid must bring nilearn nearer to the closed form"


def test_planted_impulse_peaks_five_seconds_later():
    times = 0.1 * torch.arange(600)
    A = hrf_operator(torch.tensor([10.0]), times, tr=0.1).to_dense()[:, 0]
    assert times[A.argmax()].item() == pytest.approx(15.0, abs=0.1)
    assert not A[times <= 10.0].any()


def test_amplitude_convention():
    block = hrf_operator(torch.tensor([0.0]), TIMES, tr=TR, durations=torch.tensor([60.0])).to_dense()[:, 0]
    assert block[17:30].sub(1).abs().max() < 1e-6  # a long boxcar levels off at 1
    short = hrf_operator(torch.tensor([0.0]), TIMES, tr=TR, durations=torch.tensor([1e-3])).to_dense()
    impulse = hrf_operator(torch.tensor([0.0]), TIMES, tr=TR).to_dense()
    torch.testing.assert_close(short / 1e-3, impulse, atol=1e-3, rtol=0)  # the limit of a unit-area boxcar


def test_slice_time_reference_moves_the_sampling():
    onsets = torch.tensor([3.0, 8.0]).double()
    middle = hrf_operator(onsets, TIMES, tr=TR, slice_time_reference=0.5).to_dense()
    later = hrf_operator(onsets, TIMES + 0.5 * TR, tr=TR).to_dense()
    torch.testing.assert_close(middle, later)


def test_event_before_the_first_volume_still_answers():
    A = hrf_operator(torch.tensor([-5.0]).double(), TIMES, tr=TR).to_dense()[:, 0]
    torch.testing.assert_close(A[0], hrf(torch.tensor(5.0).double()))


@pytest.mark.parametrize("build", ["hrf", "average", "sum", "lanczos"])
def test_runs_never_leak(build):
    generator = torch.Generator().manual_seed(0)
    onsets, durations = 40 * torch.rand(20, generator=generator), torch.full((20,), 2.0)
    event_runs = torch.arange(20) % 2 + 5
    times, volume_runs = torch.cat([TIMES[:25]] * 2).float(), torch.arange(50) // 25 + 5
    shuffle = torch.randperm(50, generator=generator)

    def operator(onsets, times, durations, **runs):
        if build == "hrf":
            return hrf_operator(onsets, times, tr=TR, durations=durations, **runs).to_dense()
        operators = fir_operators(onsets, times, tr=TR, resample=build, **runs)
        return torch.cat([A.to_dense() for A in operators], 1)

    both = operator(onsets, times, durations, event_runs=event_runs, volume_runs=volume_runs)
    copies = both.shape[1] // 20
    for run in (5, 6):
        mine, rows = event_runs == run, volume_runs == run
        alone = operator(onsets[mine], times[rows], durations[mine])
        assert alone.any()
        torch.testing.assert_close(both[rows][:, mine.repeat(copies)], alone)
        assert not both[rows][:, ~mine.repeat(copies)].any()
    # volumes may come in any order
    moved = operator(
        onsets, times[shuffle], durations, event_runs=event_runs, volume_runs=volume_runs[shuffle]
    )
    torch.testing.assert_close(moved, both[shuffle])


@pytest.mark.parametrize("resample", ["average", "sum"])
def test_fir_matches_a_plain_loop(resample):
    generator = torch.Generator().manual_seed(1)
    onsets = 110 * torch.rand(80, generator=generator).double()
    features = torch.randn(80, 3, generator=generator).double()
    for delay, A in zip(
        (0, 1, 3), fir_operators(onsets, TIMES, tr=TR, delays=(0, 1, 3), resample=resample), strict=True
    ):
        expected = torch.zeros(60, 3).double()
        for t in range(60):
            inside = [n for n in range(80) if (t - delay) * TR <= onsets[n] < (t - delay + 1) * TR]
            if inside:
                expected[t] = features[inside].sum(0) / (len(inside) if resample == "average" else 1)
        torch.testing.assert_close(A @ features, expected)


@pytest.mark.parametrize("resample", ["average", "sum"])
def test_fir_counts_an_event_for_the_seconds_that_lie_in_a_tr(resample):
    rng = np.random.default_rng(1)
    onsets = torch.from_numpy(np.sort(rng.uniform(-3, 118, 80)))
    durations = torch.from_numpy(rng.uniform(0.1, 5, 80))
    durations[::9] = 0.0
    features = torch.from_numpy(rng.normal(size=(80, 3)))
    for delay, A in zip(
        (0, 2),
        fir_operators(onsets, TIMES, tr=TR, delays=(0, 2), durations=durations, resample=resample),
        strict=True,
    ):
        expected = torch.zeros(60, 3).double()
        for t in range(60):
            begin, end, weights = (t - delay) * TR, (t - delay + 1) * TR, torch.zeros(80).double()
            for n, (onset, duration) in enumerate(zip(onsets.tolist(), durations.tolist(), strict=True)):
                shared = min(onset + duration, end) - max(onset, begin)
                weights[n] = max(shared, 0.0) if duration else float(begin <= onset < end)
            scale = weights.sum() if resample == "average" and weights.sum() else 1
            expected[t] = weights @ features / scale
        torch.testing.assert_close(A @ features, expected, atol=1e-4, rtol=0)


def test_fir_does_not_take_rounding_for_a_part_of_an_event():
    tr = 0.7
    onsets = torch.tensor([0.7 * k for k in range(9)]).double()
    times = torch.arange(10).double() * 0.7
    (A,) = fir_operators(onsets, times, tr=tr, delays=(0,), durations=torch.full((9,), 0.7).double())
    torch.testing.assert_close(A.to_dense()[:9], torch.eye(9).double(), atol=1e-5, rtol=0)
    assert not A.to_dense()[9].any()


def test_lanczos_takes_an_event_by_its_middle():
    onsets, durations = torch.tensor([4.0, 9.0]).double(), torch.tensor([3.0, 0.5]).double()
    (A,) = fir_operators(onsets, TIMES, tr=TR, delays=(0,), durations=durations, resample="lanczos")
    (B,) = fir_operators(onsets + durations / 2, TIMES, tr=TR, delays=(0,), resample="lanczos")
    torch.testing.assert_close(A.to_dense(), B.to_dense() * durations)


def test_fir_keeps_onsets_on_a_volume_in_its_own_tr():
    tr = 0.7  # 3 * 0.7 is not 2.1 in binary
    onsets = torch.tensor([0.7 * k for k in range(9)]).double()
    times = torch.arange(9).double() * 0.7
    (A,) = fir_operators(onsets, times, tr=tr, delays=(0,))
    assert torch.equal(A.to_dense(), torch.eye(9).double())


def test_lanczos_matches_a_plain_loop_and_keeps_a_slow_wave():
    onsets = torch.arange(0, 120, 0.25).double()
    (A,) = fir_operators(onsets, TIMES, tr=TR, delays=(0,), resample="lanczos")
    dense = A.to_dense()
    for t, n in ((10, 83), (10, 70), (30, 240), (5, 100)):
        u = (TIMES[t].item() + TR / 2 - onsets[n].item()) / TR
        expected = np.sinc(u) * np.sinc(u / 3) if abs(u) < 3 else 0.0
        assert dense[t, n].item() == pytest.approx(expected, abs=1e-5)
    slow, fast = torch.sin(2 * torch.pi * onsets / 40), torch.sin(2 * torch.pi * onsets / 0.9)
    center = TIMES[5:-5] + TR / 2
    torch.testing.assert_close(
        (A @ slow)[5:-5] / 8, torch.sin(2 * torch.pi * center / 40), atol=0.02, rtol=0
    )  # eight events a TR
    assert (A @ fast)[5:-5].abs().max() / 8 < 0.05


def test_lanczos_delays_look_back():
    onsets = torch.arange(0, 120, 0.7).double()
    now, later = fir_operators(onsets, TIMES, tr=TR, delays=(0, 3), resample="lanczos")
    torch.testing.assert_close(later.to_dense()[3:], now.to_dense()[:-3], atol=1e-5, rtol=0)


def test_dtypes_and_sparsity():
    A = hrf_operator(torch.tensor([1, 3]), torch.arange(5), tr=1.0)
    assert A.is_sparse
    assert A.dtype == torch.float32
    assert hrf_operator(torch.tensor([1.0]).double(), TIMES, tr=TR).dtype == torch.float64
    empty = hrf_operator(torch.zeros(0), TIMES, tr=TR)
    assert empty.shape == (60, 0)
    assert not fir_operators(torch.tensor([999.0]), TIMES, tr=TR)[0].to_dense().any()


@pytest.mark.parametrize(("n", "tr", "cutoff"), [(100, 2.0, 1 / 128), (362, 1.5, 0.01), (400, 0.5, 1 / 60)])
def test_high_pass_matches_nilearn(n, tr, cutoff):
    expected = create_cosine_drift(cutoff, np.arange(n) * tr)[:, :-1]
    assert np.abs(high_pass_basis(n, tr, cutoff).numpy() - expected).max() < 1e-6


def test_high_pass_edges():
    assert high_pass_basis(10, 2.0).shape == (10, 0)  # 20 s hold no 128 s wave
    assert high_pass_basis(8, 2.0, 10.0).shape == (8, 7)
    assert high_pass_basis(96, 2.0, 1 / 128).shape == (96, 3)  # a whole number of half waves counts
    assert high_pass_basis(350, 0.7, 1 / 70).shape == (350, 7)  # and does where 7 rounds to 6.99...
    with pytest.raises(ValueError, match="must be positive, got 0"):
        high_pass_basis(0, 2.0)


def test_regress_out_matches_least_squares_by_run_and_around_nan():
    generator = torch.Generator().manual_seed(2)
    Y = torch.randn(3, 50, 4, generator=generator).double()
    C = torch.randn(50, 2, generator=generator).double()
    runs = torch.arange(50) // 20
    Y[1, [3, 30], 2] = torch.nan
    cleaned = regress_out(Y, C, runs)
    for s in range(3):
        for k in range(4):
            for run in range(3):
                rows = (runs == run) & ~Y[s, :, k].isnan()
                design = np.column_stack([np.ones(int(rows.sum())), C[rows]])
                y = Y[s, rows, k].numpy()
                expected = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
                np.testing.assert_allclose(cleaned[s, rows, k].numpy(), expected, atol=1e-12)
    assert torch.equal(cleaned.isnan(), Y.isnan())


def test_regress_out_survives_redundant_and_tiny_confounds():
    t = torch.linspace(-1, 1, 40).double()[:, None]
    Y = torch.randn(40, 2, generator=torch.Generator().manual_seed(3)).double()
    for unit in (1e-9, 1e-20, 1e20):
        confounds = torch.cat([t, unit * t**2, 3 * t + 7, torch.ones_like(t), 0 * t], 1)
        torch.testing.assert_close(regress_out(Y, confounds), regress_out(Y, torch.cat([t, t**2], 1)))
    assert regress_out(Y.float(), confounds).dtype == torch.float32
    torch.testing.assert_close(regress_out(Y, torch.zeros(40, 0)), Y - Y.mean(0))


def test_errors_say_what_to_do():
    onsets = torch.tensor([1.0])
    with pytest.raises(ValueError, match="give both, or neither"):
        hrf_operator(onsets, TIMES, tr=TR, event_runs=torch.zeros(1))
    with pytest.raises(ValueError, match="durations must be 0 or more seconds, got -1"):
        hrf_operator(onsets, TIMES, tr=TR, durations=torch.tensor([-1.0]))
    with pytest.raises(ValueError, match="hrf must be one of 'spm', 'glover', got 'fir'"):
        hrf_operator(onsets, TIMES, tr=TR, hrf="fir")
    with pytest.raises(ValueError, match="tr must be a positive number"):
        fir_operators(onsets, TIMES, tr=0)
    with pytest.raises(ValueError, match="each once, got \\(1, 1\\)"):
        fir_operators(onsets, TIMES, tr=TR, delays=(1, 1))
    with pytest.raises(ValueError, match="slice_time_reference must lie in"):
        hrf_operator(onsets, TIMES, tr=TR, slice_time_reference=2)
    with pytest.raises(ValueError, match=r"Y must have shape \(\.\.\., T=5, R\), got \(4, 2\)"):
        regress_out(torch.zeros(4, 2), torch.zeros(5, 1))


def test_a_constant_series_leaves_zeros_and_no_rounding():
    confounds = torch.randn(80, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    Y = torch.full((80, 3), 0.1, dtype=torch.float64) * torch.tensor([1.0, 1e8, -3.0])
    assert not regress_out(Y, confounds).any()
    assert not regress_out(Y.float(), confounds).any()
