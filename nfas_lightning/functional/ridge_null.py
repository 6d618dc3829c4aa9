"""The null of a cross-validated encoding score: move the responses in time and fit again."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import torch
from torch import Tensor

from nfas_lightning.functional._encoding_rows import Scaling, standardize
from nfas_lightning.functional._refits import constant_in_training, fold_map, refit_scores
from nfas_lightning.functional.checks import check_device, check_option, check_shape
from nfas_lightning.functional.confounds import regress_out, regress_out_ar1
from nfas_lightning.functional.correlation import MIN_ROWS, average_folds, correlate
from nfas_lightning.functional.encoding import EncodingResult
from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.missing import column_patterns
from nfas_lightning.functional.moves import block_moves, phase_moves, shift_moves, turn_phases
from nfas_lightning.functional.nulls import table_size
from nfas_lightning.functional.ridge import RidgeBasis, decompose
from nfas_lightning.functional.threads import one_thread_if_small

__all__ = ["Moves", "ridge_null"]

Moves = Literal["shift", "phase", "blocks"]

Fold = tuple[Tensor, Tensor, RidgeBasis]
"""Training rows, test rows, and the decomposition of the fold's features."""


def ridge_null(
    X: Tensor,
    Y: Tensor,
    result: EncodingResult,
    *,
    groups: Tensor | None = None,
    gap: int = 0,
    nuisances: Tensor | None = None,
    joint: bool = False,
    moves: Moves = "shift",
    min_shift: int = 0,
    block_length: int = 1,
    together: Tensor | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
    per_fold: bool = False,
) -> Tensor:
    r"""Score the same encoding model on responses that were moved in time, so that nothing links them to `X`.

    Every permutation repeats the cross-validation: training responses are moved too. Moving the test
    responses alone, under predictions that stay, is not enough. What fold j teaches about fold k and fold k
    about fold j is one and the same accident, so a cross-validated r varies more under the null than its
    folds do one by one, and such a test rejects several times too often.

    Features, folds and chosen penalties stay, so a fold's eigendecomposition serves all permutations;
    choosing the penalties again changes no rate. Nuisances are taken out of the responses before these move
    (Freedman and Lane; of time series by `regress_out_ar1`), and in every fold again.

    Args:
        X: (T, P) the features of `ridge_cv`.
        Y: (T, R) its responses. NaN moves along; with NaN every permutation has folds of its own to
            decompose.
        result: what `ridge_cv` returned.
        groups: (T,) as given to `ridge_cv`. Responses move within their group.
        gap: as given to `ridge_cv`.
        nuisances: (T, Q) as given to `ridge_cv`.
        joint: score what features and nuisances predict together, the null of `result.r_joint`: responses
            then move with all that nuisances explain of them.
        moves: ``"shift"`` rotates the responses in time, for time series; ``"phase"`` gives them random
            phases, for time series too short for small p values (a run of n rows has n rotations);
            ``"blocks"`` shuffles blocks of rows, for one response a stimulus with `block_length` 1.
        min_shift: smallest rotation in rows, either way. Above 0 the neighbors of the observed score are
            missing from the null, which makes p too small, the more the slower the series.
        block_length: rows in a block.
        together: (T,) labels of rows that ``"blocks"`` moves as one, see `block_moves`; None: none do.
        n_permutations: M wanted; ``"shift"`` gives fewer where there are fewer rotations.
        seed: of the moves; all ROIs share them, so the null keeps their dependence.
        per_fold: return the folds' correlations instead of their average.

    Returns:
        (M, R) correlations under the null, averaged over folds as `result.r` is; or (M, folds, R). NaN for an
        ROI that `ridge_cv` could not train. A warning where there are too few rotations for a p of .05.

    Raises:
        ValueError: shapes or devices that disagree, arguments under which `result` has other folds, groups
            too short to move, or ``"phase"`` with NaN.

    Reference:
        Freedman and Lane (1983), J. Bus. Econ. Stat. 1, 292-298, doi:10.1080/07350015.1983.10509354; Harris
        (2020), doi:10.48550/arXiv.2012.06862.

    Example:
        >>> from nfas_lightning.functional.encoding import ridge_cv
        >>> from nfas_lightning.functional.nulls import permutation_p
        >>> X = torch.randn(80, 2, generator=torch.Generator().manual_seed(0))
        >>> result = ridge_cv(X, X[:, :1])
        >>> permutation_p(result.r, ridge_null(X, X[:, :1], result))  # 79 rotations of 80 rows
        tensor([0.0125])
    """
    check_shape("X", X, "T P")
    check_shape("Y", Y, "T R", T=len(X), R=len(result.r))
    check_device("Y", Y, "X", X)
    check_option("moves", moves, get_args(Moves))
    groups = None if groups is None else groups.to(X.device)
    nuisances = None if nuisances is None else nuisances.to(X.device)
    folds = _same_folds(len(X), result, groups, gap)
    Y = Y.to(result.preds.dtype)
    Y = Y if joint else _without_nuisances(Y, nuisances, moves, groups)
    drawn = _draw(len(Y), groups, moves, min_shift, block_length, together, n_permutations, seed).to(Y.device)
    if moves == "shift" and len(drawn) < min(19, n_permutations):
        warnings.warn(
            f"The series have {len(drawn)} rotations, too few for a p of .05: give longer runs, or "
            'take moves="phase".',
            stacklevel=2,
        )
    with one_thread_if_small(X):
        parts = [(train, test, _basis(X, train, test, nuisances, result.scaling)) for train, test in folds]
        if bool(Y.isnan().any()):
            scored, observed = _with_missing(X, Y, drawn, moves, groups, parts, result, nuisances, joint)
        else:
            scored = _complete(Y, drawn, moves, groups, parts, result.alphas, nuisances, joint)
            observed = torch.ones_like(scored, dtype=torch.bool)
    return scored if per_fold else average_folds(scored, observed)


def _same_folds(
    n_rows: int, result: EncodingResult, groups: Tensor | None, gap: int
) -> list[tuple[Tensor, Tensor]]:
    """Return the (train, test) rows of the folds that `result` was fitted in, or raise where these differ."""
    device = result.fold.device
    folds = contiguous_folds(n_rows, groups=groups, n_folds=len(result.fold_r), gap=gap, device=device)
    fold = result.fold.new_full((n_rows,), -1)
    for index, (_, test) in enumerate(folds):
        fold[test] = index
    if not torch.equal(fold, result.fold):
        raise ValueError(
            "result has other folds than these arguments give: pass the groups given to ridge_cv."
        )
    return folds


def _without_nuisances(Y: Tensor, nuisances: Tensor | None, moves: Moves, groups: Tensor | None) -> Tensor:
    """Return the responses that move: what the nuisances leave of them."""
    if nuisances is None:
        return Y
    if moves == "blocks":
        return regress_out(Y, nuisances)
    # residuals of least squares would be quicker than what the nuisances left of a slow series, and the null
    # too narrow: 6.2 % instead of 5 % in docs/calibration.md's case
    return regress_out_ar1(Y, nuisances, groups)


def _draw(
    n_rows: int,
    groups: Tensor | None,
    moves: Moves,
    min_shift: int,
    block_length: int,
    together: Tensor | None,
    n_permutations: int,
    seed: int,
) -> Tensor:
    """Return (M, T) moves: rows, or phases."""
    if moves == "shift":
        return shift_moves(n_rows, groups=groups, n_moves=n_permutations, min_shift=min_shift, seed=seed)
    if moves == "phase":
        return phase_moves(n_rows, groups=groups, n_moves=n_permutations, seed=seed)
    return block_moves(
        n_rows,
        groups=groups,
        n_moves=n_permutations,
        block_length=block_length,
        together=together,
        seed=seed,
    )


def _complete(
    Y: Tensor,
    drawn: Tensor,
    moves: Moves,
    groups: Tensor | None,
    parts: list[Fold],
    alphas: Tensor,
    nuisances: Tensor | None,
    joint: bool,
) -> Tensor:
    """Score copies of responses without a missing value: (M, folds, R)."""
    n_rows, n_rois = Y.shape
    wide = Y.double()
    deviation = wide.std(0, correction=0)
    unit = ((wide - wide.mean(0)) / torch.where(deviation > 0, deviation, 1)).to(Y.dtype)
    maps = [
        fold_map(basis, train, test, n_rows, penalty, nuisances, Y.dtype)
        for (train, test, basis), penalty in zip(parts, alphas, strict=True)
    ]
    scored = Y.new_empty(len(drawn), len(parts), n_rois)
    trained = ~alphas.isnan()
    size = table_size(Y.device)
    for some in torch.split(torch.arange(len(drawn)), max(1, size // n_rows)):
        for rois in torch.split(torch.arange(n_rois), max(1, size // (n_rows * len(some)))):
            if moves == "phase":
                copies = turn_phases(unit[:, rois], drawn[some], groups).permute(2, 1, 0).contiguous()
            else:
                copies = unit.T[rois][:, drawn[some].T]
            still = constant_in_training(maps, copies)
            for k, fold in enumerate(maps):
                lost = still[k].T | ~trained[k, rois]
                r = refit_scores(fold, copies, rois.to(Y.device), joint=joint).T
                scored[some[:, None], k, rois] = r.masked_fill(lost, float("nan"))
    return scored


def _with_missing(
    X: Tensor,
    Y: Tensor,
    drawn: Tensor,
    moves: Moves,
    groups: Tensor | None,
    parts: list[Fold],
    result: EncodingResult,
    nuisances: Tensor | None,
    joint: bool,
) -> tuple[Tensor, Tensor]:
    """Score copies fold by fold, each pattern of missing rows fitted for itself: r and where observed."""
    scored, observed = [], []
    for chunk in torch.split(drawn, max(1, table_size(Y.device) // Y.numel())):
        moved = turn_phases(Y, chunk, groups) if moves == "phase" else Y[chunk]
        columns = moved.movedim(0, 1).reshape(len(Y), -1)
        r = [
            _score(X, columns, penalty, train, test, nuisances, result.scaling, basis, joint)
            for (train, test, basis), penalty in zip(parts, result.alphas, strict=True)
        ]
        scored.append(torch.stack(r).reshape(len(parts), len(moved), Y.shape[1]).movedim(0, 1))
        observed.append(
            torch.stack([(~moved[:, test].isnan()).sum(1) >= MIN_ROWS for _, test, _ in parts], 1)
        )
    return torch.cat(scored), torch.cat(observed)


def _basis(X: Tensor, train: Tensor, test: Tensor, nuisances: Tensor | None, scaling: Scaling) -> RidgeBasis:
    """Decompose a fold's standardized features."""
    x = standardize(X, train, test, nuisances, scaling)
    return decompose(x.train, x.test)


def _score(
    X: Tensor,
    moved: Tensor,
    alphas: Tensor,
    train: Tensor,
    test: Tensor,
    nuisances: Tensor | None,
    scaling: Scaling,
    basis: RidgeBasis,
    joint: bool,
) -> Tensor:
    """Correlate a fold's predictions with moved responses (T, C), C = permutations x ROIs: (C,)."""
    penalty = alphas.repeat(moved.shape[1] // len(alphas))
    r = torch.full_like(penalty, float("nan"))
    for columns, observed in column_patterns(moved[train]):
        rows = train[observed]
        if len(rows) < 2:
            continue
        axes = basis if bool(observed.all()) else _basis(X, rows, test, nuisances, scaling)
        y = standardize(moved[:, columns], rows, test, nuisances)
        preds, target = axes.predict(y.train, penalty[columns].double()), y.test
        if joint:
            preds, target = preds + y.explained, y.whole
        r[columns] = correlate(preds.to(moved.dtype), target.to(moved.dtype))
    return r
