"""The Little Prince as a datamodule: an audiobook in three languages, read as text or heard as sound."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from nfas_lightning.data.files import find_folder, require_file
from nfas_lightning.data.stimuli.word_times import Words
from nfas_lightning.datamodules.little_prince import BENCHMARK
from nfas_lightning.datamodules.little_prince import little_prince_reader as reader
from nfas_lightning.datamodules.stories.story import Story
from nfas_lightning.datamodules.stories.story_datamodule import StoryDataModule
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option


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
        self.root, self.language, self.sections, self.words_from = root, language, sections, words_from
        self.dataset = f"little_prince_{language.lower()}"

    def stories(self) -> list[Story]:
        """Find the sections and who heard them.

        Raises:
            FileNotFoundError: a folder, table, sound or subject is missing, or its content is.
            ValueError: a subject has not nine runs, or a table does not fit.
        """
        language, numbers = self.language, range(1, reader.N_SECTIONS + 1)
        check_option("language", language, reader.LANGUAGES)
        check_option("words_from", self.words_from, ("csv", "textgrid"))
        folder = find_folder(self.root, BENCHMARK.folder, ("participants.tsv",))
        wanted = list(numbers if self.sections is None else self.sections)
        if not wanted or len(set(wanted)) != len(wanted) or not set(wanted) <= set(numbers):
            raise InputError(f"sections must be some of 1 to {reader.N_SECTIONS}, each once, got {wanted}.")
        scans = reader.section_scans(folder, language, wanted, self.subjects)
        words: dict[int, tuple[Words, Path]] = {}
        if self.needs_words:
            words = reader.section_words(folder, language, wanted, self.words_from, self.strict)
        return [
            Story(
                name=f"lpp{language}_section{section}",
                tr=reader.TR,
                # the 8 s of lead-in are cut off the derivatives: the sound begins with volume 0
                offset=0.0,
                scans=scans[section],
                first=self.trim[0],
                drop_last=self.trim[1],
                n_scanned=reader.VOLUMES[language][section - 1],
                words=words[section][0] if words else None,
                language=language,
                wav=require_file(reader.sound_file(folder, language, section)) if self.needs_sound else None,
                files=(words[section][1],) if words else (),
            )
            for section in wanted
        ]
