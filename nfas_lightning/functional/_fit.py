"""The three readings of a snapshot, fitted: `joint`, `per_stimulus`, `pooled`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nfas_lightning.functional._gram import (
    Centering,
    DepthStatistics,
    center_gram,
    chunks,
    depth_gram,
    depth_statistics,
    depths_without_variance,
    double_device,
    standardize,
    stimulus_grams,
    sum_over_stimuli,
    unit_moments,
)
from nfas_lightning.functional._spectrum import Spectrum, decompose, effective_rank
from nfas_lightning.functional.checks import check_finite

__all__ = ["Fit", "fit_joint", "fit_joint_zscore", "fit_per_stimulus", "fit_pooled"]

# A pooled mode that has decayed below this is not divided by lambda^l any more: it would only amplify noise.
_SMALLEST_POWER = 1e-6


class Fit(NamedTuple):
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


def check_gram(gram: Tensor, H: Tensor) -> None:
    """Raise if the Gram of `H` is not finite, and say where `H` is not.

    NaN and infinity reach the Gram, which is far smaller than `H`: nothing is read twice while all is well.
    """
    if not bool(torch.isfinite(gram.sum())):
        check_finite("H", H)
        raise ValueError("H must be small enough to be squared in float64: rescale it.")


def fit_joint(statistics: DepthStatistics, centering: Centering, svd_rank: float, exact: bool) -> Fit:
    """Decompose the whole stimulus set's trajectory in R^{N D}, from its additive statistics."""
    gram, mean, scale = center_gram(statistics, centering)
    n = statistics.n_stimuli
    spectrum = decompose(gram[None], n * statistics.sums.shape[1], svd_rank, exact)
    return Fit(spectrum, mean, scale, _dead_depths(gram.diagonal(), mean, scale, centering, n))


def fit_joint_zscore(H: Tensor, svd_rank: float, exact: bool) -> Fit:
    """Decompose the trajectory of z-scored units, which takes a second look at the states."""
    n, _, width = H.shape
    mean, scale = unit_moments(H)
    gram = depth_gram(H, mean, scale)
    check_gram(gram, H)
    spectrum = decompose(gram[None], n * width, svd_rank, exact)
    return Fit(spectrum, mean, scale, _dead_depths(gram.diagonal(), mean, scale, "zscore", n))


def fit_per_stimulus(H: Tensor, centering: Centering, svd_rank: float, exact: bool) -> Fit:
    """Decompose every stimulus's trajectory in R^D, all at once."""
    n, _, width = H.shape
    mean = scale = None
    if centering == "zscore":
        mean, scale = unit_moments(H)
    elif centering != "none":
        mean = sum_over_stimuli(H) / n
    grams = stimulus_grams(H, mean, scale)
    check_gram(grams, H)
    power = grams.diagonal(dim1=1, dim2=2).sum(dim=0)
    if centering == "scale":  # the Frobenius norms fall out of the Grams
        scale = power.sqrt()[:, None]
        inverse = torch.where(scale > 0, 1 / scale, 0)
        grams *= inverse * inverse.T
    spectrum = decompose(grams, width, svd_rank, exact)
    return Fit(spectrum, mean, scale, _dead_depths(power, mean, scale, centering, n))


def fit_pooled(H: Tensor, centering: Centering, svd_rank: float, exact: bool) -> Fit:
    """Fit one operator in R^D on the transitions of all stimuli, cut to the leading directions of all states.

    The mode coefficients are 1 / (count_j lambda_j^l): with them and the left eigenvectors a stimulus's
    coordinate is the mean over depth of its projections, each taken back to depth zero. Depths at which
    |lambda_j|^l has fallen below 1e-6 are left out of the mean.
    """
    n, depth, width = H.shape
    mean: Tensor | None
    scale: Tensor | None
    if centering == "zscore":
        mean, scale = unit_moments(H)
    else:
        _, mean, scale = center_gram(depth_statistics(H), centering)
    U, s = _leading_directions(H, mean, scale)
    ranks = effective_rank(s[None], width, n * (depth - 1), svd_rank)
    r = max(1, int(ranks))
    U, s = U[:, :r], s[:r]

    # One pass: x = U z, and Y V = sum y z^T S^-1 for Y ~ (Y V) S^-1 U^T X.
    Z = torch.empty(n, depth, r, dtype=torch.float64, device=U.device)
    YV = torch.zeros(width, r, dtype=torch.float64, device=U.device)
    squares = torch.zeros(depth, dtype=torch.float64, device=U.device)
    for part in chunks(H):
        states = standardize(H[part], mean, scale)
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
    coordinates = torch.einsum("nlr,rj,jl->nj", Z.cpu().to(left.dtype), left, weights)
    left = left * _turn_to_real(coordinates)
    amplitudes = coordinates.abs().square().mean(dim=0).sqrt()
    spectrum = Spectrum(eigenvalues[None], weights[None], amplitudes[None], error.cpu()[None], ranks.cpu())
    dead = _dead_depths(squares, mean, scale, centering, n)
    return Fit(spectrum, mean, scale, dead, U.to(left.dtype) @ left.to(U.device))


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
    power: Tensor, mean: Tensor | None, scale: Tensor | None, centering: Centering, n_stimuli: int
) -> Tensor:
    """Return the depths at which the stimuli do not differ; `power` counts where nothing is scaled."""
    if scale is not None and centering == "zscore":
        # each unit was judged beside its own mean: one unit of a huge mean must not hide the others
        return (scale == 0).all(dim=1).nonzero().flatten().cpu()
    if scale is not None:
        power = scale.square().sum(dim=1)
    return depths_without_variance(power, mean, n_stimuli)


def _leading_directions(H: Tensor, mean: Tensor | None, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return left singular vectors (D, K) and singular values (K,) of all but the last states.

    From the Gram of the smaller side: D x D, or transitions x transitions where D is larger.
    """
    n, depth, width = H.shape
    device = double_device(H.device)
    if width <= n * (depth - 1):
        gram = torch.zeros(width, width, dtype=torch.float64, device=device)
        for part in chunks(H):
            X = standardize(H[part], mean, scale)[:, :-1].flatten(0, 1)
            gram += X.T @ X
    else:
        X = standardize(H, mean, scale)[:, :-1].flatten(0, 1)
        gram = X @ X.T
    check_gram(gram, H)
    squares, vectors = torch.linalg.eigh(gram)
    s, vectors = squares.clamp(min=0).sqrt().flip(0), vectors.flip(1)
    if width > n * (depth - 1):
        vectors = X.T @ vectors * torch.where(s > 0, 1 / s, 0)
    return vectors, s
