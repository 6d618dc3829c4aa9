"""Planted scores of a handful of models, as the long table of a run."""

import numpy as np
import pandas as pd

from nfas_lightning.results import COLUMNS


def scores_table(modalities=("audio", "audio", "audio", "vision", "vision", "vision"), n_rois=8, seed=0):
    """Long scores table of planted models, in the columns of a run."""
    generator = np.random.default_rng(seed)
    level = {name: generator.uniform(0.1, 0.5, n_rois) for name in sorted(set(modalities))}
    rows = [
        {
            **dict.fromkeys(COLUMNS["scores"], 0.0),
            "score": "alone",
            **{"model": f"m{i}", "modality": name, "family": "f", "dataset": name, "subject": subject},
            **{"feature": feature, "roi": f"roi{r}", "network": f"net{r % 2}", "simulated": True},
            **{"r2": (level[name][r] + 0.02 * generator.normal()) * (feature == "stable_mode")},
        }
        for i, name in enumerate(modalities)
        for subject in ("group", "s1")
        for feature in ("stable_mode", "last_block")
        for r in range(n_rois)
    ]
    return pd.DataFrame(rows)[list(COLUMNS["scores"])]


def wide(table):
    chosen = table[(table["feature"] == "stable_mode") & (table["subject"] == "group")]
    return chosen.set_index(["model", "roi"])["r2"].unstack()  # noqa: PD010  # the pivot is the oracle here
