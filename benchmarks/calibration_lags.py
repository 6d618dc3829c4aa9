"""Data sets for the calibration of `lag_slope_p`: blocks that differ in strength and never in latency."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from calibration_sets import Values, both
from torch import Tensor

from nfas_lightning.data.lags import Lags
from nfas_lightning.data.responses import Responses
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.scoring.feature_scores import FeatureScores
from nfas_lightning.scoring.lag_scores import lag_scores

N, DEPTHS, WIDTH, SOURCES = 80, 4, 6, 4
TIMES = torch.arange(12, dtype=torch.float64) / 30


class LagCase(NamedTuple):
    """Latencies in seconds, subjects, channels, and whether each block has a source of its own."""

    latencies: tuple[float, ...]
    n_subjects: int = 1
    n_channels: int = 4
    apart: bool = False


LAG_CASES = {
    "none": LagCase(()),
    "one latency": LagCase((0.2,)),
    "off center": LagCase((0.1,)),
    "two latencies": LagCase((0.12, 0.28)),
    "4 subjects": LagCase((0.2,), n_subjects=4),
    "16 channels": LagCase((0.2,), n_channels=16),
    "a source each": LagCase((0.2,), n_channels=16, apart=True),
}


def lags(name: str, seed: int) -> Values:
    """Blocks that predict the same course over lags, more or less well, or nothing: no slope over depth."""
    case = LAG_CASES[name]
    rng = np.random.default_rng(seed)
    latent = torch.from_numpy(rng.standard_normal((N, SOURCES)))
    # what a block has of the sources beside noise of its own; strength over depth is drawn anew
    strength = rng.uniform(0.3, 2, DEPTHS)
    blocks = []
    for depth, s in enumerate(strength):
        mix = torch.from_numpy(rng.standard_normal((SOURCES, WIDTH)))
        seen = latent * (torch.arange(SOURCES) == depth) if case.apart else latent
        blocks.append(s * seen @ mix + torch.from_numpy(rng.standard_normal((N, WIDTH))))
    values = torch.stack([_noise(rng, case.n_channels) for _ in range(case.n_subjects)])
    for latency in case.latencies:
        course = torch.exp(-(((TIMES - latency) / 0.04) ** 2) / 2)
        weights = torch.from_numpy(rng.standard_normal((SOURCES, case.n_channels))) / SOURCES**0.5
        values += (latent @ weights)[:, :, None] * course
    responses = Responses.in_time(
        values,
        Lags(pd.DataFrame({"channel": [f"c{c}" for c in range(case.n_channels)]}), TIMES),
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
    low, high, p = found["lag_slope_low"], found["lag_slope_high"], torch.tensor([found["lag_slope_p"]])
    return both("lag_slope_p", p) | {"interval without 0": [float(not low <= 0 <= high), np.nan]}


def _noise(rng: np.random.Generator, n_channels: int) -> Tensor:
    """(N, C, K) of unit variance, each lag remembering the one before, shared in half by channels."""
    white = rng.standard_normal((N, n_channels, len(TIMES))) + rng.standard_normal((N, 1, len(TIMES)))
    for k in range(1, len(TIMES)):
        white[..., k] = 0.8 * white[..., k - 1] + 0.6 * white[..., k]
    return torch.from_numpy(white / 2**0.5)
