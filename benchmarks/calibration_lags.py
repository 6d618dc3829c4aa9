"""Data sets for the calibration of `lag_slope_p`: blocks that differ in strength and never in latency."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from calibration_sets import Values, rejects
from torch import Tensor

from nfas_lightning.data.lags import Lags
from nfas_lightning.data.responses import Responses
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.scoring.feature_scores import FeatureScores
from nfas_lightning.scoring.lag_scores import lag_scores

N, CHANNELS, DEPTHS, WIDTH, SOURCES = 80, 4, 4, 6, 4
TIMES = torch.arange(12, dtype=torch.float64) / 30
LATENCIES = {"none": (), "one latency": (0.2,), "off center": (0.1,), "two latencies": (0.12, 0.28)}


def lags(case: str, seed: int) -> Values:
    """Blocks that predict one course over lags, or nothing: `lag_slope_p`."""
    name, _, n_subjects = case.partition(" x ")
    rng = np.random.default_rng(seed)
    latent = torch.from_numpy(rng.standard_normal((N, SOURCES)))
    # what a block has of the sources beside noise of its own; strength over depth is drawn anew
    strength = rng.uniform(0.3, 2, DEPTHS)
    blocks = [
        s * latent @ torch.from_numpy(rng.standard_normal((SOURCES, WIDTH)))
        + torch.from_numpy(rng.standard_normal((N, WIDTH)))
        for s in strength
    ]
    values = torch.stack([_noise(rng) for _ in range(int(n_subjects or 1))])
    for latency in LATENCIES[name]:
        course = torch.exp(-(((TIMES - latency) / 0.04) ** 2) / 2)
        weights = torch.from_numpy(rng.standard_normal((SOURCES, CHANNELS))) / SOURCES**0.5
        values += (latent @ weights)[:, :, None] * course
    responses = Responses.in_time(
        values,
        Lags(pd.DataFrame({"channel": [f"c{c}" for c in range(CHANNELS)]}), TIMES),
        stimulus_ids=tuple(f"s{n}" for n in range(N)),
        dataset="lags",
        modality="vision",
        subjects=tuple(f"sub-{s}" for s in range(len(values))),
        runs=torch.zeros(N, dtype=torch.int64),
    )
    encode = FeatureScores(responses, ScoringSettings(n_permutations=99, seed=seed % 1000))
    encoded = [encode.features(block) for block in blocks]
    base = {"model": "net", "modality": "vision", "dataset": "lags"}
    found = lag_scores(encode, encoded[0], encoded, [f"b{d}" for d in range(DEPTHS)], base).slope
    low, high = found["lag_slope_low"], found["lag_slope_high"]
    tests = {"lag_slope_p": found["lag_slope_p"], **{k: v for k, v in found.items() if k.startswith("p_")}}
    values_ = {k: [rejects(torch.tensor([p])), rejects(torch.tensor([p]), 0.01)] for k, p in tests.items()}
    return values_ | {"interval of lag_slope": [float(not low <= 0 <= high), np.nan]}


def _noise(rng: np.random.Generator) -> Tensor:
    """(N, C, K) of unit variance, each lag remembering the one before, shared in half by channels."""
    white = rng.standard_normal((N, CHANNELS, len(TIMES))) + rng.standard_normal((N, 1, len(TIMES)))
    for k in range(1, len(TIMES)):
        white[..., k] = 0.8 * white[..., k - 1] + 0.6 * white[..., k]
    return torch.from_numpy(white / 2**0.5)
