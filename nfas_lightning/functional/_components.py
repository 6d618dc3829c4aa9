"""Linear algebra of a state space: principal components, Procrustes, hashing of wide layers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nfas_lightning.functional._gram import double_device, has_no_variance
from nfas_lightning.functional.checks import working_dtype

__all__ = [
    "Components",
    "fix_sign",
    "hash_units",
    "layer_components",
    "procrustes",
    "sketch_matrix",
    "unit_weights",
]

# Rows or columns raised to float64 at a time.
_BLOCK = 4096
# Principal directions below this share of the largest singular value are the rounding of a Gram.
_ROUNDING = 1e-7


class Components(NamedTuple):
    """Principal components of a layer at unit Frobenius norm.

    Attributes:
        scores: (N, k) float64.
        mean: (D,) float64.
        basis: (D, k), directions over units, or (N, k), over stimuli, if the layer has more units than
            stimuli.
    """

    scores: Tensor
    mean: Tensor
    basis: Tensor


def layer_components(X: Tensor, k: int) -> Components | None:
    """Return the k leading components of a layer (N, D), None if it does not vary over stimuli.

    From the smaller Gram, N x N or D x D, summed in float64 over blocks: a wide layer is never copied. A
    layer of lower rank has zeros for its last components.
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
    s, vectors = squares.clamp(min=0).sqrt().flip(0)[:k], vectors.flip(1)[:, :k]
    s = torch.where(s > _ROUNDING * s[0], s, 0)
    if wide:
        inverse = torch.where(s > 0, 1 / s, 0)
        return Components(vectors * s / power.sqrt(), mean, vectors * inverse / power.sqrt())
    basis = vectors * (s > 0) / power.sqrt()
    scores = torch.cat([(X[part].to(device) - mean) @ basis for part in _blocks(n)])
    return Components(scores, mean, basis)


def unit_weights(X: Tensor, layer: Components, turn: Tensor) -> Tensor:
    """Return (D, k) weights over units that give the turned scores of a centred layer."""
    basis = layer.basis @ turn
    n, width = X.shape
    if width <= n:
        return basis
    mean = layer.mean
    return torch.cat([(X[:, part].to(mean.device) - mean[part]).T @ basis for part in _blocks(width)])


def fix_sign(scores: Tensor) -> Tensor:
    """Return the diagonal (k, k) that makes every component's largest score positive.

    Principal components have no sign of their own; the stimuli fix it, which no rotation of units touches.
    """
    peak = scores.gather(0, scores.abs().argmax(dim=0, keepdim=True)).squeeze(0)
    return torch.diag(torch.where(peak < 0, -1.0, 1.0).to(scores))


def procrustes(scores: Tensor, target: Tensor) -> Tensor:
    """Return the orthogonal (k, k) matrix R that brings `scores` R nearest to `target`."""
    P, _, Qh = torch.linalg.svd(scores.T @ target)
    turn: Tensor = P @ Qh
    return turn


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
