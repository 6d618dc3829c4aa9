"""A film without a signal for the calibration: small networks through the whole tool, and nothing to find."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from calibration_sets import Values, both
from torch import nn

from nfas_lightning.datamodules import SimulatedFilmDataModule
from nfas_lightning.models import ModelInputs
from nfas_lightning.runner import quiet_lightning, score_models
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.space import NFAS

N_NETWORKS, N_STIMULI, N_BLOCKS, WIDTH = 4, 80, 4, 16
LETTERS = "abcdefghijklmnopqrstuvwxyz "


def pixels(batch: Mapping[str, Any]) -> ModelInputs:
    small = nn.functional.adaptive_avg_pool2d(batch["image"].float(), 6)
    return ModelInputs((small.flatten(1),))


def envelope(batch: Mapping[str, Any]) -> ModelInputs:
    return ModelInputs((nn.functional.adaptive_avg_pool1d(batch["audio"][:, None].abs(), 60)[:, 0] * 10,))


def letters(batch: Mapping[str, Any]) -> ModelInputs:
    counts = [[text.text.lower().count(letter) / 10 for letter in LETTERS] for text in batch["text"]]
    return ModelInputs((torch.tensor(counts),))


READERS = {"vision": (pixels, 108), "audio": (envelope, 60), "language": (letters, len(LETTERS))}


def networks() -> list[dict[str, Any]]:
    """Return small networks with random weights, so many of each modality."""
    found = []
    for place, (modality, (reader, width)) in enumerate(READERS.items()):
        for index in range(N_NETWORKS):
            torch.manual_seed(10 * place + index)
            sizes = [width, *[WIDTH] * N_BLOCKS]
            blocks = [nn.Sequential(nn.Linear(*pair), nn.Tanh()) for pair in itertools.pairwise(sizes)]
            name = f"{modality}_{index}"
            found.append(
                {"model": nn.Sequential(*blocks), "name": name, "modality": modality, "preprocess": reader}
            )
    return found


def film(case: str, seed: int) -> Values:
    """Twelve networks on a film in which modality explains nothing, from stimuli to the space."""
    quiet_lightning()
    logging.disable(logging.WARNING)
    options: dict[str, Any] = {"n_stimuli": N_STIMULI, "n_subjects": 2, "n_runs": 4, "image_size": 32}
    brain = SimulatedFilmDataModule(**options, signal="none", atlas="dosenbach", seed=seed)
    settings = ScoringSettings(n_permutations=199, n_bootstrap=0, baselines=False, seed=seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        results = score_models(
            networks(), brain, folder, settings=settings, random_twins=False, report=False, cache=False,
            enable_progress_bar=False,
        )  # fmt: skip
    tested = NFAS.from_scores(results).statistics().permanova
    found = both("p moved", torch.tensor(tested["p_moved"]))
    return found | both("PERMANOVA, relabeled", torch.tensor(tested["p_value"]))
