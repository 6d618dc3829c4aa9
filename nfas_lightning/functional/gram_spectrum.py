"""Dynamic Mode Decomposition from Gram matrices over depth: nothing in this file sees a state.

With G = X^T X = V S^2 V^T the left singular vectors of the snapshots are U = X V S^-1, so every product the
decomposition needs is a product of V S^-1 with blocks of the Gram, and every mode a combination of snapshots.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from nfas_lightning.errors import InputError

__all__ = [
    "Criterion",
    "Spectrum",
    "check_svd_rank",
    "choose_mode",
    "decompose_gram",
    "effective_rank",
    "eigen_parts",
    "jump_rate",
    "rank_for_depth",
]

Criterion = Literal["unit_circle", "unit", "dominant", "amplitude"]

# Modes below this share of the largest amplitude, and distances closer than this, differ by rounding alone.
_ROUNDING = 1e-12
_TIE = 1e-9
# A thread costs as much as some tens of small eigendecompositions.
_PER_THREAD = 100
# An accelerator decomposes a batch of matrices up to 32 x 32 in one kernel, and larger ones one by one. Below
# 100 matrices LAPACK is faster than its launches. A kernel needs half a megabyte per matrix of any size.
_LARGEST_BATCHED, _LEAST_ON_DEVICE, _PER_KERNEL = 32, 100, 512


class Spectrum(NamedTuple):
    """Decompositions of a batch of B Grams, float64 or complex128.

    Attributes:
        eigenvalues: (B, r); of a pair the positive imaginary part comes first.
        mode_coefficients: (B, r, L); row j combines the snapshots into b_j phi_j.
        amplitudes: (B, r), the Frobenius norm of b_j phi_j.
        reconstruction_error: (B,), ||Y - A X|| / ||Y||.
        ranks: (B,), directions kept.
    """

    eigenvalues: Tensor
    mode_coefficients: Tensor
    amplitudes: Tensor
    reconstruction_error: Tensor
    ranks: Tensor


def check_svd_rank(svd_rank: int | float | None) -> None:
    """Raise unless `svd_rank` is None or follows PyDMD's convention."""
    whole = isinstance(svd_rank, int) and not isinstance(svd_rank, bool) and svd_rank >= -1
    share = isinstance(svd_rank, float) and 0 < svd_rank < 1
    if not (svd_rank is None or whole or share):
        raise InputError(
            "svd_rank must be a positive int (directions kept), 0 (Gavish-Donoho threshold), -1 (no cut), a "
            f"float in (0, 1) (energy kept) or None (2, or 1 below five depths), got {svd_rank!r}."
        )


def rank_for_depth(depth: int) -> int:
    """Return the default svd_rank of L depths: 2, the fewest that admit a rotation, or 1 below five depths.

    A direction needs two of the L - 1 transitions: with fewer, the operator follows the snapshots rather than
    what they have in common.
    """
    return max(1, min(2, (depth - 1) // 2))


def effective_rank(s: Tensor, n_rows: int, n_cols: int, svd_rank: int | float) -> Tensor:
    """Return how many of the descending singular values (B, K) to keep, (B,).

    Directions whose singular value lies below sqrt(K eps) of the largest are always dropped: they are what
    the square root of a Gram's rounding looks like.

    Reference:
        Gavish and Donoho, IEEE Transactions on Information Theory 60 (2014), doi:10.1109/TIT.2014.2323359.
    """
    s = s[:, : min(n_rows, n_cols)]
    floor = math.sqrt(s.shape[1] * torch.finfo(torch.float64).eps)
    numerical = ((s > floor * s[:, :1]) & (s > 0)).sum(dim=1)
    if svd_rank == 0:
        beta = min(n_rows, n_cols) / max(n_rows, n_cols)
        omega = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
        wanted = (s > omega * s.quantile(0.5, dim=1, keepdim=True)).sum(dim=1).clamp(min=1)
    elif svd_rank == -1:
        wanted = numerical
    elif svd_rank < 1:
        energy = s.square().cumsum(dim=1)
        wanted = (energy < svd_rank * energy[:, -1:]).sum(dim=1) + 1
    else:
        wanted = torch.full_like(numerical, int(svd_rank))
    return torch.minimum(wanted, numerical)


def decompose_gram(gram: Tensor, n_rows: int, svd_rank: int | float, exact: bool) -> Spectrum:
    """Decompose trajectories given by their Grams over depth.

    Args:
        gram: (B, L, L) float64.
        n_rows: length of a snapshot, which the Gavish-Donoho threshold depends on.
        svd_rank: PyDMD's convention.
        exact: modes from Y (exact DMD) or from X (projected DMD).

    Returns:
        The spectra, r = the largest rank in the batch. A trajectory of lower rank has zeros for the modes
        that it lacks. On the device of `gram` for a large batch, else on the CPU.
    """
    if len(gram) < _LEAST_ON_DEVICE or gram.shape[1] - 1 > _LARGEST_BATCHED:
        gram = gram.cpu()
    squares, V = _eigh(gram[:, :-1, :-1])
    s = squares.clamp(min=0).sqrt().flip(-1)
    ranks = effective_rank(s, n_rows, s.shape[1], svd_rank)
    r = max(1, int(ranks.max()))
    keep = torch.arange(r, device=gram.device) < ranks[:, None]
    V = V[:, :, -r:].flip(-1) * keep[:, None]  # eigh ascends
    inverse = torch.where(keep, 1 / s[:, :r], 0)
    W = V * inverse[:, None]  # V S^-1: snapshots of X combined into orthonormal directions U

    A = W.mT @ gram[:, :-1, 1:] @ W  # U^T Y V S^-1
    basis = pad(W, (0, 0, 1, 0)) if exact else pad(W, (0, 0, 0, 1))  # the same combination of Y, or of X
    inner = basis.mT @ gram @ basis
    first = (basis.mT @ gram[:, :, :1]).squeeze(-1)
    inverses = [torch.linalg.pinv(part, hermitian=True) for part in torch.split(inner, _PER_KERNEL)]
    start = (torch.cat(inverses) @ first[..., None]).squeeze(-1)  # x_0 ~ basis start
    eigenvalues, parts = eigen_parts(A, start)
    amplitudes = ((inner.to(parts.dtype) @ parts) * parts.conj()).sum(dim=1).real.clamp(min=0).sqrt()

    total = gram.diagonal(dim1=1, dim2=2)[:, 1:].sum(dim=1)
    caught = V.mT @ gram[:, 1:, 1:] @ V if exact else A * s[:, None, :r]  # ||Y V||^2, or ||U^T Y V||^2
    explained = caught.diagonal(dim1=1, dim2=2).sum(dim=1) if exact else caught.square().sum(dim=(1, 2))
    error = ((total - explained).clamp(min=0) / total).sqrt()
    return Spectrum(eigenvalues, (basis.to(parts.dtype) @ parts).mT, amplitudes, error, ranks)


def _eigh(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and vectors of (B, L, L); threads share a large batch.

    LAPACK goes through a batch one matrix at a time, without Python's lock, so threads add up.
    """
    if gram.device.type != "cpu":
        parts = [torch.linalg.eigh(part) for part in torch.split(gram, _PER_KERNEL)]
    elif (n_threads := min(torch.get_num_threads(), len(gram) // _PER_THREAD)) < 2:
        parts = [torch.linalg.eigh(gram)]
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            parts = list(pool.map(torch.linalg.eigh, gram.chunk(n_threads)))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def eigen_parts(A: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Split `start` along the eigenvectors of `A`: start = sum_j b_j w_j.

    One and two dimensions, the usual case, have a closed form (Sylvester's formula) that needs no
    eigenvectors and runs over a whole batch at once.

    Args:
        A: (B, r, r) float64.
        start: (B, r) float64.

    Returns:
        Eigenvalues (B, r) and b_j w_j as columns of (B, r, r), complex128. Where two eigenvalues coincide to
        the last digit, the first takes all of what the two share.
    """
    r = A.shape[1]
    if r == 1:
        return A[:, 0].to(torch.complex128), start[:, :, None].to(torch.complex128)
    if r > 2:
        eigenvalues, W = torch.linalg.eig(A.cpu())  # on an accelerator a batch goes one matrix at a time
        weights = torch.linalg.pinv(W) @ start.cpu()[..., None].to(W.dtype)
        return eigenvalues.to(A.device), (W * weights.mT).to(A.device)
    middle = (A[:, 0, 0] + A[:, 1, 1]) / 2
    spread = (A[:, 0, 0] - A[:, 1, 1]) / 2
    root = (spread.square() + A[:, 0, 1] * A[:, 1, 0]).to(torch.complex128).sqrt()
    eigenvalues = torch.stack([middle + root, middle - root], dim=1)
    moved = (A @ start[..., None]).squeeze(-1)
    gap = torch.where(root == 0, 1, 2 * root)[:, None]
    one = torch.where(root[:, None] == 0, start, (moved - eigenvalues[:, 1:] * start) / gap)
    return eigenvalues, torch.stack([one, start - one], dim=2)


def choose_mode(eigenvalues: Tensor, amplitudes: Tensor, criterion: Criterion) -> Tensor:
    """Return the index of the stable mode of each spectrum (B, r), (B,).

    Ties go to the larger amplitude, and of a conjugate pair the positive imaginary part stands for both.
    Modes of no amplitude cannot be chosen.
    """
    cost = {
        "unit_circle": (eigenvalues.abs() - 1).abs(),
        "unit": (eigenvalues - 1).abs(),
        "dominant": -eigenvalues.abs(),
        "amplitude": -amplitudes,
    }[criterion]
    candidate = (eigenvalues.imag >= 0) & (amplitudes > _ROUNDING * amplitudes.amax(dim=1, keepdim=True))
    cost = torch.where(candidate, cost, torch.inf)
    best = cost.amin(dim=1, keepdim=True)
    tied = candidate & (cost <= best + _TIE * best.abs().clamp(min=1))
    return torch.where(tied, amplitudes, -1).argmax(dim=1)


def jump_rate(eigenvalues: Tensor, chosen: Tensor) -> float:
    """Return the share of stimuli whose stable mode is not the one the others chose.

    The reference is the median chosen eigenvalue, in the upper half plane. A stimulus jumps if another of its
    own modes lies nearer to the reference than the chosen one, or if it chose a real mode where most chose a
    pair (or the reverse).
    """
    upper = torch.complex(eigenvalues.real, eigenvalues.imag.abs())
    picked = upper.gather(1, chosen[:, None])
    reference = torch.complex(picked.real.median(), picked.imag.median())
    distance = (upper - reference).abs()
    nearer = distance.amin(dim=1) < distance.gather(1, chosen[:, None]).squeeze(1) - _TIE
    paired = picked.imag.squeeze(1) > 0
    other_kind = paired != (paired.double().mean() > 0.5)
    return float((nearer | other_kind).double().mean())
