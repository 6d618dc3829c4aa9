"""Distances between models and their pictures: PCA and classical scaling."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_distances, check_finite, check_option, check_shape

__all__ = ["DistanceMetric", "MDSResult", "PCAResult", "distances", "gram_from_distances", "mds", "pca"]

DistanceMetric = Literal["euclidean", "correlation", "cosine"]


class PCAResult(NamedTuple):
    """Principal components of M models.

    Attributes:
        coordinates: (M, K) scores of the models.
        explained: (K,) share of variance, in [0, 1], falling.
        components: (K, R) orthonormal ROI patterns.
    """

    coordinates: Tensor
    explained: Tensor
    components: Tensor


class MDSResult(NamedTuple):
    """Classical scaling of M models.

    Attributes:
        coordinates: (M, K).
        eigenvalues: (M,) of the doubly centered Gram, falling; negative ones measure how far the distances
            are from Euclidean.
    """

    coordinates: Tensor
    eigenvalues: Tensor


def distances(V: Tensor, metric: DistanceMetric = "euclidean") -> Tensor:
    """Return distances between rows.

    Args:
        V: (M, R) one vector per model.
        metric: ``"euclidean"``; ``"correlation"``, 1 - Pearson r over ROIs, blind to a model's level and
            range; ``"cosine"``, 1 - cosine, blind to its scale.

    Returns:
        (M, M) float64, symmetric, zero on the diagonal. A row without variance (``correlation``) or without
        length (``cosine``) has NaN distances, with a warning.

    Raises:
        ValueError: `V` is no finite matrix or the metric is unknown.

    Example:
        >>> distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        tensor([[0., 5.],
                [5., 0.]], dtype=torch.float64)
    """
    check_shape("V", V, "M R")
    check_finite("V", V)
    check_option("metric", metric, get_args(DistanceMetric))
    wide = V.to(torch.float64)
    if metric == "euclidean":
        # the matrix-product shortcut loses close pairs to cancellation
        result = torch.cdist(wide, wide, compute_mode="donot_use_mm_for_euclid_dist")
        return (result + result.T) / 2
    constant = (wide == wide[:, :1]).all(1) if metric == "correlation" else (wide == 0).all(1)
    if bool(constant.any()):
        rows = constant.nonzero().squeeze(1).tolist()
        warnings.warn(f"Rows {rows} of V are constant: their {metric} distances are NaN.", stacklevel=2)
    if metric == "correlation":
        wide = wide - wide.mean(1, keepdim=True)
    unit = wide / wide.norm(dim=1, keepdim=True)
    unit[constant] = float("nan")
    # half the squared chord: never below zero, and exact for rows that agree
    chord = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
    result = (chord + chord.T) ** 2 / 8
    return result.fill_diagonal_(0)


def pca(V: Tensor, n_components: int | None = None) -> PCAResult:
    """Return principal components of the rows, each ROI centered.

    A component's sign is arbitrary; here its largest loading (by size, the first on a tie) is positive, so
    the picture does not flip between machines.

    Args:
        V: (M, R) one vector per model, M >= 2.
        n_components: K, at most min(M - 1, R), which is the default.

    Returns:
        `PCAResult` in float64. Without variance the shares are NaN, with a warning.

    Raises:
        ValueError: `V` is no finite matrix of at least two rows, or holds fewer than K components.

    Example:
        >>> result = pca(torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]))
        >>> round(result.explained[0].item(), 6)
        1.0
    """
    check_shape("V", V, "M R")
    check_finite("V", V)
    most = min(len(V) - 1, V.shape[1])
    n_components = most if n_components is None else n_components
    if not 1 <= n_components <= most:
        raise InputError(
            f"n_components must lie between 1 and min(M - 1, R) = {most}, got {n_components}: {len(V)} "
            f"models and {V.shape[1]} ROIs hold no more."
        )
    wide = V.to(torch.float64)
    centered = wide - wide.mean(0)
    U, S, Vh = torch.linalg.svd(centered, full_matrices=False)
    leading = Vh.abs().argmax(dim=1, keepdim=True)
    signs = Vh.gather(1, leading).sign()
    total = (S**2).sum()
    if total == 0:
        warnings.warn(
            "The models do not differ: PCA has no variance to explain, shares are NaN.", stacklevel=2
        )
    shares = (S**2 / total)[:n_components]
    coordinates = (U * S * signs.squeeze(1))[:, :n_components]
    return PCAResult(coordinates, shares, (Vh * signs)[:n_components])


def mds(distances: Tensor, n_components: int = 2) -> MDSResult:
    """Place models so that Euclidean distances resemble the given ones (classical scaling).

    Args:
        distances: (M, M) symmetric, zero on the diagonal.
        n_components: K, at most M; axes beyond the positive eigenvalues are zero.

    Returns:
        `MDSResult` in float64; on Euclidean distances of V the coordinates are those of PCA up to sign, and
        each axis has its largest entry positive.

    Raises:
        ValueError: no distance matrix, or K out of range.

    Reference:
        Gower (1966), Biometrika 53, 325-338, doi:10.1093/biomet/53.3-4.325.

    Example:
        >>> D = torch.tensor([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]])
        >>> mds(D, 1).coordinates.squeeze().diff().abs()
        tensor([1.0000, 2.0000], dtype=torch.float64)
    """
    wide = check_distances(distances)
    if not 1 <= n_components <= len(distances):
        raise InputError(f"n_components must lie between 1 and M = {len(distances)}, got {n_components}.")
    values, vectors = torch.linalg.eigh(gram_from_distances(wide))
    values, vectors = values.flip(0), vectors.flip(1)[:, :n_components]
    signs = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()
    return MDSResult(vectors * signs * values[:n_components].clamp(min=0).sqrt(), values)


def gram_from_distances(distances: Tensor, positive: bool = False) -> Tensor:
    """Return the doubly centered Gram (M, M) of a distance matrix; `positive` drops negative directions."""
    squared = -0.5 * distances**2
    gram = squared - squared.mean(0) - squared.mean(1, keepdim=True) + squared.mean()
    if not positive:
        return gram
    values, vectors = torch.linalg.eigh(gram)
    kept: Tensor = (vectors * values.clamp(min=0)) @ vectors.T
    return kept
