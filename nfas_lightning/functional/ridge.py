r"""Ridge regression on one training set: one eigendecomposition, every penalty, every response.

With centred features X = U S V^T the fitted values are a linear smoother on an orthonormal basis,

.. math:: \hat y = B\,D_\lambda B^\top y, \quad B = [\mathbf 1/\sqrt n,\ U], \quad
          D_\lambda = \mathrm{diag}(1,\ s^2/(s^2+\lambda)),

the first column being the unpenalised intercept. What the fit would have predicted for rows b, had b been
left out (intercept refitted, penalty kept), follows without another decomposition:

.. math:: y_b - \hat y_b^{(-b)} = (I - B_b D_\lambda B_b^\top)^{-1}\,(y - B D_\lambda B^\top y)_b .
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RidgeBasis", "decompose", "held_out_errors", "leave_one_out_errors"]

# Where a penalty is this small beside the largest eigenvalue, solving for a held-out block loses about four
# of float32's seven digits: such penalties are worked in float64.
_FLOAT32_PENALTY = 1e-4


@dataclass(frozen=True)
class RidgeBasis:
    """Training features in their own principal axes, all float64 unless cast.

    Attributes:
        train: (n, k) orthonormal left singular vectors U of the centred training features.
        test: (m, k) test features on the right singular vectors, X_test V.
        eigenvalues: (k,) squared singular values, ascending, all positive.
    """

    train: Tensor
    test: Tensor
    eigenvalues: Tensor

    def to(self, dtype: torch.dtype) -> RidgeBasis:
        """Cast every tensor."""
        return RidgeBasis(self.train.to(dtype), self.test.to(dtype), self.eigenvalues.to(dtype))

    def predict(self, Y: Tensor, penalties: Tensor) -> Tensor:
        """Predict the test rows from centred responses Y (n, R), with one penalty a response (R,): (m, R)."""
        s = self.eigenvalues[:, None]
        return self.test @ ((self.train.T @ Y) * (s.sqrt() / (s + penalties)))


def decompose(X: Tensor, X_test: Tensor) -> RidgeBasis:
    """Eigendecompose the smaller Gram matrix of centred training features X (n, P).

    The Gram squares the condition number, so it is accumulated and decomposed in float64 whatever the input.
    Directions whose eigenvalue drowns in rounding are dropped: repeated rows, repeated features, P > n.
    """
    X, X_test = X.double(), X_test.double()
    wide = X.shape[0] <= X.shape[1]
    values, vectors = torch.linalg.eigh(X @ X.T if wide else X.T @ X)
    floor = values[-1].clamp(min=0) * max(X.shape) * torch.finfo(torch.float64).eps
    kept = values > floor
    values, vectors = values[kept], vectors[:, kept]
    if wide:
        return RidgeBasis(vectors, (X_test @ X.T) @ (vectors / values.sqrt()), values)
    return RidgeBasis(X @ (vectors / values.sqrt()), X_test @ vectors, values)


def held_out_errors(
    basis: RidgeBasis, Y: Tensor, penalties: Tensor, blocks: list[tuple[Tensor, Tensor]]
) -> Tensor:
    """Sum squared errors of blocks that were left out in turn, for every penalty.

    Args:
        basis: decomposition of the training features.
        Y: (n, R) centred training responses.
        penalties: (A,).
        blocks: (held_out, guard) positions; both leave training, held_out alone is scored.

    Returns:
        (A, R) squared errors summed over all held-out rows.
    """
    errors = Y.new_zeros(len(penalties), Y.shape[1])
    for chosen, cast, targets in _passes(basis, Y, penalties):
        coordinates = cast.train.T @ targets
        for held, guard in blocks:
            out = torch.cat([held, guard])
            solve = _residuals_by_rows if len(out) <= cast.train.shape[1] else _residuals_by_axes
            residuals = solve(cast, targets, coordinates, out, penalties[chosen].to(targets.dtype))
            squares = torch.stack([(residual[: len(held)] ** 2).sum(0) for residual in residuals])
            errors[chosen] += squares.to(errors.dtype)
    return errors


def leave_one_out_errors(basis: RidgeBasis, Y: Tensor, penalties: Tensor) -> Tensor:
    """Sum squared leave-one-out errors, intercept refitted: (A, R). Blocks of one row, in closed form."""
    errors = Y.new_zeros(len(penalties), Y.shape[1])
    for chosen, cast, targets in _passes(basis, Y, penalties):
        coordinates = cast.train.T @ targets
        unexplained = targets - cast.train @ coordinates
        squares = cast.train**2
        beyond = (1 - 1 / len(Y) - squares.sum(1)).clamp(min=0)
        sums = []
        for penalty in penalties[chosen].to(targets.dtype):
            shrink = penalty / (cast.eigenvalues + penalty)
            residual = unexplained + cast.train @ (coordinates * shrink[:, None])
            own_share = beyond + squares @ shrink
            sums.append(((residual / own_share[:, None]) ** 2).sum(0))
        errors[chosen] = torch.stack(sums).to(errors.dtype)
    return errors


def _passes(basis: RidgeBasis, Y: Tensor, penalties: Tensor) -> Iterator[tuple[Tensor, RidgeBasis, Tensor]]:
    """Yield (mask of penalties, basis, responses): what Y's dtype can carry, then the rest in float64."""
    largest = basis.eigenvalues[-1:].sum()  # of none, 0
    precise = penalties < _FLOAT32_PENALTY * largest
    for dtype, chosen in ((Y.dtype, ~precise), (torch.float64, precise)):
        if bool(chosen.any()):
            yield chosen, basis.to(dtype), Y.to(dtype)


def _residuals_by_rows(
    basis: RidgeBasis, Y: Tensor, coordinates: Tensor, out: Tensor, penalties: Tensor
) -> Iterator[Tensor]:
    """Yield (b, R) held-out residuals a penalty, through the b x b block of I - B D B^T."""
    U = basis.train[out]
    # I - B D B^T split into what B cannot reach and what the penalty shrinks: no difference of near equals
    beyond = torch.eye(len(out), dtype=U.dtype, device=U.device) - 1 / len(Y) - U @ U.T
    base = torch.cat([beyond, Y[out] - U @ coordinates], 1)
    right = torch.cat([U.T, coordinates], 1)
    for penalty in penalties:
        shrink = penalty / (basis.eigenvalues + penalty)
        both = torch.addmm(base, U * shrink, right)
        yield torch.cholesky_solve(both[:, len(out) :], torch.linalg.cholesky(both[:, : len(out)]))


def _residuals_by_axes(
    basis: RidgeBasis, Y: Tensor, coordinates: Tensor, out: Tensor, penalties: Tensor
) -> Iterator[Tensor]:
    """Yield the same residuals through the (k + 1) normal equations without the block: for few features."""
    intercept = torch.full_like(basis.train[out, :1], len(Y) ** -0.5)
    B = torch.cat([intercept, basis.train[out]], 1)
    moments = torch.cat([torch.zeros_like(coordinates[:1]), coordinates]) - B.T @ Y[out]
    gram, identity = B.T @ B, torch.eye(B.shape[1], dtype=B.dtype, device=B.device)
    for penalty in penalties:
        root = (basis.eigenvalues / (basis.eigenvalues + penalty)).sqrt()
        root = torch.cat([root.new_ones(1), root])
        normal = identity - root[:, None] * gram * root
        solution = torch.cholesky_solve(root[:, None] * moments, torch.linalg.cholesky(normal))
        yield Y[out] - (B * root) @ solution
