"""How much of a region's explained variance each mode of a network's depth dynamics carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.functional.dmd import dmd
from nfas_lightning.functional.mode_kinds import combine_modes, mode_kinds
from nfas_lightning.functional.standardization import Scaling
from nfas_lightning.results import OPTIONAL, empty_table
from nfas_lightning.scoring.feature_scores import FeatureScores

__all__ = ["mode_shares"]


def mode_shares(encode: FeatureScores, Z: Tensor, scaling: Scaling, base: Mapping[str, Any]) -> pd.DataFrame:
    """Return the depth spectrum of every region, table ``modes``.

    All modes of a decomposition to ``ScoringSettings.modes`` directions go into one encoding model with a
    penalty each, see `banded_ridge_cv`, beside the nuisances unless the reported number is ``"alone"``: parts
    of r2 are then parts of the partial r2.

    Args:
        encode: the benchmark's regression.
        Z: (N, L, D) centered trajectory.
        scaling: of the modes, as of the other features of the same space.
        base: ``model``, ``modality`` and ``dataset``.

    Returns:
        One row per subject, region and mode, see `OPTIONAL`; no row where the trajectory is no trajectory.
        Of regions that are formed after the fit, parts are means over targets.
    """
    settings, device = encode.settings, encode.targets.device
    dynamics = dmd(Z, svd_rank=settings.modes, centering="none", device=device)  # Z is centered already
    if bool(dynamics.amplitudes.isnan().any()):
        return empty_table("modes")
    modes = combine_modes(Z, dynamics, phase=settings.phase, device=device)
    bands = [encode.encoder.to_volumes(features) for _, features in modes]
    beside = None if settings.score == "alone" else encode.encoder.nuisances
    result = encode.encoder.banded(bands, encode.targets, nuisances=beside, scaling=scaling)
    places = torch.tensor([place for place, _ in modes])
    values = dynamics.eigenvalues.cpu()[places]
    described = mode_kinds(values, Z.shape[1])
    whole, parts = encode.by_row(result.r2), encode.by_row(result.r2_parts)
    n_modes, n_rows = parts.shape
    n_rois = n_rows // len(encode.labels)
    frame = pd.DataFrame(
        {
            "subject": np.repeat(encode.labels, n_rois * n_modes),
            "roi": np.tile(np.repeat(encode.rois["roi"].to_numpy(), n_modes), len(encode.labels)),
            "network": np.tile(np.repeat(encode.networks, n_modes), len(encode.labels)),
            **{
                name: np.tile(column.numpy() if isinstance(column, Tensor) else column, n_rows)
                for name, column in (
                    ("mode", torch.arange(n_modes)),
                    ("real", values.real),
                    ("imag", values.imag),
                    ("modulus", described.modulus),
                    ("depth_constant", described.depth_constant),
                    ("turn", described.turn),
                    ("kind", np.array(described.kinds)),
                )
            },
            "r2": parts.T.flatten().cpu().numpy(),
            "r2_whole": whole.repeat_interleave(n_modes).cpu().numpy(),
        }
    )
    explained = frame["r2_whole"].where(frame["r2_whole"] > 0)
    labels = {**base, "simulated": encode.responses.simulated}
    return frame.assign(share=frame["r2"] / explained, **labels)[list(OPTIONAL["modes"])]
