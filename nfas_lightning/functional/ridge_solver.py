r"""Ridge regression on one training set: one eigendecomposition, every alpha, every response.

With centered features X = U S V^T the fitted values are a linear smoother on an orthonormal basis,

.. math:: \hat y = B\,D_\alpha B^\top y, \quad B = [\mathbf 1/\sqrt n,\ U], \quad
          D_\alpha = \mathrm{diag}(1,\ s^2/(s^2+\alpha)),

the first column being the unpenalized intercept. What the fit would have predicted for rows b, had b been
left out (intercept refitted, alpha kept), follows without another decomposition:

.. math:: y_b - \hat y_b^{(-b)} = (I - B_b D_\alpha B_b^\top)^{-1}\,(y - B D_\alpha B^\top y)_b .

That is one linear system per alpha. Where b has many rows, decomposing the Gram of the others, which is the
whole Gram less that of b, costs less and gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = [
    "RidgeBasis",
    "decompose_features",
    "held_out_errors",
    "inner_errors",
    "leave_one_out_errors",
    "one_thread_if_small",
]

Block = tuple[Tensor, Tensor]
"""Positions of held-out rows, and of guard rows that leave training with them."""

# Digits of float32's seven that an alpha may cost, as a power of ten; smaller alphas are worked in float64.
# With s the largest eigenvalue, a block's linear system loses s / alpha, a decomposition its square root.
_MAY_LOSE = 1e4

# A symmetric eigendecomposition of P x P takes about as long as a product of this many times P^3 operations:
# on a CPU, and on an H200, whose products are faster by more.
_EIGH_CPU, _EIGH_ACCELERATOR = 12, 500

# Numbers in the systems that an accelerator solves at once (512 MB), one per alpha; a CPU takes one by one.
_SYSTEMS = 2**26

# Multiplications of a Gram matrix, up to which one thread needs less than about a second for a fit. Beside a
# busy process, threads that wait for one another at every small factorization are ten times slower than one,
# see docs/performance.md; from here on a second thread saves more than that can cost.
_SMALL = 5e8


@dataclass(frozen=True)
class RidgeBasis:
    """Training features in their own principal axes, all float64.

    Attributes:
        features: (n, P) centered training features X.
        gram: (P, P) X^T X; (n, n) X X^T where n <= P.
        vectors: (P, k) right singular vectors V; (n, k) left ones where n <= P.
        eigenvalues: (k,) squared singular values, ascending, all positive.
        test: (m, k) test features on the right singular vectors, X_test V.
        fixed: (n, q) orthonormal basis of regressors without a penalty, orthogonal to the features and to the
            constant: nuisances, which a fit without some rows fits anew as it does the intercept; None: none.
    """

    features: Tensor
    gram: Tensor
    vectors: Tensor
    eigenvalues: Tensor
    test: Tensor
    fixed: Tensor | None = None

    @property
    def is_wide(self) -> bool:
        """Whether the Gram is one of rows."""
        return _is_wide(self.features)

    @cached_property
    def train(self) -> Tensor:
        """(n, k) orthonormal left singular vectors U."""
        if self.is_wide:
            return self.vectors
        return self.features @ (self.vectors / self.eigenvalues.sqrt())

    def predict(self, Y: Tensor, alphas: Tensor) -> Tensor:
        """Predict the test rows (m, R) from centered responses Y (n, R), with one alpha per response (R,)."""
        preds = self.test @ self._coordinates(Y, alphas)
        # a constant, which must not be rounded into something that correlates
        return preds[:1].expand_as(preds) if bool((self.test == self.test[:1]).all()) else preds

    def weights(self, Y: Tensor, alphas: Tensor) -> Tensor:
        """Return the (P, R) weights of the features that the same predictions come from."""
        coordinates = self._coordinates(Y, alphas)
        if self.is_wide:
            return self.features.T @ (self.vectors @ (coordinates / self.eigenvalues.sqrt()[:, None]))
        return self.vectors @ coordinates

    def _coordinates(self, Y: Tensor, alphas: Tensor) -> Tensor:
        """Return (k, R) weights of the features' principal axes."""
        s, Y = self.eigenvalues[:, None], Y.double()
        if self.is_wide:
            return (self.vectors.T @ Y) * (s.sqrt() / (s + alphas))
        return (self.vectors.T @ (self.features.T @ Y)) / (s + alphas)


def decompose_features(X: Tensor, X_test: Tensor, fixed: Tensor | None = None) -> RidgeBasis:
    """Eigendecompose the smaller Gram matrix of centered training features X (n, P).

    The Gram squares the condition number, so it is accumulated and decomposed in float64 whatever the input.
    Directions whose eigenvalue drowns in rounding are dropped: repeated rows, repeated features, P > n.
    """
    X, X_test = X.double(), X_test.double()
    gram = X @ X.T if _is_wide(X) else X.T @ X
    values, vectors = torch.linalg.eigh(gram)
    floor = values[-1].clamp(min=0) * max(X.shape) * torch.finfo(torch.float64).eps
    kept = values > floor
    if not bool(kept.all()):
        values, vectors = values[kept], vectors[:, kept]
    axes = X.T @ (vectors / values.sqrt()) if _is_wide(X) else vectors
    test = X_test @ axes
    if bool((X_test == X_test[:1]).all()):  # a product may round equal rows apart
        test = test[:1].expand_as(test)
    return RidgeBasis(X, gram, vectors, values, test, fixed)


def inner_errors(
    basis: RidgeBasis,
    Y: Tensor,
    alphas: Tensor,
    blocks: list[tuple[Tensor, Tensor]],
    dtype: torch.dtype,
) -> Tensor:
    """Sum squared errors of inner folds, or without any of single rows: (A, R)."""
    if blocks:
        return held_out_errors(basis, Y, alphas, blocks, dtype)
    return leave_one_out_errors(basis, Y, alphas, dtype)


def held_out_errors(
    basis: RidgeBasis, Y: Tensor, alphas: Tensor, blocks: list[Block], dtype: torch.dtype = torch.float64
) -> Tensor:
    """Sum squared errors of blocks that were left out in turn, for every alpha.

    Args:
        basis: decomposition of the training features.
        Y: (n, R) centered training responses, float64: rounding leaves a mean, which small alphas magnify.
        alphas: (A,).
        blocks: (held_out, guard) positions; both leave training, held_out alone is scored.
        dtype: to work in where alpha allows it.

    Returns:
        (A, R) squared errors summed over all held-out rows.
    """
    by_axes = [_axes_are_cheaper(basis, held, guard, Y, alphas) for held, guard in blocks]
    errors = Y.new_zeros(len(alphas), Y.shape[1])
    for solve, lost, wanted in (
        (_errors_by_axes, _MAY_LOSE**2, True),
        (_errors_by_rows, _MAY_LOSE, False),
    ):
        some = [block for block, axes in zip(blocks, by_axes, strict=True) if axes == wanted]
        for chosen, allowed in _passes(basis, alphas, lost, dtype) if some else ():
            errors[chosen] += solve(basis, Y, alphas[chosen], some, allowed)
    return errors


def leave_one_out_errors(
    basis: RidgeBasis, Y: Tensor, alphas: Tensor, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Sum squared leave-one-out errors, intercept refitted: (A, R). Blocks of one row, in closed form."""
    errors = Y.new_zeros(len(alphas), Y.shape[1])
    for chosen, allowed in _passes(basis, alphas, _MAY_LOSE, dtype):
        U, targets, eigenvalues = basis.train.to(allowed), Y.to(allowed), basis.eigenvalues.to(allowed)
        coordinates = U.T @ targets
        unexplained = targets - U @ coordinates
        squares = U**2
        taken = squares.sum(1)
        if basis.fixed is not None:
            taken = taken + _almost_fixed(basis.fixed, allowed).square().sum(1)
        beyond = (1 - 1 / len(Y) - taken).clamp(min=0)
        residual = torch.empty_like(targets)
        sums = []
        for alpha in alphas[chosen].to(allowed):
            shrink = alpha / (eigenvalues + alpha)
            own_share = beyond + squares @ shrink
            torch.addmm(unexplained, U, coordinates * shrink[:, None], out=residual)
            sums.append(residual.div_(own_share[:, None]).square_().sum(0))
        errors[chosen] = torch.stack(sums).to(errors.dtype)
    return errors


def _is_wide(X: Tensor) -> bool:
    """Tell whether the rows' Gram (n, n) is the smaller one."""
    return X.shape[0] <= X.shape[1]


def _almost_fixed(fixed: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the basis of regressors without a penalty, given the least that keeps a system solvable.

    Where all of a nuisance lies in the rows that are left out, the others do not tell its weight: 0 then.
    """
    least = 1e-12 if dtype is torch.float64 else 1e-4
    almost: Tensor = fixed.to(dtype) * (1 - least) ** 0.5
    return almost


def _passes(
    basis: RidgeBasis, alphas: Tensor, may_lose: float, dtype: torch.dtype
) -> Iterator[tuple[Tensor, torch.dtype]]:
    """Yield (mask of alphas, dtype): what `dtype` can carry, then the rest in float64."""
    largest = basis.eigenvalues[-1:].sum()  # of none, 0
    precise = (alphas * may_lose < largest) | (dtype == torch.float64)
    for allowed, chosen in ((dtype, ~precise), (torch.float64, precise)):
        if bool(chosen.any()):
            yield chosen, allowed


def _axes_are_cheaper(basis: RidgeBasis, held: Tensor, guard: Tensor, Y: Tensor, alphas: Tensor) -> bool:
    """Compare the operations of one decomposition without the block with those of one system per alpha."""
    if basis.is_wide or basis.fixed is not None:  # what is left would have to lose the nuisances anew
        return False
    n_out, n_axes, n_rois = len(held) + len(guard), basis.features.shape[1], Y.shape[1]
    each = 2 * n_out * n_axes * n_rois
    eigh = _EIGH_CPU if Y.device.type == "cpu" else _EIGH_ACCELERATOR
    once = eigh * n_axes**3 + 4 * n_axes**2 * (n_out + n_rois)
    system = 2 * n_out * n_axes * (n_out + n_rois) + n_out**3 / 3 + 4 * n_out**2 * n_rois
    return once + len(alphas) * each < len(alphas) * system


def _errors_by_axes(
    basis: RidgeBasis, Y: Tensor, alphas: Tensor, blocks: list[Block], dtype: torch.dtype
) -> Tensor:
    """Return (A, R) squared errors, from an eigendecomposition of what each block leaves to train on.

    What is subtracted is float64 (one row can outweigh all that are left); what is rotated is `dtype`.
    """
    errors = Y.new_zeros(len(alphas), Y.shape[1])
    moments = basis.features.T @ Y
    for held, guard in blocks:
        out = torch.cat([held, guard])
        X, n_left = basis.features[out], len(Y) - len(out)
        # all rows have mean 0, so those that are left have minus the sums of those that are out
        mean, offset = -X.sum(0) / n_left, -Y[out].sum(0) / n_left
        gram = basis.gram - X.T @ X - n_left * mean.outer(mean)
        left = moments - X.T @ Y[out] - n_left * mean.outer(offset)
        values, vectors = (part.to(dtype) for part in torch.linalg.eigh(gram))
        features = (X[: len(held)] - mean).to(dtype) @ vectors
        coordinates, targets = vectors.T @ left.to(dtype), (Y[held] - offset).to(dtype)
        weights, residual = torch.empty_like(coordinates), torch.empty_like(targets)
        for error, alpha in zip(errors, alphas.to(dtype), strict=True):
            torch.div(coordinates, (values.clamp(min=0) + alpha)[:, None], out=weights)
            torch.addmm(targets, features, weights, alpha=-1, out=residual)
            error += residual.square_().sum(0)
    return errors


def _errors_by_rows(
    basis: RidgeBasis, Y: Tensor, alphas: Tensor, blocks: list[Block], dtype: torch.dtype
) -> Tensor:
    """Return the same errors (A, R) through each block's (b, b) system I - B D B^T."""
    errors = Y.new_zeros(len(alphas), Y.shape[1])
    train, eigenvalues, Y = basis.train.to(dtype), basis.eigenvalues.to(dtype), Y.to(dtype)
    coordinates = train.T @ Y
    for held, guard in blocks:
        out = torch.cat([held, guard])
        U = train[out]
        # I - B D B^T as what B cannot reach and what alpha shrinks: no difference of near equals
        beyond = torch.eye(len(out), dtype=U.dtype, device=U.device) - 1 / len(Y) - U @ U.T
        if basis.fixed is not None:
            own = _almost_fixed(basis.fixed, dtype)[out]
            beyond = beyond - own @ own.T
        base = torch.cat([beyond, Y[out] - U @ coordinates], 1)
        right = torch.cat([U.T, coordinates], 1)
        at_once = 1 if Y.device.type == "cpu" else max(1, _SYSTEMS // base.numel())
        done = 0
        for some in torch.split(alphas.to(dtype), at_once):
            shrunk = U * (some[:, None] / (eigenvalues + some[:, None]))[:, None]
            both = torch.baddbmm(base.expand(len(some), -1, -1), shrunk, right.expand(len(some), -1, -1))
            factor = torch.linalg.cholesky(both[:, :, : len(out)])
            residual = torch.cholesky_solve(both[:, :, len(out) :], factor)
            errors[done : done + len(some)] += residual[:, : len(held)].square_().sum(1)
            done += len(some)
    return errors


@contextmanager
def one_thread_if_small(X: Tensor) -> Iterator[None]:
    """Work in one thread inside, where decomposing features (T, P) on a CPU is little work."""
    before = torch.get_num_threads()
    if X.device.type != "cpu" or X.ndim != 2 or before == 1 or X.numel() * min(X.shape) > _SMALL:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
