"""Dynamic Mode Decomposition over the depth of a network, and its stable mode."""

from __future__ import annotations

import warnings
from typing import get_args

import torch
from torch import Tensor

from nfas_lightning.functional._combine import DMDResult, Operator, Phase, center_depths, combine_depths
from nfas_lightning.functional._fit import (
    Fit,
    check_gram,
    fit_joint,
    fit_joint_zscore,
    fit_per_stimulus,
    fit_pooled,
)
from nfas_lightning.functional._gram import (
    Centering,
    depth_gram,
    depth_statistics,
    double_device,
)
from nfas_lightning.functional._spectrum import (
    Criterion,
    check_svd_rank,
    choose_mode,
    jump_rate,
    rank_for_depth,
)
from nfas_lightning.functional.checks import check_option, check_shape

__all__ = [
    "Centering",
    "Criterion",
    "DMDResult",
    "Operator",
    "Phase",
    "center_depths",
    "combine_depths",
    "depth_gram",
    "dmd",
    "stable_mode",
]


@torch.no_grad()
def dmd(
    H: Tensor,
    *,
    operator: Operator = "joint",
    svd_rank: int | float | None = None,
    centering: Centering = "scale",
    criterion: Criterion = "unit_circle",
    exact: bool = True,
) -> DMDResult:
    r"""Decompose a depth trajectory into modes that turn and grow from block to block.

    With snapshots X = [x_0 .. x_{L-2}] and Y = [x_1 .. x_{L-1}], X = U S V^T cut to `svd_rank`,

        A_r = U^T Y V S^-1,   A_r w_j = lambda_j w_j,   phi_j = Y V S^-1 w_j / lambda_j,

    all from the L x L Gram over depth, accumulated in float64. Half precision counts as float32; float32
    loses nothing here. The Gram squares the condition number: directions below sqrt((L - 1) eps), about
    1e-7, of the largest singular value are dropped.

    Args:
        H: (N, L, D) depth trajectory: N stimuli, L >= 3 depths in the order of execution, D units.
        operator: what a snapshot is. ``"joint"``: the whole stimulus set at one depth, one spectrum a model.
            ``"per_stimulus"``: one decomposition a stimulus. ``"pooled"``: one D x D operator fitted on all
            N (L - 1) transitions.
        svd_rank: directions kept: a positive int, 0 (Gavish-Donoho), a float in (0, 1) (energy), -1 (all);
            None: 2, the fewest that turn, or 1 below five depths, which carry no more (two transitions for
            each direction). ``"pooled"``, which has N (L - 1) transitions, keeps 2 at any depth.
        centering: per depth, over stimuli. ``"none"``; ``"center"``: the mean off; ``"scale"``: then divided
            by the depth's Frobenius norm; ``"zscore"``: each unit of each depth.
        criterion: the stable mode has the eigenvalue with modulus nearest 1 (``"unit_circle"``), nearest 1 +
            0j (``"unit"``), of largest modulus (``"dominant"``) or with the largest amplitude
            (``"amplitude"``). Ties by amplitude; a conjugate pair is one mode.
        exact: exact modes, or projected ones (U w_j).

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
    _check_options(len(H), H.shape[1], svd_rank, centering, criterion)
    if svd_rank is None:
        svd_rank = 2 if operator == "pooled" else rank_for_depth(H.shape[1])
    if operator == "joint" and centering != "zscore":
        statistics = depth_statistics(H)
        check_gram(statistics.gram, H)
        fit = fit_joint(statistics, centering, svd_rank, exact)
    elif operator == "joint":
        fit = fit_joint_zscore(H, svd_rank, exact)
    elif operator == "per_stimulus":
        fit = fit_per_stimulus(H, centering, svd_rank, exact)
    else:
        fit = fit_pooled(H, centering, svd_rank, exact)
    return _result(fit, operator, centering, criterion, H.device)


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

    `dmd` and then `combine_depths` on the same stimuli; see both for the arguments.

    Args:
        H: (N, L, D) depth trajectory.
        operator: what a snapshot is.
        svd_rank: directions kept.
        criterion: which mode is stable.
        phase: both quadratures of a pair side by side, or twice the real part.
        centering: what is done to each depth first.
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


def _check_options(
    count: int, depth: int, svd_rank: int | float | None, centering: Centering, criterion: Criterion
) -> None:
    """Raise on options that no trajectory could satisfy, and on a trajectory too small for them."""
    check_svd_rank(svd_rank)
    check_option("centering", centering, get_args(Centering))
    check_option("criterion", criterion, get_args(Criterion))
    if depth < 3:
        raise ValueError(
            f"H must hold L >= 3 depths for a decomposition, got L = {depth}: record more blocks."
        )
    needed = 1 if centering == "none" else 2
    if count < needed:
        raise ValueError(
            f"centering={centering!r} needs N >= {needed} stimuli, got N = {count}: give more stimuli"
            + (", or use centering='none'." if count else ".")
        )


def _result(
    fit: Fit, operator: Operator, centering: Centering, criterion: Criterion, device: torch.device
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
