"""The Little Prince as a datamodule: an audiobook in three languages, read as text or heard as sound."""

from __future__ import annotations

import os
from typing import Any, Literal

from nfas_lightning.datamodules.little_prince.little_prince_reader import little_prince_stories
from nfas_lightning.datamodules.stories.story import Story
from nfas_lightning.datamodules.stories.story_datamodule import StoryDataModule

__all__ = ["LittlePrinceDataModule"]


class LittlePrinceDataModule(StoryDataModule):
    """Listeners of an audiobook in their own language: nine sections, each a run (OpenNeuro ds003643).

    Volumes are in MNIColin27 and denoised already (multi-echo ICA), so that no confound is regressed out.

    Args:
        root: the data set's folder, or the one that holds ``ds003643/``; None: the environment variable
            ``NFAS_DATA``.
        language: ``"EN"``, ``"CN"`` or ``"FR"``.
        sections: sections to read, of 1 to 9; None: all.
        modality: see `StoryDataModule`.
        words_from: ``"csv"`` reads the word table, ``"textgrid"`` the TextGrids.
        trim: volumes dropped at each section's start, where the sound sets in, and at its end.
        **options: of `StoryDataModule`: subjects, atlas, window, temporal, nuisances, listeners, cache,
            strict and more.

    Reference:
        Li et al. (2022), Scientific Data 9, 530, doi:10.1038/s41597-022-01625-7.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        language: Literal["EN", "CN", "FR"] = "EN",
        sections: list[int] | None = None,
        modality: Literal["audio", "language"] = "language",
        words_from: Literal["csv", "textgrid"] = "csv",
        trim: tuple[int, int] = (4, 0),
        **options: Any,
    ) -> None:
        super().__init__(modality=modality, trim=trim, **options)
        self.save_hyperparameters()
        self.root = root
        self.language = language
        self.sections = sections
        self.words_from = words_from
        self.dataset = f"little_prince_{language.lower()}"

    def stories(self) -> list[Story]:
        """Find sections and listeners; see `little_prince_reader.little_prince_stories`."""
        return little_prince_stories(
            self.root,
            self.language,
            sections=self.sections,
            subjects=self.subjects,
            words=self.needs_words,
            sound=self.needs_sound,
            words_from=self.words_from,
            trim=self.trim,
            strict=self.strict,
        )
