"""Time: haemodynamic and finite-impulse operators, drifts, confounds."""

import numpy as np
import pytest
import torch
from nilearn.glm.first_level import compute_regressor

from nfas_lightning.functional.confounds import regress_out
from nfas_lightning.functional.hrf import hrf
from nfas_lightning.functional.temporal import fir_operators, hrf_operator

TR = 2.0
TIMES = TR * torch.arange(60, dtype=torch.float64)


def relative(value, expected):
    return np.abs(value - expected).max() / np.abs(expected).max()


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
