"""Alice as a datamodule: language, 27 listeners, six ROIs, twelve minutes."""

from __future__ import annotations

import os
from typing import Any, Literal

import torch
from torch import Tensor

from nfas_lightning.data.events import response_gap, volume_design
from nfas_lightning.data.files import find_folder, sha256_file
from nfas_lightning.data.pairing import pick
from nfas_lightning.data.regions.cleaning import clean_series, motion_regressors
from nfas_lightning.data.regions.rois import roi_table
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.texts import word_stimuli
from nfas_lightning.datamodules.alice import BENCHMARK
from nfas_lightning.datamodules.alice.alice_reader import ALICE_FILES, ALICE_TEXT, read_scan, read_words
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.confounds import high_pass_basis, regress_out

_SIDE = {"LATL": "L", "RATL": "R", "LPTL": "L", "LIPL": "L", "LPreM": "L", "LIFG": "L"}


class AliceDataModule(BrainDataModule):
    """Words of a story, each with the words before it, and the listeners' cleaned ROI time series.

    Volume k was acquired 2 k seconds after the story's padding ended, the zero of the words'
    ``onset_scan_s``. What carries words to volumes has lost the drifts that the listeners lost, over the
    whole scan and before the first volumes were dropped. The ceiling is estimated from the listeners, over
    the folds of the scores.

    Args:
        root: folder that holds ``alice_fmri/``; None: the environment variable ``NFAS_DATA``.
        window: words of context before each word; 0 shows the word alone.
        radius: of the ROI spheres, ``"6mm"`` or ``"10mm"``.
        temporal: ``"hrf"`` convolves with a haemodynamic response, ``"fir"`` stacks `delays`.
        hrf: ``"spm"`` or ``"glover"``.
        delays: delays of ``"fir"`` in volumes of 2 s.
        high_pass: cut-off of the drift filter in Hz, None for none.
        confounds: regress out six motion parameters and their changes.
        drop_volumes: volumes dropped at the start, while the signal settles.
        batch_size: words per batch.
        **options: of `BrainDataModule`: num_workers, subjects (listeners) and event_rate.

    Reference:
        Brennan et al. (2016), Brain and Language 157-158, doi:10.1016/j.bandl.2016.04.008.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        window: int = 20,
        radius: Literal["6mm", "10mm"] = "6mm",
        temporal: Literal["hrf", "fir"] = "hrf",
        hrf: Literal["spm", "glover"] = "spm",
        delays: tuple[int, ...] = (1, 2, 3, 4),
        high_pass: float | None = 1 / 128,
        confounds: bool = True,
        drop_volumes: int = 10,
        batch_size: int = 64,
        **options: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **options)
        self.save_hyperparameters()
        self.root = root
        self.window, self.radius = window, radius
        self.temporal, self.hrf, self.delays = temporal, hrf, delays
        self.high_pass, self.confounds, self.drop_volumes = high_pass, confounds, drop_volumes

    def prepare_data(self) -> None:
        """Check that the files are there."""
        find_folder(self.root, BENCHMARK.folder, ALICE_FILES)

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read words and listeners, clean each listener's series, and pair them on the scan's clock."""
        check_option("radius", self.radius, ("6mm", "10mm"))
        folder = find_folder(self.root, BENCHMARK.folder, ALICE_FILES)
        scan, words, first = read_scan(folder, self.radius), read_words(folder), self.drop_volumes
        n_volumes = scan.bold.shape[1]
        kept = pick("subjects", self.subjects, scan.subjects)

        def clean(series: Tensor, regressors: Tensor | None = None) -> Tensor:
            return clean_series(
                series, tr=scan.tr, high_pass=self.high_pass, confounds=regressors, drop_volumes=first
            ).float()

        motion = [motion_regressors(scan.motion[s]) if self.confounds else None for s in kept]
        times = torch.arange(n_volumes, dtype=torch.float64) * scan.tr
        # listeners lost the drifts of the whole scan: fitted to the kept volumes alone they would be others
        drifts = torch.zeros(n_volumes, 0)
        if self.high_pass is not None:
            drifts = high_pass_basis(n_volumes, scan.tr, self.high_pass)
        operators = volume_design(
            words.onsets, times, tr=scan.tr, temporal=self.temporal, hrf=self.hrf, delays=self.delays
        )
        stimuli = StimulusSet(word_stimuli(words.words, window=self.window, text=words.text), "language")
        files = [*ALICE_FILES, *([] if words.text is None else [ALICE_TEXT])]
        return stimuli, Responses(
            values=torch.stack([clean(scan.bold[s], moved) for s, moved in zip(kept, motion, strict=True)]),
            rois=roi_table(
                scan.rois, network="language", hemisphere=[_SIDE.get(roi, "") for roi in scan.rois]
            ),
            stimulus_ids=tuple(f"{i:04d}_{word}" for i, word in enumerate(words.words)),
            dataset="alice",
            modality="language",
            subjects=tuple(scan.subjects[s] for s in kept),
            runs=torch.zeros(n_volumes - first, dtype=torch.long),
            design=tuple(regress_out(operator.to_dense(), drifts)[first:] for operator in operators),
            tr=scan.tr,
            volume_times=times[first:],
            nuisances=clean(scan.acoustic),
            nuisance_names=("word_rate", "sound_power"),
            gap=response_gap(self.temporal, scan.tr, self.delays),
            hashes={file: sha256_file(folder / file) for file in files} | {"stimuli": stimuli.sha256()},
        )
