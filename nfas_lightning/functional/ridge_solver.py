r"""Ridge regression on one training set: one eigendecomposition, every alpha, every response.

With centered features X = U S V^T the fitted values are a linear smoother on an orthonormal basis,

.. math:: \hat y = B\,D_\alpha B^\top y, \quad B = [\mathbf 1/\sqrt n,\ U], \quad
          D_\alpha = \mathrm{diag}(1,\ s^2/(s^2+\alpha)),

the first column being the unpenalized intercept. What the fit would have predicted for rows b, had b been
left out (intercept refitted, alpha kept), follows without another decomposition:

.. math:: y_b - \hat y_b^{(-b)} = (I - B_b D_\alpha B_b^\top)^{-1}\,(y - B D_\alpha B^\top y)_b .

Here b is a single row; of blocks of rows see `ridge_held_out`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = [
    "MAY_LOSE",
    "Errors",
    "RidgeBasis",
    "almost_fixed",
    "decompose_features",
    "leave_one_out_errors",
    "one_thread_if_small",
    "passes",
    "positive_directions",
]

Errors = Callable[[Tensor], Tensor]
"""Maps centered training responses (n, R) to squared errors (A, R) of every alpha. Both are float64: rounding
leaves a mean, which small alphas magnify."""

MAY_LOSE = 1e4
"""Digits of float32's seven that an alpha may cost, as a power of ten; smaller alphas are worked in float64.
With s the largest eigenvalue, a block's linear system loses s / alpha, a decomposition its square root."""

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

    def predict(self, Y: Tensor, alphas: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """Predict the test rows (m, R) from centered responses Y (n, R), with one alpha per response (R,).

        Worked in `dtype` where alphas allow it.
        """
        preds = Y.new_empty(len(self.test), Y.shape[1], dtype=dtype)
        for chosen, allowed in passes(self, alphas, MAY_LOSE, dtype):
            own = self if allowed is torch.float64 else self._single
            if bool(chosen.all()):
                preds = own.test @ own._coordinates(Y.to(allowed), alphas)
            else:
                preds[:, chosen] = (own.test @ own._coordinates(Y[:, chosen].to(allowed), alphas[chosen])).to(
                    dtype
                )
        # a constant, which must not be rounded into something that correlates
        return preds[:1].expand_as(preds) if self._is_still else preds

    @cached_property
    def _is_still(self) -> bool:
        return bool((self.test == self.test[:1]).all())

    @cached_property
    def _single(self) -> RidgeBasis:
        """The same in float32."""
        parts = (
            getattr(self, name).float() for name in ("features", "gram", "vectors", "eigenvalues", "test")
        )
        return RidgeBasis(*parts)

    def weights(self, Y: Tensor, alphas: Tensor) -> Tensor:
        """Return the (P, R) weights of the features that the same predictions come from."""
        coordinates = self._coordinates(Y, alphas)
        if self.is_wide:
            return self.features.T @ (self.vectors @ (coordinates / self.eigenvalues.sqrt()[:, None]))
        return self.vectors @ coordinates

    def _coordinates(self, Y: Tensor, alphas: Tensor) -> Tensor:
        """Return (k, R) weights of the features' principal axes."""
        s, alphas = self.eigenvalues[:, None], alphas.to(Y.dtype)
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
    values, vectors = positive_directions(gram, max(X.shape))
    axes = X.T @ (vectors / values.sqrt()) if _is_wide(X) else vectors
    test = X_test @ axes
    if bool((X_test == X_test[:1]).all()):  # a product may round equal rows apart
        test = test[:1].expand_as(test)
    return RidgeBasis(X, gram, vectors, values, test, fixed)


def positive_directions(gram: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues above the rounding of `size` sums, (k,) ascending, and their vectors (d, k)."""
    values, vectors = torch.linalg.eigh(gram)
    kept = values > values[-1].clamp(min=0) * size * torch.finfo(torch.float64).eps
    return (values, vectors) if bool(kept.all()) else (values[kept], vectors[:, kept])


def leave_one_out_errors(basis: RidgeBasis, alphas: Tensor, dtype: torch.dtype = torch.float64) -> Errors:
    """Prepare leave-one-out errors in closed form; the intercept and nuisances are fitted anew.

    Args:
        basis: decomposition of the training features.
        alphas: (A,).
        dtype: to work in where alpha allows it.

    Returns:
        A function of responses (n, R) to their squared errors (A, R), summed over rows.
    """
    prepared = []
    for chosen, allowed in passes(basis, alphas, MAY_LOSE, dtype):
        U = basis.train.to(allowed)
        squares = U**2
        taken = squares.sum(1)
        if basis.fixed is not None:
            taken = taken + almost_fixed(basis.fixed, allowed).square().sum(1)
        some = alphas[chosen].to(allowed)[:, None]
        shrink = some / (basis.eigenvalues.to(allowed) + some)
        own_share = (1 - 1 / len(U) - taken).clamp(min=0) + shrink @ squares.T
        prepared.append((chosen, U, shrink, own_share))

    def errors(Y: Tensor) -> Tensor:
        total = Y.new_zeros(len(alphas), Y.shape[1])
        for chosen, U, shrink, own_share in prepared:
            targets = Y.to(U.dtype)
            coordinates = U.T @ targets
            unexplained = targets - U @ coordinates
            residual = torch.empty_like(targets)
            sums = []
            for row, own in zip(shrink, own_share, strict=True):
                torch.addmm(unexplained, U, coordinates * row[:, None], out=residual)
                sums.append(residual.div_(own[:, None]).square_().sum(0))
            total[chosen] = torch.stack(sums).to(total.dtype)
        return total

    return errors


def _is_wide(X: Tensor) -> bool:
    """Tell whether the rows' Gram (n, n) is the smaller one."""
    return X.shape[0] <= X.shape[1]


def almost_fixed(fixed: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the basis of regressors without a penalty, given the least that keeps a system solvable.

    Where all of a nuisance lies in the rows that are left out, the others do not tell its weight: 0 then.
    """
    least = 1e-12 if dtype is torch.float64 else 1e-4
    almost: Tensor = fixed.to(dtype) * (1 - least) ** 0.5
    return almost


def passes(
    basis: RidgeBasis, alphas: Tensor, may_lose: float, dtype: torch.dtype
) -> Iterator[tuple[Tensor, torch.dtype]]:
    """Yield (mask of alphas, dtype): what `dtype` can carry, then the rest in float64."""
    largest = basis.eigenvalues[-1:].sum()  # of none, 0
    precise = (alphas * may_lose < largest) | (dtype == torch.float64)
    for allowed, chosen in ((dtype, ~precise), (torch.float64, precise)):
        if bool(chosen.any()):
            yield chosen, allowed


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
