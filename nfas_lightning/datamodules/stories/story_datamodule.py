"""What the benchmarks of stories share: the choices that every one of them offers."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from nfas_lightning.data.regions.atlas import Atlas, load_atlas
from nfas_lightning.data.regions.targets import REGIONS, scan_targets
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule, parcel_cache
from nfas_lightning.datamodules.stories.story import Story, StorySettings
from nfas_lightning.datamodules.stories.story_benchmark import load_stories, word_counts
from nfas_lightning.datamodules.stories.story_responses import StoryScans
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option


class StoryDataModule(BrainDataModule):
    """Base of `LittlePrinceDataModule` and `NarrativesDataModule`, which say where the `stories` are.

    Args:
        modality: ``"language"`` shows words with the words before them, ``"audio"`` windows of sound.
        regions: ``"parcels"`` averages voxels over the regions of `atlas`; ``"voxels"`` (of volumes) and
            ``"vertices"`` (of surfaces) keep them apart, and `atlas` names the parcel that each lies in.
        mask: 3D NIfTI file of the voxels that are kept; None: those of the MNI152 brain.
        atlas: a name or files for `load_atlas`: ``"seitzman"`` (spheres, needs no download),
            ``"schaefer400"``, a label image, or a pair of annotations for surfaces.
        atlas_table: csv or tsv that names a label image's parcels.
        radius: radius of spheres in mm.
        window: words of context before each word (language).
        anchor: ``"start"``, ``"center"`` or ``"end"``: the moment of a word, or of a window of sound, that
            its feature belongs to; None: a word's start, a window's center. Windows for the last state of a
            causal network (``pooling="last"``) need ``"end"``.
        seconds: length of a window (audio).
        hop: seconds between windows, each of which stands for that much of the sound (audio).
        sampling_rate: Hz of the windows; models resample to their own (audio).
        trim: volumes dropped after the story begins and before it ends.
        temporal: ``"hrf"`` convolves with a haemodynamic response, ``"fir"`` stacks `delays`.
        hrf: ``"spm"`` or ``"glover"``.
        delays: delays of ``"fir"`` in volumes.
        slice_time_reference: the moment that a volume stands for, as a share of the repetition time: 0 its
            start, 0.5 its middle.
        nuisances: any of ``"word_rate"``, which needs the word table, and ``"sound_power"``, which needs the
            wav file.
        high_pass: cut-off in Hz of the drift filter, None for none.
        listeners: ``"mean"`` averages each story's listeners as it is read; ``"each"`` keeps them apart.
        ceiling: ``"split_half"`` bounds a model of the listeners' mean, ``"loo_subject"`` (each listener
            against the others) a model of one listener; see `nfas_lightning.functional.noise_ceiling`.
        cache: folder of the cache of parcel means, None for none; ``"auto"``: ``parcels`` in ``NFAS_CACHE``
            or the user's cache folder.
        workers: processes that read scans.
        progress: show a bar while scans are read.
        strict: check the official counts; False reads partial copies.
        batch_size: stimuli per batch.
        **options: of `BrainDataModule`: num_workers, event_rate, and subjects, with or without ``sub-``;
            None: all whose files are here.
    """

    dataset: str

    def __init__(
        self,
        *,
        modality: Literal["audio", "language"],
        regions: Literal["parcels", "voxels", "vertices"] = "parcels",
        mask: str | os.PathLike[str] | None = None,
        # the list first: a parser would take a pair of files for one string
        atlas: Sequence[str] | str | os.PathLike[str] = "seitzman",
        atlas_table: str | os.PathLike[str] | None = None,
        radius: float = 6.0,
        window: int = 20,
        anchor: Literal["start", "center", "end"] | None = None,
        seconds: float = 10.0,
        hop: float = 1.0,
        sampling_rate: int = 16_000,
        trim: tuple[int, int] = (0, 0),
        temporal: Literal["hrf", "fir"] = "hrf",
        hrf: Literal["spm", "glover"] = "spm",
        delays: tuple[int, ...] = (1, 2, 3, 4),
        slice_time_reference: float = 0.0,
        nuisances: tuple[Literal["word_rate", "sound_power"], ...] = ("word_rate", "sound_power"),
        high_pass: float | None = None,
        listeners: Literal["mean", "each"] = "mean",
        ceiling: Literal["split_half", "loo_subject"] = "split_half",
        cache: str | os.PathLike[str] | None = "auto",
        workers: int = 0,
        progress: bool = True,
        strict: bool = True,
        batch_size: int = 64,
        **options: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **options)
        if min(trim) < 0:
            raise InputError(f"trim must be volumes dropped at the start and at the end, got {tuple(trim)}.")
        self.settings = StorySettings(
            modality=modality,
            window=window,
            anchor=anchor,
            seconds=seconds,
            hop=hop,
            sampling_rate=sampling_rate,
            temporal=temporal,
            hrf=hrf,
            delays=tuple(delays),
            slice_time_reference=slice_time_reference,
            nuisances=tuple(nuisances),
            listeners=listeners,
            ceiling=ceiling,
        )
        check_option("regions", regions, REGIONS)
        self.regions, self.mask = regions, mask
        self.atlas, self.atlas_table, self.radius = atlas, atlas_table, radius
        self.trim = (trim[0], trim[1])
        self.high_pass = high_pass
        self.cache = cache
        self.workers = workers
        self.progress = progress
        self.strict = strict
        self._stories: list[Story] = []

    @abstractmethod
    def stories(self) -> list[Story]:
        """Find the stories and who heard them; reads tables, no scan."""

    @property
    def needs_words(self) -> bool:
        """Whether the word tables are read."""
        return self.settings.modality == "language" or "word_rate" in self.settings.nuisances

    @property
    def needs_sound(self) -> bool:
        """Whether the wav files are read."""
        return self.settings.modality == "audio" or "sound_power" in self.settings.nuisances

    def prepare_data(self) -> None:
        """Check that the tables are there and fit together."""
        self.stories()

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read, clean and pair; see `nfas_lightning.datamodules.stories.story_benchmark.load_stories`."""
        self._stories = self.stories()
        atlas = self._load_atlas()
        if self.regions != "parcels" or self.mask is not None:
            files = [heard.scan.files for story in self._stories for heard in story.scans]
            atlas = scan_targets(self.regions, files[0], atlas, self.mask)
        scans = StoryScans(
            atlas,
            cache=parcel_cache(self.cache),
            workers=self.workers,
            progress=self.progress,
            high_pass=self.high_pass,
            confounds=self.confound_columns(),
            strict=self.strict,
        )
        dataset = self.dataset if self.regions == "parcels" else f"{self.dataset}_{self.regions}"
        return load_stories(dataset, self._stories, scans, self.settings)

    def confound_columns(self) -> tuple[str, ...]:
        """Columns that are regressed out of files that are not clean."""
        return ()

    def describe(self) -> dict[str, Any]:
        """Return what a plan shows, with the stories, their listeners and what became of their words."""
        about = super().describe()
        listeners = {story.name: len({scan.subject for scan in story.scans}) for story in self._stories}
        return {
            **about,
            "stories": listeners,
            "listeners": self.settings.listeners,
            **word_counts(self._stories),
            "missing_rois": int((self.responses.rois["n_voxels"] == 0).sum()),
        }

    def _load_atlas(self) -> Atlas:
        atlas = (
            self.atlas if isinstance(self.atlas, str | os.PathLike) else [Path(path) for path in self.atlas]
        )
        return load_atlas(atlas, table=self.atlas_table, radius=self.radius)
