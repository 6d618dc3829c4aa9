r"""What a ridge fit without a block of rows predicts for the block: every alpha, many responses.

Two routes to one number. Both prepare what does not depend on the responses once, then take these in batches.

**By operators.** What is left to train on is decomposed, :math:`G = V S V^\top`; the block's predictions are

.. math:: \hat y_\alpha = F \, \mathrm{diag}\!\left(\tfrac{1}{s_i + \alpha}\right) V^\top t

with t = X^T y and F = X_b V, or where rows are fewer than features t = y and F = X_b X^T V. Shrinkages of
neighboring alphas hardly differ: all A are mixtures of the k leading singular vectors of the table (A, s), so
that k products serve A alphas.

**By rows.** From the decomposition of all rows, one small linear system per alpha, see `ridge_solver`: less
work for few rows or few responses, and on accelerators, where decompositions are slow.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nfas_lightning.functional.ridge_solver import (
    MAY_LOSE,
    Errors,
    RidgeBasis,
    almost_fixed,
    leave_one_out_errors,
    passes,
    positive_directions,
)

__all__ = ["held_out_errors", "inner_errors"]

Block = tuple[Tensor, Tensor]
"""Positions of held-out rows, and of guard rows that leave training with them."""

# A symmetric eigendecomposition of P x P takes about as long as a product of this many times P^3 operations:
# on a CPU, and on an H200, whose products are faster by more.
_EIGH_CPU, _EIGH_ACCELERATOR = 12, 500
_MIXTURES = 12  # of alphas, expected of features whose eigenvalues span many decades
_NO_WEIGHT = 1e-12  # share of a nuisance in the rows that are left, below which they do not show its weight
# A mixture's error, as a share of the largest shrinkage of an alpha, in units of the dtype's rounding.
_MIXTURE_ERROR = 8

# Numbers in the systems that are solved at once, one per alpha: 512 MB on an accelerator, a cache on a CPU.
_SYSTEMS, _SYSTEMS_CPU = 2**26, 2**18


def inner_errors(
    basis: RidgeBasis,
    alphas: Tensor,
    blocks: list[Block],
    dtype: torch.dtype = torch.float64,
    n_targets: int = 1,
) -> Errors:
    """Prepare the errors of inner folds, or without any those of single rows, see `held_out_errors`."""
    if blocks:
        return held_out_errors(basis, alphas, blocks, dtype, n_targets)
    return leave_one_out_errors(basis, alphas, dtype)


def held_out_errors(
    basis: RidgeBasis,
    alphas: Tensor,
    blocks: list[Block],
    dtype: torch.dtype = torch.float64,
    n_targets: int = 1,
) -> Errors:
    """Prepare the errors of blocks that are left out in turn; the intercept and nuisances are fitted anew.

    Args:
        basis: decomposition of the training features.
        alphas: (A,).
        blocks: (held_out, guard) positions; both leave training, held_out alone is scored.
        dtype: to work in where alpha allows it.
        n_targets: responses to come, which decide between the routes.

    Returns:
        A function of responses (n, R) to the squared errors (A, R) summed over all held-out rows.
    """
    cheaper = [_operators_are_cheaper(basis, *block, n_targets, len(alphas)) for block in blocks]
    routes: list[tuple[Tensor, Errors]] = []
    for prepare, lost, wanted in ((_by_operators, MAY_LOSE**2, True), (_by_rows, MAY_LOSE, False)):
        some = [block for block, operators in zip(blocks, cheaper, strict=True) if operators == wanted]
        # systems that nuisances bring close to singular take float64
        least = dtype if wanted or basis.fixed is None else torch.float64
        for chosen, allowed in passes(basis, alphas, lost, least) if some else ():
            routes.append((chosen, prepare(basis, alphas[chosen], some, allowed, n_targets)))

    def errors(Y: Tensor) -> Tensor:
        total = Y.new_zeros(len(alphas), Y.shape[1])
        for chosen, solve in routes:
            total[chosen] += solve(Y)
        return total

    return errors


def _operators_are_cheaper(
    basis: RidgeBasis, held: Tensor, guard: Tensor, n_targets: int, n_alphas: int
) -> bool:
    """Compare the operations of one decomposition without the block with those of one system per alpha."""
    n_out, n_axes = len(held) + len(guard), len(basis.eigenvalues)
    size = len(basis.gram) - n_out * basis.is_wide
    eigh = _EIGH_CPU if basis.gram.device.type == "cpu" else _EIGH_ACCELERATOR
    once = eigh * size**3 + 4 * n_out * size**2
    mixtures = min(_MIXTURES, n_alphas)
    each = 2 * len(held) * mixtures * (size + n_alphas) + 4 * n_out * size
    system = 2 * n_out * n_axes * (n_out + n_targets) + n_out**3 / 3 + 4 * n_out**2 * n_targets
    return once + n_targets * each < n_alphas * system


def _by_operators(
    basis: RidgeBasis, alphas: Tensor, blocks: list[Block], dtype: torch.dtype, n_targets: int
) -> Errors:
    """Prepare (A, R) squared errors from a decomposition of what each block leaves to train on."""
    prepare = _of_rows if basis.is_wide else _of_features
    return prepare(basis, alphas, blocks, dtype, n_targets)


def _of_features(
    basis: RidgeBasis, alphas: Tensor, blocks: list[Block], dtype: torch.dtype, n_targets: int
) -> Errors:
    """Decompose the features' Gram (P, P) without each block; t are moments with the responses.

    Moments are summed in segments of rows that leave training together, each centered on its own, and those
    that are left are added up: no difference of near equals, and `dtype` is enough for them. The Gram is
    float64, and there a difference will do.
    """
    X, width = basis.features, basis.features.shape[1]
    known = X[:, :0] if basis.fixed is None else basis.fixed
    out = X.new_zeros(len(blocks), len(X), dtype=torch.bool)
    for row, block in zip(out, blocks, strict=True):
        row[torch.cat(block)] = True
    patterns, member = torch.unique(out, dim=1, return_inverse=True)
    order, counts = member.argsort(stable=True), torch.bincount(member).double()
    sizes, stays = [int(count) for count in counts.tolist()], (~patterns).tolist()
    in_order = bool((order.diff() > 0).all())
    segments, own = torch.split(X[order], sizes), torch.split(known[order], sizes)
    means = torch.stack([torch.cat([x.mean(0), n.mean(0)]) for x, n in zip(segments, own, strict=True)])
    segments = tuple((x - mean[:width]).to(dtype) for x, mean in zip(segments, means, strict=True))
    own = tuple(n - mean[width:] for n, mean in zip(own, means, strict=True))

    prepared = []
    for held, guard in blocks:
        rows = torch.cat([held, guard])
        x, n, n_left = X[rows], known[rows], len(X) - len(rows)
        # all rows have mean 0, so those that are left have minus the sums of those that are out
        x_mean, n_mean = -x.sum(0) / n_left, -n.sum(0) / n_left
        gram = basis.gram - x.T @ x - n_left * x_mean.outer(x_mean)
        across = -x.T @ n - n_left * x_mean.outer(n_mean)
        within = torch.eye(n.shape[1]).to(n) - n.T @ n - n_left * n_mean.outer(n_mean)
        inverse = (
            torch.linalg.pinv(within, atol=_NO_WEIGHT, rtol=0.0, hermitian=True) if len(within) else within
        )
        slopes = inverse @ across.T
        values, vectors = positive_directions(gram - across @ slopes, len(X))
        n_held = n[: len(held)] - n_mean
        left = (x[: len(held)] - x_mean - n_held @ slopes) @ vectors
        solve = _mixed(
            left, values, torch.cat([vectors.T, -vectors.T @ slopes.T], 1), alphas, dtype, n_targets
        )
        prepared.append((held, n_held @ inverse, solve))

    def errors(Y: Tensor) -> Tensor:
        parts = torch.split(Y if in_order else Y[order], sizes)
        y_means = torch.stack([part.mean(0) for part in parts])
        parts = tuple(part - mean for part, mean in zip(parts, y_means, strict=True))
        moments = [x.T @ part.to(dtype) for x, part in zip(segments, parts, strict=True)]
        of_known = [n.T @ part for n, part in zip(own, parts, strict=True)]
        total = Y.new_zeros(len(alphas), Y.shape[1])
        for (held, fit, solve), stay in zip(prepared, stays, strict=True):
            share = counts * torch.tensor(stay, device=counts.device)
            mean, y_mean = share @ means / share.sum(), share @ y_means / share.sum()
            between = ((means - mean) * share[:, None]).T @ (y_means - y_mean)
            moment, own_moment = between[:width].to(dtype), between[width:]
            for segment, own_segment, is_left in zip(moments, of_known, stay, strict=True):
                if is_left:
                    moment += segment
                    own_moment += own_segment
            base = Y[held] - y_mean - fit @ own_moment
            moment = torch.cat([moment, own_moment.to(dtype)]) if len(own_moment) else moment
            total += solve(moment, base.to(dtype))
        return total

    return errors


def _of_rows(
    basis: RidgeBasis, alphas: Tensor, blocks: list[Block], dtype: torch.dtype, n_targets: int
) -> Errors:
    """Decompose the rows' Gram (n, n) without each block; t are the responses."""
    n = len(basis.gram)
    free = basis.gram.new_full((n, 1), n**-0.5)
    if basis.fixed is not None:
        free = torch.cat([free, basis.fixed], 1)
    prepared = []
    for held, guard in blocks:
        stays = torch.ones(n, dtype=torch.bool, device=free.device)
        stays[torch.cat([held, guard])] = False
        rows = stays.nonzero()[:, 0]
        own, fit = free[rows], torch.linalg.pinv(free[rows], rtol=_NO_WEIGHT**0.5)
        gram = basis.gram[rows[:, None], rows]
        across = basis.gram[held[:, None], rows] - (free[held] @ fit) @ gram
        gram = gram - own @ (fit @ gram)
        values, vectors = positive_directions(gram - (gram @ fit.T) @ own.T, n)
        left = (across - (across @ fit.T) @ own.T) @ vectors
        solve = _mixed(left, values, vectors.T, alphas, dtype, n_targets)
        prepared.append((held, rows, fit, free[held], solve))

    def errors(Y: Tensor) -> Tensor:
        total = Y.new_zeros(len(alphas), Y.shape[1])
        for held, rows, fit, known, solve in prepared:
            rest = Y[rows]
            total += solve(rest.to(dtype), (Y[held] - known @ (fit @ rest)).to(dtype))
        return total

    return errors


def _mixed(
    left: Tensor, eigenvalues: Tensor, right: Tensor, alphas: Tensor, dtype: torch.dtype, n_targets: int
) -> Callable[[Tensor, Tensor], Tensor]:
    """Prepare (A, R) squares of base (m, R) less left diag(1 / (s + alpha)) right t, for t (d, R)."""
    table = eigenvalues / (eigenvalues + alphas[:, None])
    largest = table.amax(1, keepdim=True) if len(eigenvalues) else torch.ones_like(alphas[:, None])
    mixing, size, functions = torch.linalg.svd(table / largest, full_matrices=False)
    kept = size > _MIXTURE_ERROR * torch.finfo(dtype).eps * size[:1].sum()
    # the last part is what the mixtures are taken from: one product, and no pass of its own
    weights = torch.cat([-largest * mixing[:, kept] * size[kept], torch.ones_like(largest)], 1).to(dtype)
    products = (left * (functions[kept] / eigenvalues)[:, None]).flatten(0, 1).to(dtype)
    turn: Tensor | None = right.to(dtype)
    if n_targets > len(products):
        products, turn = products @ right.to(dtype), None

    def squares(t: Tensor, base: Tensor) -> Tensor:
        parts = base.new_empty(len(products) + len(base), base.shape[1])
        torch.mm(products, t if turn is None else turn @ t, out=parts[: len(products)])
        parts[len(products) :] = base
        residual = (weights @ parts.view(weights.shape[1], -1)).view(len(weights), *base.shape)
        return residual.square_().sum(1).double()

    return squares


def _by_rows(
    basis: RidgeBasis, alphas: Tensor, blocks: list[Block], dtype: torch.dtype, n_targets: int
) -> Errors:
    """Return the same errors (A, R) through each block's (b, b) system I - B D B^T."""
    train, eigenvalues = basis.train.to(dtype), basis.eigenvalues.to(dtype)

    def errors(Y: Tensor) -> Tensor:
        total, targets = Y.new_zeros(len(alphas), Y.shape[1]), Y.to(dtype)
        coordinates = train.T @ targets
        for held, guard in blocks:
            out = torch.cat([held, guard])
            U = train[out]
            # I - B D B^T as what B cannot reach and what alpha shrinks: no difference of near equals
            beyond = torch.eye(len(out), dtype=U.dtype, device=U.device) - 1 / len(Y) - U @ U.T
            if basis.fixed is not None:
                own = almost_fixed(basis.fixed, dtype)[out]
                beyond = beyond - own @ own.T
            base = torch.cat([beyond, targets[out] - U @ coordinates], 1)
            right = torch.cat([U.T, coordinates], 1)
            at_once = max(1, (_SYSTEMS_CPU if Y.device.type == "cpu" else _SYSTEMS) // base.numel())
            done = 0
            for some in torch.split(alphas.to(dtype), at_once):
                shrunk = U * (some[:, None] / (eigenvalues + some[:, None]))[:, None]
                both = torch.baddbmm(base.expand(len(some), -1, -1), shrunk, right.expand(len(some), -1, -1))
                factor = torch.linalg.cholesky(both[:, :, : len(out)])
                residual = torch.cholesky_solve(both[:, :, len(out) :], factor)
                total[done : done + len(some)] += residual[:, : len(held)].square_().sum(1)
                done += len(some)
        return total

    return errors
