"""Linear algebra of a state space: principal components, Procrustes, hashing of wide layers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nfas_lightning.functional._gram import double_device, has_no_variance
from nfas_lightning.functional.checks import working_dtype

__all__ = ["Components", "align", "hash_units", "layer_components", "sketch_matrix", "unit_weights"]

# Rows or columns raised to float64 at a time.
_BLOCK = 4096
# Principal directions below this share of the largest singular value are the rounding of a Gram.
_ROUNDING = 1e-7


class Components(NamedTuple):
    """Principal components of a layer at unit Frobenius norm, d of them: its rank, or what was asked for.

    Attributes:
        scores: (N, d) float64.
        mean: (D,) float64.
        basis: (D, d), directions over units, or (N, d), over stimuli, if the layer has more units than
            stimuli.
        kept: share of the layer's variance that the scores hold, in (0, 1].
    """

    scores: Tensor
    mean: Tensor
    basis: Tensor
    kept: float


def layer_components(X: Tensor, k: int) -> Components | None:
    """Return the leading components of a layer (N, D), k at most; None if it does not vary over stimuli.

    From the smaller Gram, N x N or D x D, summed in float64 over blocks: a wide layer is never copied.
    """
    n, width = X.shape
    device = double_device(X.device)
    mean = torch.cat([X[:, part].to(device).double().mean(dim=0) for part in _blocks(width)])
    wide = width > n
    gram = torch.zeros(min(n, width), min(n, width), dtype=torch.float64, device=device)
    for part in _blocks(max(n, width)):
        Z = X[:, part].to(device) - mean[part] if wide else (X[part].to(device) - mean).T
        gram += Z @ Z.T
    power = gram.trace()
    if bool(has_no_variance(power, power + n * mean.square().sum())):
        return None
    squares, vectors = torch.linalg.eigh(gram)
    s = squares.clamp(min=0).sqrt().flip(0)[:k]
    s = s[s > _ROUNDING * s[0]]
    vectors, kept = vectors.flip(1)[:, : len(s)], float(s.square().sum() / power)
    if wide:
        return Components(vectors * s / power.sqrt(), mean, vectors / s / power.sqrt(), kept)
    basis = vectors / power.sqrt()
    scores = torch.cat([(X[part].to(device) - mean) @ basis for part in _blocks(n)])
    return Components(scores, mean, basis, kept)


def unit_weights(X: Tensor, layer: Components, turn: Tensor) -> Tensor:
    """Return (D, k) weights over units that give the turned scores of a centered layer."""
    basis = layer.basis @ turn
    n, width = X.shape
    if width <= n:
        return basis
    mean = layer.mean
    return torch.cat([(X[:, part].to(mean.device) - mean[part]).T @ basis for part in _blocks(width)])


def align(scores: Tensor, target: Tensor) -> Tensor:
    """Return the turn (d, max(d, m)) that brings `scores` (N, d) nearest to `target` (N, m).

    Orthogonal Procrustes in max(d, m) dimensions, the narrower of the two padded with zeros, which leaves the
    solution exact. A layer's d - m directions that the target has no room for may then lie anywhere in the
    new dimensions: they become their own principal components there, the largest score of each positive.
    What does not depend on the layer's axes before does not depend on them after.
    """
    d, m = scores.shape[1], target.shape[1]
    P, _, Qh = torch.linalg.svd(scores.T @ target, full_matrices=d > m)
    turn: Tensor = P[:, :m] @ Qh
    if d <= m:
        return turn
    own = scores @ P[:, m:]
    axes = torch.linalg.eigh(own.T @ own)[1].flip(1)
    own = own @ axes
    peak = own.gather(0, own.abs().argmax(dim=0, keepdim=True))
    return torch.cat([turn, P[:, m:] @ axes * torch.where(peak < 0, -1, 1)], dim=1)


def _blocks(length: int) -> list[slice]:
    """Cut an axis into slices that are small in float64."""
    return [slice(start, start + _BLOCK) for start in range(0, length, _BLOCK)]


def sketch_matrix(width: int, columns: int, generator: torch.Generator) -> Tensor:
    """Return a sparse (columns, width) matrix with one +-1 a unit: memory grows with the width alone."""
    bucket = torch.randint(columns, (width,), generator=generator)
    sign = torch.randint(2, (width,), generator=generator).float() * 2 - 1
    indices = torch.stack([bucket, torch.arange(width)])
    return torch.sparse_coo_tensor(indices, sign, (columns, width), check_invariants=True).coalesce()


def hash_units(state: Tensor, sketch: Tensor | None) -> Tensor:
    """Return the state, or its (N, P) projection, block by block of stimuli."""
    if sketch is None:
        return state
    sketch = sketch.to(device=state.device, dtype=working_dtype(state))
    rows = max(1, 2**24 // state.shape[1])
    starts = range(0, len(state), rows)
    projected: list[Tensor] = [
        torch.sparse.mm(sketch, state[i : i + rows].to(sketch.dtype).T).T for i in starts
    ]
    return torch.cat(projected)
