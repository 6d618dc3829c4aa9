"""Dynamic Mode Decomposition over the depth of a network, and its stable mode."""

from __future__ import annotations

import warnings
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option, check_shape, double_device
from nfas_lightning.functional.depth_gram import (
    Centering,
    center_gram,
    check_gram,
    chunks,
    depth_gram,
    depth_statistics,
    has_no_variance,
    leading_directions,
    standardize_depths,
    stimulus_grams,
    sum_over_stimuli,
    unit_moments,
)
from nfas_lightning.functional.depth_modes import DMDResult, Operator, Phase, center_depths, combine_depths
from nfas_lightning.functional.gram_spectrum import (
    Criterion,
    Spectrum,
    check_svd_rank,
    choose_mode,
    decompose_gram,
    effective_rank,
    jump_rate,
    rank_for_depth,
)

__all__ = [
    "Centering",
    "Criterion",
    "DMDResult",
    "Operator",
    "Phase",
    "center_depths",
    "check_svd_rank",
    "combine_depths",
    "depth_gram",
    "dmd",
    "stable_mode",
]

# A pooled mode that has decayed below this is not divided by lambda^l any more: it would only amplify noise.
_SMALLEST_POWER = 1e-6


@torch.no_grad()
def dmd(
    H: Tensor,
    *,
    operator: Operator = "joint",
    svd_rank: int | float | None = None,
    centering: Centering = "scale",
    criterion: Criterion = "unit_circle",
    exact: bool = True,
    device: torch.device | None = None,
) -> DMDResult:
    r"""Decompose a depth trajectory into modes that rotate and grow from block to block.

    With snapshots X = [x_0 .. x_{L-2}] and Y = [x_1 .. x_{L-1}], X = U S V^T cut to `svd_rank`,

        A_r = U^T Y V S^-1,   A_r w_j = lambda_j w_j,   phi_j = Y V S^-1 w_j / lambda_j,

    all from the L x L Gram over depth, accumulated in float64. Half precision counts as float32; float32
    loses nothing here. The Gram squares the condition number: directions below sqrt((L - 1) eps), about
    1e-7, of the largest singular value are dropped.

    Args:
        H: (N, L, D) depth trajectory: N stimuli, L >= 3 depths in the order of execution, D units.
        operator: what a snapshot is. ``"joint"``: the whole stimulus set at one depth, one spectrum per
            model. ``"per_stimulus"``: one decomposition per stimulus. ``"pooled"``: one D x D operator fitted
            on all N (L - 1) transitions.
        svd_rank: directions kept: a positive int, 0 (Gavish-Donoho), a float in (0, 1) (energy), -1 (all).
            None: 2, the fewest that admit a rotation, or 1 below five depths, which have fewer than two
            transitions per direction. ``"pooled"``, with N (L - 1) transitions, keeps 2 at any depth.
        centering: per depth, over stimuli. ``"none"``; ``"center"``: the mean is subtracted; ``"scale"``: and
            the depth divided by its Frobenius norm; ``"zscore"``: each unit of each depth.
        criterion: the stable mode has the eigenvalue with modulus nearest 1 (``"unit_circle"``), nearest 1 +
            0j (``"unit"``), of largest modulus (``"dominant"``) or with the largest amplitude
            (``"amplitude"``). Ties by amplitude; a conjugate pair is one mode.
        exact: exact modes, or projected ones (U w_j).
        device: that does the work, `H` going there in chunks; None: that of `H`.

    Returns:
        The spectrum and the weights over depth. All NaN, with a warning, if stimuli do not differ at a depth
        (the CLS vector before the first block) or the first snapshot is zero.

    Raises:
        ValueError: L < 3, fewer than two stimuli where centering needs them, NaN or infinity, an unknown
            option.

    Reference:
        Schmid, Journal of Fluid Mechanics 656 (2010), doi:10.1017/S0022112010001217;
        Tu et al., Journal of Computational Dynamics 1 (2014), doi:10.3934/jcd.2014.1.391.

    Example:
        >>> turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
        >>> x = torch.randn(10, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> H = torch.stack([x @ torch.linalg.matrix_power(turn, l) for l in range(5)], dim=1)
        >>> result = dmd(H, centering="center")
        >>> result.eigenvalues.numpy().round(6)
        array([0.6+0.8j, 0.6-0.8j])
    """
    check_shape("H", H, "N L D")
    check_option("operator", operator, get_args(Operator))
    check_svd_rank(svd_rank)
    check_option("centering", centering, get_args(Centering))
    check_option("criterion", criterion, get_args(Criterion))
    if H.shape[1] < 3:
        raise InputError(
            f"H must hold L >= 3 depths for a decomposition, got L = {H.shape[1]}: record more blocks."
        )
    needed = 1 if centering == "none" else 2
    if len(H) < needed:
        raise InputError(
            f"centering={centering!r} needs N >= {needed} stimuli, got N = {len(H)}: give more stimuli"
            + (", or use centering='none'." if len(H) else ".")
        )
    if svd_rank is None:
        svd_rank = 2 if operator == "pooled" else rank_for_depth(H.shape[1])
    device = device or H.device
    fit = _FITS[operator](H, centering, svd_rank, exact, device)
    return _result(fit, operator, centering, criterion, device)


@torch.no_grad()
def stable_mode(
    H: Tensor,
    *,
    operator: Operator = "joint",
    svd_rank: int | float | None = None,
    criterion: Criterion = "unit_circle",
    phase: Phase = "quadrature",
    centering: Centering = "scale",
    exact: bool = True,
) -> Tensor:
    """Return the feature of each stimulus: its part of the trajectory's stable mode.

    `dmd`, then `combine_depths` on the same stimuli.

    Args:
        H: (N, L, D) depth trajectory.
        operator: see `dmd`, as for the other choices.
        svd_rank: directions kept.
        criterion: which mode is stable.
        phase: see `combine_depths`.
        centering: of each depth.
        exact: exact or projected modes.

    Returns:
        (N, 2 D) for a conjugate pair with ``phase="quadrature"``, else (N, D); (N, r) for
        ``operator="pooled"``. In the working dtype of `H`, on its device.

    Example:
        >>> H = torch.randn(8, 5, 3, generator=torch.Generator().manual_seed(0))
        >>> stable_mode(H, phase="real").shape
        torch.Size([8, 3])
    """
    result = dmd(
        H, operator=operator, svd_rank=svd_rank, centering=centering, criterion=criterion, exact=exact
    )
    return combine_depths(H, result, phase=phase)


class _Fit(NamedTuple):
    """A decomposition before its stable mode is chosen.

    Attributes:
        spectrum: B = 1 for `joint` and `pooled`, B = N for `per_stimulus`.
        mean: (L, D) or None.
        scale: (L, 1), (L, D) or None.
        dead: indices of depths at which the stimuli do not differ.
        left_vectors: (D, r) for `pooled`.
    """

    spectrum: Spectrum
    mean: Tensor | None
    scale: Tensor | None
    dead: Tensor
    left_vectors: Tensor | None = None


def _fit_joint(H: Tensor, centering: Centering, svd_rank: float, exact: bool, device: torch.device) -> _Fit:
    """Decompose the whole stimulus set's trajectory in R^{N D}."""
    n, _, width = H.shape
    mean: Tensor | None
    scale: Tensor | None
    if centering == "zscore":
        mean, scale = unit_moments(H, device)
        gram = depth_gram(H, mean, scale, device)
    else:
        gram, mean, scale = center_gram(*depth_statistics(H, device=device), n, centering)
    check_gram(gram, H)
    spectrum = decompose_gram(gram[None], n * width, svd_rank, exact)
    return _Fit(spectrum, mean, scale, _dead_depths(gram.diagonal(), mean, scale, centering, n))


def _fit_per_stimulus(
    H: Tensor, centering: Centering, svd_rank: float, exact: bool, device: torch.device
) -> _Fit:
    """Decompose every stimulus's trajectory in R^D, all at once."""
    n, _, width = H.shape
    mean = scale = None
    if centering == "zscore":
        mean, scale = unit_moments(H, device)
    elif centering != "none":
        mean = sum_over_stimuli(H, device) / n
    grams = stimulus_grams(H, mean, scale, device)
    check_gram(grams, H)
    power = grams.diagonal(dim1=1, dim2=2).sum(dim=0)
    if centering == "scale":  # the Frobenius norms fall out of the Grams
        scale = power.sqrt()[:, None]
        inverse = torch.where(scale > 0, 1 / scale, 0)
        grams *= inverse * inverse.T
    spectrum = decompose_gram(grams, width, svd_rank, exact)
    return _Fit(spectrum, mean, scale, _dead_depths(power, mean, scale, centering, n))


def _fit_pooled(H: Tensor, centering: Centering, svd_rank: float, exact: bool, device: torch.device) -> _Fit:
    """Fit one operator in R^D on the transitions of all stimuli, cut to the leading directions of all states.

    The mode coefficients are 1 / (count_j lambda_j^l): with them and the left eigenvectors a stimulus's
    coordinate is the mean over depth of its projections, each taken back to depth zero. Depths at which
    |lambda_j|^l has fallen below 1e-6 are left out of the mean.
    """
    n, depth, width = H.shape
    mean: Tensor | None
    scale: Tensor | None
    if centering == "zscore":
        mean, scale = unit_moments(H, device)
    else:
        _, mean, scale = center_gram(*depth_statistics(H, device=device), n, centering)
    U, s = leading_directions(H, mean, scale, device)
    ranks = effective_rank(s[None], width, n * (depth - 1), svd_rank)
    r = max(1, int(ranks))
    U, s = U[:, :r], s[:r]

    # One pass: x = U z, and Y V = sum y z^T S^-1 for Y ~ (Y V) S^-1 U^T X.
    Z = torch.empty(n, depth, r, dtype=torch.float64, device=U.device)
    YV = torch.zeros(width, r, dtype=torch.float64, device=U.device)
    squares = torch.zeros(depth, dtype=torch.float64, device=U.device)
    for part in chunks(H, device):
        states = standardize_depths(H[part], mean, scale, device)
        Z[part] = states @ U
        YV += states[:, 1:].flatten(0, 1).T @ Z[part][:, :-1].flatten(0, 1)
        squares += states.square().sum(dim=(0, 2))
    YV /= s
    A = ((U.T @ YV) / s).cpu()
    explained = (YV if exact else U.T @ YV).square().sum()
    error = ((squares[1:].sum() - explained).clamp(min=0) / squares[1:].sum()).sqrt()

    eigenvalues, W = torch.linalg.eig(A)
    left = torch.linalg.pinv(W).mT  # columns y_j with y_j^T A = lambda_j y_j^T and y_j^T w_j = 1
    powers = eigenvalues[:, None] ** torch.arange(depth)
    usable = powers.abs() >= _SMALLEST_POWER
    weights = torch.where(usable, 1 / powers, 0) / usable.sum(dim=1, keepdim=True)
    small = (left.to(Z.device), weights.to(Z.device))
    coordinates = torch.einsum("nlr,rj,jl->nj", Z.to(left.dtype), *small)
    left = left * _turn_to_real(coordinates).cpu()
    amplitudes = coordinates.abs().square().mean(dim=0).sqrt().cpu()
    spectrum = Spectrum(eigenvalues[None], weights[None], amplitudes[None], error.cpu()[None], ranks.cpu())
    dead = _dead_depths(squares, mean, scale, centering, n)
    return _Fit(spectrum, mean, scale, dead, U.to(left.dtype) @ left.to(U.device))


def _result(
    fit: _Fit, operator: Operator, centering: Centering, criterion: Criterion, device: torch.device
) -> DMDResult:
    """Choose the stable mode, and turn what has none into NaN with a warning."""
    eigenvalues, coefficients, amplitudes, error, ranks = fit.spectrum
    lost = ~(amplitudes.amax(dim=1) > 0)
    if len(fit.dead):
        lost[:] = True
        warnings.warn(
            f"All stimuli have the same state at depth {fit.dead.tolist()}, so there is nothing to decompose "
            "and the result is NaN: leave those layers out, or pool them differently.",
            RuntimeWarning,
            stacklevel=4,
        )
    elif bool(lost.any()):
        warnings.warn(
            f"The first snapshot of {int(lost.sum())} of {len(lost)} trajectories has no part in any mode "
            "(it is zero, or the trajectory is), and their result is NaN: leave the first layer out, or "
            "center the depths.",
            RuntimeWarning,
            stacklevel=4,
        )
    chosen = choose_mode(eigenvalues, amplitudes, criterion)
    jumps = None
    if operator == "per_stimulus":
        jumps = jump_rate(eigenvalues[~lost], chosen[~lost]) if not bool(lost.all()) else float("nan")
    eigenvalues = eigenvalues.masked_fill(lost[:, None], torch.nan)
    amplitudes = amplitudes.masked_fill(lost[:, None], torch.nan)
    coefficients = coefficients.masked_fill(lost[:, None, None], torch.nan)
    error = error.masked_fill(lost, torch.nan)
    home = double_device(device)
    index = ... if operator == "per_stimulus" else 0
    return DMDResult(
        operator=operator,
        centering=centering,
        criterion=criterion,
        svd_rank=int(ranks.max()),
        eigenvalues=eigenvalues[index].to(home),
        amplitudes=amplitudes[index].to(home),
        mode_coefficients=coefficients[index].to(home),
        stable_index=chosen[index].to(home),
        reconstruction_error=error[index].to(home),
        mean=fit.mean,
        scale=fit.scale,
        jump_rate=jumps,
        left_vectors=fit.left_vectors,
        dead=tuple(fit.dead.tolist()),
    )


def _turn_to_real(coordinates: Tensor) -> Tensor:
    """Return the phases (r,) that give coordinates (N, r) on eigenvectors as much of a real part as they can.

    An eigenvector's phase is free, and LAPACK's choice depends on the basis: on the order of the stimuli, on
    the device. Here the real and imaginary parts are left without a product, and the largest real part is
    positive.
    """
    turned = torch.polar(torch.ones_like(coordinates[0].real), -coordinates.square().sum(dim=0).angle() / 2)
    real = (coordinates * turned).real
    largest = real.gather(0, real.abs().argmax(dim=0, keepdim=True))[0]
    return torch.where(largest < 0, -turned, turned)


def _dead_depths(
    power: Tensor, mean: Tensor | None, scale: Tensor | None, centering: Centering, count: int
) -> Tensor:
    """Return the indices of depths at which the stimuli do not differ.

    `power` (L,) is the sum over stimuli and units of the squared centered states; it counts where nothing is
    scaled.
    """
    if mean is None:
        return torch.empty(0, dtype=torch.int64)
    if scale is not None and centering == "zscore":
        # each unit was judged beside its own mean: one unit of a huge mean must not hide the others
        return (scale == 0).all(dim=1).nonzero().flatten().cpu()
    if scale is not None:
        power = scale.square().sum(dim=1)
    total = power + count * mean.square().sum(dim=1)
    return has_no_variance(power, total).nonzero().flatten().cpu()


_FITS = {"joint": _fit_joint, "per_stimulus": _fit_per_stimulus, "pooled": _fit_pooled}
