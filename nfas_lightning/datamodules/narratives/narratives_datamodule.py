"""Narratives as a datamodule: spoken stories, heard as sound or read as text."""

from __future__ import annotations

import os
from typing import Any, Literal

from nfas_lightning.datamodules.narratives.narratives_reader import narratives_stories
from nfas_lightning.datamodules.stories.story import Story
from nfas_lightning.datamodules.stories.story_datamodule import StoryDataModule
from nfas_lightning.errors import InputError

__all__ = ["NarrativesDataModule"]

_CONFOUNDS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z", "csf", "white_matter")


class NarrativesDataModule(StoryDataModule):
    """Listeners of spoken stories, one run per story (OpenNeuro ds002345 and its derivatives).

    Different subjects heard different stories. A story's group mean is that of its listeners; with
    ``listeners="each"`` a subject has NaN in the stories that he or she did not hear.

    Args:
        root: the data set's folder, or the one that holds ``ds002345/``; None: the environment variable
            ``NFAS_DATA``.
        stories: names, see `narratives_reader.narratives_stories`; None: all with files here but
            schema, the scrambled ones, and retellings of a tale.
        modality: see `StoryDataModule`.
        space: ``"MNI"`` (volumes) or ``"fsaverage6"`` (surfaces; give a pair of annotations as `atlas`).
        derivative: ``"afni-nosmooth"`` and ``"afni-smooth"`` are clean; ``"fmriprep"`` is not, and loses
            confounds and slow drifts here.
        unaligned: ``"interpolate"`` places words without times between their neighbors, ``"drop"`` does not.
        trim: volumes dropped after each story begins and before it ends.
        wav_offsets: seconds from the scan's start to the sound file's, for stories whose clock you know.
        exclude: leave out the scans that the data set's authors left out.
        confounds: columns of the table of confounds that are regressed out of ``"fmriprep"``.
        high_pass: cut-off in Hz of the drift filter; ``"auto"``: 1/128 Hz for ``"fmriprep"``, else none.
        **options: of `StoryDataModule`: subjects, atlas, window, temporal, nuisances, listeners, cache,
            strict and more.

    Reference:
        Nastase et al. (2021), Scientific Data 8, 250, doi:10.1038/s41597-021-01033-3.
    """

    dataset = "narratives"

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        stories: list[str] | None = None,
        modality: Literal["audio", "language"] = "audio",
        space: Literal["MNI", "fsaverage6"] = "MNI",
        derivative: Literal["afni-nosmooth", "afni-smooth", "fmriprep"] = "afni-nosmooth",
        unaligned: Literal["interpolate", "drop"] = "interpolate",
        trim: tuple[int, int] = (6, 0),
        wav_offsets: dict[str, float] | None = None,
        exclude: bool = True,
        confounds: tuple[str, ...] = _CONFOUNDS,
        high_pass: float | str | None = "auto",
        **options: Any,
    ) -> None:
        if isinstance(high_pass, str):
            if high_pass != "auto":
                raise InputError(f"high_pass must be a cut-off in Hz, None or 'auto', got {high_pass!r}.")
            high_pass = 1 / 128 if derivative == "fmriprep" else None
        super().__init__(modality=modality, trim=trim, high_pass=high_pass, **options)
        self.save_hyperparameters()
        self.root = root
        self.story_names = stories
        self.space = space
        self.derivative = derivative
        self.unaligned = unaligned
        self.wav_offsets = wav_offsets
        self.exclude = exclude
        self.confounds = tuple(confounds)

    def confound_columns(self) -> tuple[str, ...]:
        """Columns that are regressed out of files that are not clean."""
        return self.confounds

    def stories(self) -> list[Story]:
        """Find stories and listeners; see `narratives_reader.narratives_stories`."""
        return narratives_stories(
            self.root,
            self.story_names,
            subjects=self.subjects,
            space=self.space,
            derivative=self.derivative,
            words=self.needs_words,
            sound=self.needs_sound,
            unaligned=self.unaligned,
            trim=self.trim,
            wav_offsets=self.wav_offsets,
            exclude=self.exclude,
            strict=self.strict,
        )
