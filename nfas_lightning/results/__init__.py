"""Result tables of a run, the folder that keeps them, and the statistics of a space."""

from nfas_lightning.results.capture_cache import CaptureCache
from nfas_lightning.results.comparison import MEASURED, SIMULATED, compare_features
from nfas_lightning.results.keys import capture_key, content_key, scoring_key, stimuli_key
from nfas_lightning.results.numbers import (
    LIMITS,
    SCORES,
    Score,
    report_as,
    reported,
    tells_apart,
    three_numbers,
)
from nfas_lightning.results.ranking import Ranking, compare_models
from nfas_lightning.results.run_folder import RunFolder
from nfas_lightning.results.run_results import (
    COLUMNS,
    FEATURES,
    OPTIONAL,
    SIZES,
    TIME_COLUMNS,
    ModelResult,
    RunResults,
    empty_table,
    query_models,
)
from nfas_lightning.results.source_code import NoKeyError
from nfas_lightning.results.statistics import MIN_MODELS, SpaceStatistics, few_models, group_words
from nfas_lightning.results.subjects import GROUP, MEAN, subject_scores
from nfas_lightning.writing import write_csv, write_parquet

__all__ = [
    "COLUMNS", "FEATURES", "GROUP", "LIMITS", "MEAN", "MEASURED", "MIN_MODELS", "OPTIONAL", "SCORES",
    "SIMULATED", "SIZES", "TIME_COLUMNS", "CaptureCache", "ModelResult", "NoKeyError", "Ranking",
    "RunFolder", "RunResults", "Score", "SpaceStatistics", "capture_key", "compare_features",
    "compare_models", "content_key", "empty_table", "few_models", "group_words", "query_models",
    "report_as", "reported", "scoring_key", "stimuli_key", "subject_scores", "tells_apart", "three_numbers",
    "write_csv", "write_parquet",
]  # fmt: skip
