"""The null of a cross-validated encoding score: move the responses in time and fit again.

Without missing values, many moved copies are a few matrix products: features, folds and alphas stay, so what
a fold predicts is one linear map of the responses. A correlation does not depend on the responses' mean and
scale, so neither is computed again for a copy.
"""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.batches import split_targets
from nfas_lightning.functional.checks import (
    check_device,
    check_finite,
    check_option,
    check_shape,
    is_constant,
    with_float64,
)
from nfas_lightning.functional.confounds import regress_out, regress_out_ar1
from nfas_lightning.functional.correlation import MIN_ROWS, average_folds, correlate
from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.missing import column_patterns, has_missing
from nfas_lightning.functional.nulls import block_moves, phase_moves, shift_moves, table_size, turn_phases
from nfas_lightning.functional.ridge import EncodingResult
from nfas_lightning.functional.ridge_solver import RidgeBasis, decompose_features, one_thread_if_small
from nfas_lightning.functional.standardization import Scaling, nuisance_map, standardize

__all__ = ["Moves", "ridge_null"]

_ROUNDS = 3  # of giving noise back that nuisances took: each leaves about two thirds of what was missing

Moves = Literal["shift", "phase", "blocks"]


class _Fold(NamedTuple):
    """Training rows (n,), test rows (m,), alphas (R,) and the decomposition of the features."""

    train: Tensor
    test: Tensor
    alphas: Tensor
    basis: RidgeBasis


@with_float64
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
    block_length: int = 1,
    together: Tensor | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
    target_batch: int | None = None,
) -> Tensor:
    r"""Score the same encoding model on responses that were moved in time, so that nothing links them to `X`.

    Every permutation repeats the cross-validation: training responses are moved too. Moving only the test
    responses is not enough. What fold j teaches about fold k and fold k about fold j is the same accident, so
    a cross-validated r varies more under the null than its folds do separately, and such a test rejects
    several times too often.

    Features, folds and chosen alphas stay, so a fold's eigendecomposition serves all permutations; choosing
    alpha again changes no rate. Nuisances are removed from the responses before these move (Freedman and
    Lane; of time series by `regress_out_ar1`), noise in the place of what noise went with them, and in every
    fold again.

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
            ``"blocks"`` shuffles blocks of rows, for one response per stimulus with `block_length` 1.
        block_length: rows in a block.
        together: (T,) labels of rows that ``"blocks"`` moves as one, see `block_moves`; None: none do.
        n_permutations: M wanted; ``"shift"`` gives fewer where there are fewer rotations.
        seed: of the moves; all ROIs share them, so the null keeps their dependence.
        target_batch: responses to work on at a time, without influence on the null; None: as memory allows.

    Returns:
        (M, R) correlations under the null, averaged over folds as `result.r` is. NaN for an ROI
        that `ridge_cv` could not train. A warning where there are too few rotations for a p of .05.

    Raises:
        ValueError: shapes or devices that disagree, arguments under which `result` has other folds, groups
            too short to move, or ``"phase"`` with NaN.

    Reference:
        Freedman and Lane (1983), J. Bus. Econ. Stat. 1, 292-298, doi:10.1080/07350015.1983.10509354; Harris
        (2020), doi:10.48550/arXiv.2012.06862.

    Example:
        >>> from nfas_lightning.functional.ridge import ridge_cv
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
    if moves == "phase":  # what is missing has no spectrum
        check_finite("Y", Y)
    groups = None if groups is None else groups.to(X.device)
    nuisances = None if nuisances is None else nuisances.to(X.device)
    rows = _same_folds(len(X), result, groups, gap)
    if moves == "shift":
        drawn = shift_moves(len(Y), groups=groups, n_moves=n_permutations, seed=seed)
    elif moves == "phase":
        drawn = phase_moves(len(Y), groups=groups, n_moves=n_permutations, seed=seed)
    else:
        drawn = block_moves(
            len(Y),
            groups=groups,
            n_moves=n_permutations,
            block_length=block_length,
            together=together,
            seed=seed,
        )
    if moves == "shift" and len(drawn) < min(19, n_permutations):
        warnings.warn(
            f"The series have {len(drawn)} rotations, too few for a p of .05: give longer runs, or "
            'take moves="phase".',
            stacklevel=3,  # through with_float64
        )
    drawn, dtype, n_rois = drawn.to(Y.device), result.r.dtype, Y.shape[1]
    null = torch.empty(len(drawn), n_rois, dtype=dtype, device=Y.device)
    per_target = 4 * len(drawn) * (len(rows) + 1) + 64 * len(Y)
    with one_thread_if_small(X):
        folds = [
            _Fold(train, test, alphas, _basis(X, train, test, nuisances, result.scaling))
            for (train, test), alphas in zip(rows, result.alphas, strict=True)
        ]
        maps = [_fold_map(fold, len(Y), nuisances, dtype) for fold in folds]
        for part in split_targets(n_rois, per_target, Y.device, target_batch):
            y = Y[:, part].to(dtype)
            if nuisances is not None and not joint:
                y = regress_out(y, nuisances) if moves == "blocks" else _without(y, nuisances, groups, seed)
            if has_missing(y):
                own = [fold._replace(alphas=fold.alphas[part]) for fold in folds]
                null[:, part] = _with_missing(X, y, drawn, own, nuisances, result.scaling, joint)
            else:
                null[:, part] = _complete(y, part.start, drawn, groups, maps, joint)
    return null


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
        raise InputError(
            "result has other folds than these arguments give: pass the groups given to ridge_cv."
        )
    return folds


def _without(y: Tensor, nuisances: Tensor, groups: Tensor | None, seed: int) -> Tensor:
    """Return time series (T, R) without what nuisances explain of them, but with as much noise as they had.

    What is left has lost all noise that resembles nuisances. If these are slow, as features are, it is also
    too quiet where features are, and scores of moved copies are too small: by 6 % of r2 for six nuisances of
    200 volumes, which a test over hundreds of ROIs sees. So what nuisances explain of copies with random
    phases, which is chance, takes its place; several times, as copies lack it too.
    """
    # least squares would also take what slow series and slow nuisances share by chance, and make the null too
    # narrow: 6.2 % instead of 5 % in the calibration page's case
    own = noise = regress_out_ar1(y, nuisances, groups)
    for angles in phase_moves(len(y), groups=groups, n_moves=_ROUNDS, seed=seed).to(y):
        (copy,) = turn_phases(noise.nan_to_num(), angles[None], groups)
        noise = own + copy - regress_out_ar1(copy, nuisances, groups)
    return noise


def _complete(
    Y: Tensor, first: int, drawn: Tensor, groups: Tensor | None, maps: list[_FoldMap], joint: bool
) -> Tensor:
    """Score copies (M, R) of ROIs from the `first` on, none missing. Floating-point moves are phases."""
    n_rows, n_rois = Y.shape
    wide = Y.double()
    deviation = wide.std(0, correction=0)
    unit = ((wide - wide.mean(0)) / torch.where(deviation > 0, deviation, 1)).to(Y.dtype)
    scored = Y.new_empty(len(drawn), len(maps), n_rois)
    size = table_size(Y.device)
    for some in torch.split(torch.arange(len(drawn)), max(1, size // n_rows)):
        for rois in torch.split(torch.arange(n_rois), max(1, size // (n_rows * len(some)))):
            if drawn.is_floating_point():
                copies = turn_phases(unit[:, rois], drawn[some], groups).permute(2, 1, 0).contiguous()
            else:
                copies = unit.T[rois][:, drawn[some].T]
            still = _constant_in_training(maps, copies)
            for k, fold in enumerate(maps):
                own = rois.to(Y.device) + first
                lost = still[k].T | fold.untrained[own]
                r = _refit_scores(fold, copies, own, joint=joint).T
                scored[some[:, None], k, rois] = r.masked_fill(lost, float("nan"))
    return average_folds(scored, torch.ones_like(scored, dtype=torch.bool))


def _with_missing(
    X: Tensor,
    Y: Tensor,
    drawn: Tensor,
    folds: list[_Fold],
    nuisances: Tensor | None,
    scaling: Scaling,
    joint: bool,
) -> Tensor:
    """Score copies (M, R) fold by fold, each pattern of missing rows fitted separately."""
    averaged = []
    for some in torch.split(drawn, max(1, table_size(Y.device) // Y.numel())):
        moved = Y[some]
        columns = moved.movedim(0, 1).reshape(len(Y), -1)
        r = torch.stack([_score(X, columns, fold, nuisances, scaling, joint) for fold in folds])
        seen = torch.stack([(~moved[:, fold.test].isnan()).sum(1) >= MIN_ROWS for fold in folds], 1)
        averaged.append(average_folds(r.reshape(len(folds), len(moved), -1).movedim(0, 1), seen))
    return torch.cat(averaged)


def _basis(X: Tensor, train: Tensor, test: Tensor, nuisances: Tensor | None, scaling: Scaling) -> RidgeBasis:
    """Decompose a fold's standardized features."""
    x = standardize(X, train, test, nuisances, scaling)
    return decompose_features(x.train, x.test)


def _score(
    X: Tensor, moved: Tensor, fold: _Fold, nuisances: Tensor | None, scaling: Scaling, joint: bool
) -> Tensor:
    """Correlate a fold's predictions with moved responses (T, C), C = permutations x ROIs: (C,)."""
    alphas = fold.alphas.repeat(moved.shape[1] // len(fold.alphas))
    r = torch.full_like(alphas, float("nan"))
    for columns, observed in column_patterns(moved[fold.train]):
        rows = fold.train[observed]
        if len(rows) < 2:
            continue
        complete = bool(observed.all())
        basis = fold.basis if complete else _basis(X, rows, fold.test, nuisances, scaling)
        y = standardize(moved[:, columns], rows, fold.test, nuisances)
        preds, target = basis.predict(y.train, alphas[columns].double()), y.test
        if joint:
            preds, target = preds + y.explained, y.whole
        r[columns] = correlate(preds.to(moved.dtype), target.to(moved.dtype))
    return r


class _FoldMap(NamedTuple):
    """One fold as maps of all T responses of a copy; training columns alone are not zero.

    Attributes:
        test: (m,) rows that the fold tests.
        train: (T,) 1 where a row trains, else 0.
        coordinates: (k, T) responses to coordinates on the features' left singular vectors. These are
            orthogonal to the constant and to the nuisances, which so drop out.
        loadings: (m, k) coordinates, once shrunk, to predictions of the test rows less their mean.
        shrinkage: (A, k) of each alpha that some ROI chose.
        choice: (R,) which of them.
        untrained: (R,) ROIs without an alpha.
        nuisances: (m, T) what the nuisances predict for the test rows, None without.
        smoothers: (A, m, T) all of it in one matrix per alpha, where that is less work; else None.
    """

    test: Tensor
    train: Tensor
    coordinates: Tensor
    loadings: Tensor
    shrinkage: Tensor
    choice: Tensor
    untrained: Tensor
    nuisances: Tensor | None
    smoothers: Tensor | None


def _fold_map(fold: _Fold, n_rows: int, nuisances: Tensor | None, dtype: torch.dtype) -> _FoldMap:
    """Build the maps of a fold in float64 and cast them to `dtype`; `n_rows` is T."""
    train, test, alphas, basis = fold

    def widen(columns: Tensor) -> Tensor:
        wide = columns.new_zeros(len(columns), n_rows)
        wide[:, train] = columns
        return wide.to(dtype)

    chosen, choice = torch.unique(alphas.double().nan_to_num(nan=1.0), return_inverse=True)
    s, loadings = basis.eigenvalues, basis.test - basis.test.mean(0)
    flat = is_constant(loadings.abs().amax(0), basis.test.abs().amax(0), dtype)
    loadings = loadings.masked_fill(flat, 0)
    shrinkage = s.sqrt() / (s + chosen[:, None])
    smoothers = None
    n_axes, n_test = len(s), len(test)
    if n_test * n_rows <= n_axes * (n_rows + n_test):
        smoothers = torch.stack([widen((loadings * row) @ basis.train.T) for row in shrinkage])
    explained = None
    if nuisances is not None:
        _, new, inverse, _ = nuisance_map(nuisances, train, test)
        explained = widen(new @ inverse)
    return _FoldMap(
        test=test,
        train=widen(s.new_ones(1, len(train)))[0],
        coordinates=widen(basis.train.T),
        loadings=loadings.to(dtype),
        shrinkage=shrinkage.to(dtype),
        choice=choice,
        untrained=alphas.isnan(),
        nuisances=explained,
        smoothers=smoothers,
    )


def _refit_scores(fold: _FoldMap, copies: Tensor, rois: Tensor, *, joint: bool = False) -> Tensor:
    """Correlate a fold's predictions with the copies it was refitted on.

    Args:
        fold: the maps.
        copies: (C, T, M) copies of C ROIs, of about unit variance and zero mean over all rows.
        rois: (C,) which ROIs they are.
        joint: predict the copies as they are by features and nuisances, not what the nuisances leave of them.

    Returns:
        (C, M); NaN where predictions or test responses are constant.
    """
    choice = fold.choice[rois]
    if fold.smoothers is not None:
        preds = torch.bmm(fold.smoothers[choice], copies)
    else:
        preds = fold.loadings @ ((fold.coordinates @ copies) * fold.shrinkage[choice][:, :, None])
    first, last = int(fold.test[0]), int(fold.test[-1])
    together = last - first + 1 == len(fold.test)
    target = copies[:, first : last + 1] if together else copies[:, fold.test]
    if fold.nuisances is not None:
        explained = fold.nuisances @ copies
        if joint:
            preds = preds + explained - explained.mean(1, keepdim=True)
        else:
            target = target - explained
    # predictions have mean zero over the test rows, so the target's mean drops out of the product
    square, mean = torch.linalg.vector_norm(target, dim=1).square(), target.mean(1)
    variance = square - len(fold.test) * mean.square()
    power = torch.linalg.vector_norm(preds, dim=1)
    r: Tensor = (preds * target).sum(1) / (power * variance.clamp(min=0).sqrt())
    still = is_constant(variance, square, r.dtype) | (power == 0)
    return r.clamp(-1, 1).masked_fill(still, float("nan"))


def _constant_in_training(folds: list[_FoldMap], copies: Tensor) -> Tensor:
    """Return (folds, C, M) booleans: a copy's training rows do not vary, and its predictions are rounding."""
    train = torch.stack([fold.train for fold in folds])
    weights = train / train.sum(1, keepdim=True)
    mean, square = weights @ copies, weights @ copies.square()
    return is_constant(square - mean.square(), square, copies.dtype).movedim(1, 0)
