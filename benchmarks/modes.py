"""Modes of depth dynamics, encoded together with a penalty each: what they explain, and what that costs.

    NFAS_DATA=FOLDER python benchmarks/modes.py [--data alice natural_sounds] [--cache FOLDER]

Per network the mean partial r over regions of the stable mode, of all blocks, and of all modes of two
decompositions, to 4 and to 8 directions, read from all depths and from the first; with seconds of one thread.
Trajectories are recorded once and kept in --cache.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from features import DATA, recorded

from nfas_lightning.functional import combine_depths, combine_modes, dmd
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.scoring.encoder import Encoder
from nfas_lightning.scoring.prepared import prepare

RANKS = (4, 8)


def main() -> None:
    """Print one line per network and way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=["alice", "natural_sounds"], choices=list(DATA))
    parser.add_argument("--cache", type=Path, default=Path("build/features"))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in given.data:
        make, models, n_folds = DATA[name]
        brain = make()
        brain.prepare_data()
        brain.setup()
        responses = brain.responses
        settings = ScoringSettings(n_permutations=0, n_folds=n_folds)
        encoder = Encoder(responses, settings)
        known, Y = encoder.nuisances, responses.group_mean
        for model in models:
            track = recorded(name, brain, model, given.cache)
            ready = prepare(track, responses, settings, model=model, device=torch.device("cpu"))
            cells = []
            for feature in ("stable_mode", "all_blocks"):
                X, scaling = ready.feature(feature, torch.device("cpu"))
                fit = encoder.fit(encoder.to_volumes(X), Y, nuisances=known, scaling=scaling, warn=False)
                cells.append(f"{feature} {float(fit.r.mean()):.3f}")
            for rank in RANKS:
                dynamics = dmd(ready.Z, svd_rank=rank, centering="none")
                modes = combine_modes(ready.Z, dynamics)
                first = [
                    combine_depths(ready.Z, replace(dynamics, stable_index=torch.tensor(place)))
                    for place, _ in modes
                ]
                for reading, features in (("all depths", [part for _, part in modes]), ("the first", first)):
                    bands = [encoder.to_volumes(X) for X in features]
                    begun = time.process_time()
                    found = encoder.banded(bands, Y, nuisances=known, scaling=ready.space.scaling_)
                    seconds = time.process_time() - begun
                    r = float(found.r.mean())
                    cells.append(
                        f"{len(bands)} modes of rank {rank} from {reading} {r:.3f} ({seconds:.1f} s)"
                    )
            print(f"{name} {model}: {'; '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
