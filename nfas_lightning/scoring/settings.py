"""The choices of a scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.checks import check_count, check_option, check_seed
from nfas_lightning.functional.dmd import Centering, Criterion, Operator, Phase, check_svd_rank
from nfas_lightning.functional.state_space import StateSpaceKind
from nfas_lightning.results import FEATURES, SCORES, Score
from nfas_lightning.scoring.observed import check_observed
from nfas_lightning.scoring.ridge import BenchmarkRidge

__all__ = ["ScoringSettings"]


@dataclass(frozen=True)
class ScoringSettings:
    """How a trajectory becomes scores. Every field is one choice of the method page.

    Attributes:
        operator, svd_rank, centering, criterion, phase: see `nfas_lightning.functional.dmd`.
        state_space: ``"auto"``, ``"native"``, ``"procrustes"`` or ``"random_projection"``.
        n_components: upper bound on the width of the state space; None: 320.
        n_folds: outer folds where there is a single run; whole runs are held out where there are more.
        selection: how the penalty is chosen, ``"folds"`` or ``"loo"``; None: folds for time series, loo for
            one response a stimulus.
        gap: volumes dropped on either side of a test block; None takes the responses' own.
        subjects: score the ``"group"`` mean, ``"each"`` subject, or ``"both"``.
        baselines: also score the last, best and mean block, all blocks, and the nuisances alone.
        score: the number that p and q test, that the depth table holds and that stands first in every table
            and figure; all three are computed. ``"alone"``: what a feature predicts; ``"joint"``: what it
            predicts together with the nuisances; ``"partial"``: what it adds to them, nuisances removed from
            both sides inside the training folds. Without nuisances the three are one.
        n_permutations: draws of the null; 0 leaves p and q empty.
        null_features: features that get p and q; each costs `n_permutations` fits. ``best_block`` cannot.
        keep_model: also fit the stable mode to all volumes and keep that encoding model, which predicts the
            responses to new stimuli: `ModelResult.region_model`, ``region_model.safetensors`` in a run.
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
    keep_model: bool = False
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
        check_svd_rank(self.svd_rank)
        for name, least in (("n_folds", 2), ("n_permutations", 0), ("gap", 0)):
            if name != "gap" or self.gap is not None:
                check_count(name, getattr(self, name), least)
        if self.keep_model and self.operator == "per_stimulus":
            raise ValueError(
                'keep_model=True needs operator="joint" or "pooled": "per_stimulus" has weights for the '
                "stimuli that were shown, and none for new ones."
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
            raise ValueError(
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
            raise TypeError(
                f"settings must be ScoringSettings, such as ScoringSettings(seed=1), got {settings!r:.80}. "
                "Import it from nfas_lightning.scoring; a dictionary goes in as ScoringSettings(**settings)."
            )
        return settings

    def check(self, responses: Responses) -> None:
        """Refuse, before any forward pass, responses that could not be scored after.

        Raises:
            ValueError: see `BenchmarkRidge` and `check_observed`.
        """
        self.ridge(responses).check(null=self.n_permutations > 0)
        check_observed(responses, self.subjects)

    def ridge(self, responses: Responses) -> BenchmarkRidge:
        """Return the regression onto these responses.

        Asking for it before a model runs tells then, not after the forward passes, what can't be scored.

        Raises:
            ValueError: see `BenchmarkRidge`.
        """
        return BenchmarkRidge(
            responses,
            n_folds=self.n_folds,
            selection=self.selection,
            gap=self.gap,
        )
