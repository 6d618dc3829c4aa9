"""The null of a cross-validated encoding score: move the responses in time and fit again."""

from __future__ import annotations

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_option, check_shape
from nfas_lightning.functional.confounds import regress_out
from nfas_lightning.functional.correlation import average_folds, correlate
from nfas_lightning.functional.encoding import EncodingResult, standardise
from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.missing import column_patterns
from nfas_lightning.functional.nulls import CHUNK, block_moves, shift_moves
from nfas_lightning.functional.ridge import RidgeBasis, decompose

__all__ = ["ridge_null"]


def ridge_null(
    X: Tensor,
    Y: Tensor,
    result: EncodingResult,
    *,
    groups: Tensor | None = None,
    gap: int = 0,
    nuisances: Tensor | None = None,
    moves: str = "shift",
    min_shift: int = 1,
    block_length: int = 1,
    n_permutations: int = 1000,
    seed: int = 0,
    per_fold: bool = False,
) -> Tensor:
    r"""Score the same encoding model on responses that were moved in time, so that nothing links them to `X`.

    Every permutation repeats the cross-validation: training responses are moved too. Moving the test
    responses alone, under predictions that stay, is not enough. What fold j teaches about fold k and fold k
    about fold j is one and the same accident, so a cross-validated r varies more under the null than its
    folds do one by one; on autocorrelated noise such a test at 5 % rejected 16 to 27 % of the time, this one
    5 to 9 %.

    Features, folds and chosen penalties stay, so a fold's eigendecomposition serves all permutations.
    Nuisances are taken out of the responses before these move (Freedman and Lane), and in every fold again.

    Args:
        X: (T, P) the features of `ridge_cv`.
        Y: (T, R) its responses. NaN moves along; with NaN every permutation has folds of its own to
            decompose.
        result: what `ridge_cv` returned.
        groups: (T,) as given to `ridge_cv`. Responses move within their group.
        gap: as given to `ridge_cv`.
        nuisances: (T, Q) as given to `ridge_cv`.
        moves: ``"shift"`` rotates the responses in time, for time series; ``"blocks"`` shuffles blocks of
            rows, for one response a stimulus with `block_length` 1.
        min_shift: smallest rotation in rows; take at least the length of the haemodynamic response.
        block_length: rows in a block.
        n_permutations: M.
        seed: of the moves; all ROIs share them, so the null keeps their dependence.
        per_fold: return the folds' correlations instead of their average.

    Returns:
        (M, R) correlations under the null, averaged over folds as `result.r` is; or (M, folds, R). NaN for an
        ROI that `ridge_cv` could not train.

    Raises:
        ValueError: shapes that disagree, arguments under which `result` has other folds, or groups too short
            to move.

    Reference:
        Freedman and Lane (1983), J. Bus. Econ. Stat. 1, 292-298, doi:10.1080/07350015.1983.10509354; Harris
        (2020), doi:10.48550/arXiv.2012.06862.

    Example:
        >>> from nfas_lightning.functional.encoding import ridge_cv
        >>> from nfas_lightning.functional.nulls import permutation_p
        >>> X = torch.randn(80, 2, generator=torch.Generator().manual_seed(0))
        >>> result = ridge_cv(X, X[:, :1])
        >>> permutation_p(result.r, ridge_null(X, X[:, :1], result, n_permutations=99))
        tensor([0.0100])
    """
    check_shape("X", X, "T P")
    check_shape("Y", Y, "T R", T=len(X), R=len(result.r))
    check_option("moves", moves, ("shift", "blocks"))
    n_folds, n_rois = result.fold_r.shape
    folds = contiguous_folds(len(X), groups=groups, n_folds=n_folds, gap=gap)
    fold = torch.full_like(result.fold, -1)
    for index, (_, test) in enumerate(folds):
        fold[test] = index
    if not torch.equal(fold, result.fold):
        raise ValueError(
            "result has other folds than these arguments give: pass the groups given to ridge_cv."
        )
    if moves == "shift":
        rows = shift_moves(len(X), groups=groups, n_moves=n_permutations, min_shift=min_shift, seed=seed)
    else:
        rows = block_moves(
            len(X), groups=groups, n_moves=n_permutations, block_length=block_length, seed=seed
        )
    Y = Y.to(result.preds.dtype)
    if nuisances is not None:
        Y = regress_out(Y, nuisances)
    chunks = torch.split(rows.to(Y.device), max(1, CHUNK // Y.numel()))
    missing = Y.isnan()
    scored, observed = [], []
    for (train, test), penalties in zip(folds, result.penalties, strict=True):
        basis = _basis(X, train, test, nuisances)
        parts = []
        for chunk in chunks:
            moved = Y[chunk].movedim(0, 1).reshape(len(Y), -1)
            parts.append(_score(X, moved, penalties, train, test, nuisances, basis))
        scored.append(torch.cat(parts).reshape(n_permutations, n_rois))
        observed.append(torch.cat([(~missing[chunk[:, test]]).sum(1) >= 2 for chunk in chunks]))
    null = torch.stack(scored, 1)
    return null if per_fold else average_folds(null, torch.stack(observed, 1))


def _basis(X: Tensor, train: Tensor, test: Tensor, nuisances: Tensor | None) -> RidgeBasis:
    """Decompose a fold's standardised features."""
    x_train, x_test, constant = standardise(X, train, test, nuisances)
    return decompose(x_train.masked_fill(constant, 0), x_test.masked_fill(constant, 0))


def _score(
    X: Tensor,
    moved: Tensor,
    penalties: Tensor,
    train: Tensor,
    test: Tensor,
    nuisances: Tensor | None,
    basis: RidgeBasis,
) -> Tensor:
    """Correlate a fold's predictions with moved responses (T, C), C = permutations x ROIs: (C,)."""
    penalty = penalties.repeat(moved.shape[1] // len(penalties))
    r = torch.full_like(penalty, float("nan"))
    for columns, observed in column_patterns(moved[train]):
        rows = train[observed]
        if len(rows) < 2:
            continue
        axes = basis if bool(observed.all()) else _basis(X, rows, test, nuisances)
        y_train, y_test, constant = standardise(moved[:, columns], rows, test, nuisances)
        targets = y_train.masked_fill(constant, 0).to(moved.dtype)
        preds = axes.to(moved.dtype).predict(targets, penalty[columns])
        r[columns] = correlate(preds, y_test.to(moved.dtype))
    return r
