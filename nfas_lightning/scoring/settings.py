"""The choices of a scoring."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd
import torch

from nfas_lightning.data.responses import Responses
from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.functional.checks import check_count, check_option, check_seed
from nfas_lightning.functional.dmd import Centering, Criterion, Operator, Phase, check_svd_rank
from nfas_lightning.functional.standardization import Scaling
from nfas_lightning.functional.state_space import StateSpace, StateSpaceKind
from nfas_lightning.results import FEATURES, SCORES, Score
from nfas_lightning.scoring.encoder import Encoder
from nfas_lightning.scoring.regions import Regions

__all__ = ["ScoringSettings"]

_SHOWN = 5  # names in a message
_FEWEST_DRAWS = 20
_FEW = 2_000_000  # responses of one subject up to which predictions are kept for intervals
_SECONDS = 30.0  # for which responses and features are taken to remember, see docs/calibration.md


@dataclass(frozen=True)
class ScoringSettings:
    """How a trajectory becomes scores. Every field is one choice of the method page.

    Attributes:
        operator, svd_rank, centering, criterion, phase: see `nfas_lightning.functional.dmd`.
        state_space: ``"auto"``, ``"native"``, ``"procrustes"`` or ``"random_projection"``.
        n_components: upper bound on the width of the state space; None: 320.
        n_folds: outer folds where there is a single run; whole runs are held out where there are more.
        selection: how alpha is chosen, ``"folds"`` or ``"loo"``; None: folds for time series, loo for one
            response per stimulus.
        gap: volumes dropped on either side of a test block; None takes the responses' own.
        subjects: score the ``"group"`` mean, ``"each"`` subject, or ``"both"``.
        baselines: also score the last, best and mean block, all blocks, and the nuisances alone.
        score: the number that p and q test, that the depth table holds and that stands first in every table
            and figure; all three are computed. ``"alone"``: what a feature predicts; ``"joint"``: what it
            predicts together with the nuisances; ``"partial"``: what it adds to them, nuisances removed from
            both sides inside the training folds. Without nuisances the three are one.
        n_permutations: draws of the null; 0 leaves p and q empty.
        null_features: features that get p and q; each costs `n_permutations` fits. ``best_block`` cannot.
        n_bootstrap: draws of the intervals of scores, their means and differences over other stimuli and,
            from three on, other subjects, see `bootstrap_scores`; nothing is fitted again. None: 200 where
            volumes times targets are up to two million, else 0, no intervals.
        block_length: volumes that stay together in a draw; ``"fold"``: test folds are drawn whole, such as
            runs. None: 1 for one response per stimulus (repeats of a stimulus together), else 30 seconds.
        modes: directions of a second decomposition, whose modes share what they explain of each region: table
            ``modes``, see `mode_shares`. 4 gives two to four modes, and costs about as much as all else of
            the scoring; 0: no such table.
        keep_model: also fit the stable mode to all volumes and keep that encoding model, which predicts the
            responses to new stimuli: `ModelResult.region_model`, ``region_model.safetensors`` in a run.
        regions: column of the ROI table, such as ``"parcel"`` or ``"network"``, of regions that are formed
            after the fit: r, r2 and ceiling are means over a region's targets (voxels, vertices), each fitted
            on its own, and p is that of the mean r. None: every target is a row.
        least_ceiling: noise ceiling that a target needs to count in its region; None: all count.
        seed: seed of the null and of split halves.

    Raises:
        ValueError: a choice is none of its options, or a number is out of range.
    """

    operator: Operator = "joint"
    svd_rank: int | float | None = None
    centering: Centering = "scale"
    criterion: Criterion = "unit_circle"
    phase: Phase = "quadrature"
    state_space: StateSpaceKind = "auto"
    n_components: int | None = None
    n_folds: int = 5
    selection: Literal["folds", "loo"] | None = None
    gap: int | None = None
    subjects: Literal["group", "each", "both"] = "group"
    baselines: bool = True
    score: Score = "partial"
    n_permutations: int = 1000
    null_features: Sequence[str] = ("stable_mode",)
    n_bootstrap: int | None = None
    block_length: int | Literal["fold"] | None = None
    modes: int = 0
    keep_model: bool = False
    regions: str | None = None
    least_ceiling: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, options in (
            ("operator", get_args(Operator)),
            ("centering", get_args(Centering)),
            ("criterion", get_args(Criterion)),
            ("phase", get_args(Phase)),
            ("state_space", get_args(StateSpaceKind)),
            ("subjects", ("group", "each", "both")),
            ("score", SCORES),
        ):
            check_option(name, getattr(self, name), options)
        if self.selection is not None:
            check_option("selection", self.selection, ("folds", "loo"))
        if isinstance(self.svd_rank, float) and self.svd_rank.is_integer():
            # what jsonargparse makes of a whole number that the command line sets inside a list of callbacks
            object.__setattr__(self, "svd_rank", int(self.svd_rank))
        check_svd_rank(self.svd_rank)
        counts = {"n_folds": 2, "n_permutations": 0, "gap": 0, "n_bootstrap": 0, "block_length": 1}
        for name, least in counts.items():
            if (count := getattr(self, name)) is not None and (name, count) != ("block_length", "fold"):
                check_count(name, count, least)
        if self.n_bootstrap is not None and 0 < self.n_bootstrap < _FEWEST_DRAWS:
            raise InputError(
                f"n_bootstrap must be 0, for no intervals, or {_FEWEST_DRAWS} draws at least, which tell a "
                f"variance; got {self.n_bootstrap}."
            )
        if self.keep_model and self.operator == "per_stimulus":
            raise InputError(
                'keep_model=True needs operator="joint" or "pooled": "per_stimulus" has weights for the '
                "stimuli that were shown, and none for new ones."
            )
        check_count("modes", self.modes)
        if self.modes and self.operator != "joint":
            raise InputError(
                f'modes={self.modes} needs operator="joint", whose modes are those of all stimuli, got '
                f"operator={self.operator!r}: set modes=0 or the other operator."
            )
        if self.least_ceiling is not None and self.regions is None:
            raise InputError(
                f"least_ceiling={self.least_ceiling:g} chooses the targets of regions formed after the fit, "
                "and regions is None: name their column, such as regions='parcel'."
            )
        check_seed(self.seed)
        self._check_null_features()

    def _check_null_features(self) -> None:
        """Refuse features that would get no p, which nobody would say."""
        named = self.null_features
        computed = [name for name in FEATURES if name != "best_block"]
        if not self.baselines:
            computed = ["stable_mode", "random_weights"]
        unknown = [named] if isinstance(named, str) else [name for name in named if name not in computed]
        if unknown:
            raise InputError(
                f"null_features must be a list of features that can be tested, some of {computed}"
                f"{'' if self.baselines else ' without baselines'}, got {unknown[0]!r}."
            )

    @classmethod
    def given(cls, settings: ScoringSettings | None, **defaults: Any) -> ScoringSettings:
        """Return what a caller gave, or for None these defaults.

        Raises:
            TypeError: it is no `ScoringSettings`.
        """
        if settings is None:
            return cls(**defaults)
        if not isinstance(settings, cls):
            raise InputTypeError(
                f"settings must be ScoringSettings, such as ScoringSettings(seed=1), got {settings!r:.80}. "
                "Import it from nfas_lightning.scoring; a dictionary goes in as ScoringSettings(**settings)."
            )
        return settings

    def check(self, responses: Responses) -> None:
        """Refuse, before any forward pass, responses that could not be scored after.

        Raises:
            ValueError: see `Encoder`; or all values are NaN, or those of a subject that is scored alone.

        Warns:
            UserWarning: a subject has no part in the group's mean.
        """
        self.rows(responses.rois)
        encoder = Encoder(responses, self)
        encoder.check()
        _check_observed(responses, self.subjects)
        if self.least_ceiling is not None:
            known = encoder.subject_ceilings() if self.subjects == "each" else [encoder.group_ceiling()]
            highest = float(torch.stack(known).nan_to_num(nan=-torch.inf).max())
            if highest < self.least_ceiling:
                what = f"the highest is {highest:.3g}" if math.isfinite(highest) else "none is known"
                raise InputError(
                    f"least_ceiling={self.least_ceiling:g} leaves no target: of the noise ceilings {what}. "
                    "They take repetitions or several subjects; None keeps every target."
                )

    def rows(self, targets: pd.DataFrame) -> pd.DataFrame:
        """Return what a score's rows are, given the R rows of `Responses.rois`: targets, or their regions."""
        return targets if self.regions is None else Regions.of(targets, self.regions).rois

    def draws(self, responses: Responses) -> int:
        """Return the number of draws behind intervals of these responses' scores."""
        few = responses.values[0].numel() <= _FEW
        return (200 if few else 0) if self.n_bootstrap is None else self.n_bootstrap

    def drawn_rows(self, responses: Responses) -> int | None:
        """Return the rows that stay together in a draw; None: all of a test fold."""
        if self.block_length == "fold":
            return None
        if self.block_length is not None:
            return self.block_length
        return 1 if responses.tr is None else max(1, round(_SECONDS / responses.tr))

    def scaling(self, space: StateSpace) -> Scaling:
        """Return how `ridge_cv` should scale the stable mode that comes from a fitted space."""
        # a pooled mode's coordinate is a number of its own, not one of a turned space
        return "unit" if self.operator == "pooled" else space.scaling_


def _check_observed(responses: Responses, subjects: str) -> None:
    """Refuse responses without a single value where one is to be scored, see `ScoringSettings.check`.

    ROIs without a value pass, as long as some ROI has one: they score NaN, and the scoring says so.
    """
    missing = responses.values.isnan().flatten(1).all(dim=1).tolist()
    silent = [name for name, gone in zip(responses.subjects, missing, strict=True) if gone]
    if not silent:
        return
    rois = responses.rois["roi"]
    among = f"all {len(rois)} ROIs ({_listed(rois.tolist())})"
    who = f"{len(silent)} of {len(missing)} subjects ({_listed(silent)})"
    leave_out = "Leave them out: subjects=[...] of the datamodule names those to keep."
    if len(silent) < len(missing) and subjects == "group":
        warnings.warn(
            f"The responses of {responses.dataset!r} are NaN at {among} for {who}, who have no part in the "
            f"group's mean. {leave_out}",
            stacklevel=3,
        )
        return
    advice = (
        leave_out
        if len(silent) < len(missing)
        else "Look at how they were read: a wrong file, or a mask that holds no voxel."
    )
    raise InputError(
        f"The responses of {responses.dataset!r} must hold a value for whoever is scored, got NaN throughout "
        f"for {who}, at {among}. {advice}"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
