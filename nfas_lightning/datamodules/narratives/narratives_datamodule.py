"""Narratives as a datamodule: spoken stories, heard as sound or read as text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from nfas_lightning.data.bids import is_here, pick_subjects
from nfas_lightning.data.files import find_folder, require_file
from nfas_lightning.datamodules.narratives import BENCHMARK
from nfas_lightning.datamodules.narratives import narratives_reader as reader
from nfas_lightning.datamodules.narratives import narratives_tree as tree
from nfas_lightning.datamodules.narratives.narratives_clock import Clock
from nfas_lightning.datamodules.stories.story import Story, StoryScan
from nfas_lightning.datamodules.stories.story_datamodule import StoryDataModule
from nfas_lightning.errors import InputError, MissingFileError
from nfas_lightning.functional.checks import check_option

_CONFOUNDS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z", "csf", "white_matter")


class NarrativesDataModule(StoryDataModule):
    """Listeners of spoken stories, one run per story (OpenNeuro ds002345 and its derivatives).

    Different subjects heard different stories. A story's group mean is that of its listeners; with
    ``listeners="each"`` a subject has NaN in the stories that he or she did not hear. Scans whose repetition
    time is not that of most of a story's scans are left out, with a warning.

    Args:
        root: the data set's folder, or the one that holds ``ds002345/``; None: the environment variable
            ``NFAS_DATA``.
        stories: names, of `narratives_clock.CLOCKS`; ``"slumlordreach"`` stands for its two parts, and
            ``"prettymouth-<group>"`` for the listeners of one condition. None: all with files here but
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
        self.root, self.story_names = root, stories
        self.space, self.derivative, self.unaligned = space, derivative, unaligned
        self.wav_offsets = wav_offsets or {}
        self.exclude, self.confounds = exclude, tuple(confounds)

    def confound_columns(self) -> tuple[str, ...]:
        """Columns that are regressed out of files that are not clean."""
        return self.confounds

    def stories(self) -> list[Story]:
        """Find the stories and who heard them.

        Raises:
            FileNotFoundError: a folder, table, sound, sidecar or subject is missing, or its content is.
            ValueError: an unknown story, group or subject, or a table that does not fit.
        """
        check_option("unaligned", self.unaligned, ("interpolate", "drop"))
        names, subjects = self.story_names, self.subjects
        folder = find_folder(self.root, BENCHMARK.folder, ("participants.tsv",))
        listeners = tree.read_listeners(folder)
        clocks = reader.chosen_clocks(names, listeners)
        found = self._scans(folder, clocks, listeners)
        if names is None or subjects is not None:
            present = {scan.subject for scans in found.values() for scan in scans}
            pick_subjects(subjects, sorted(present), sorted({listener.subject for listener in listeners}))
        chosen = [name for name, scans in found.items() if scans]
        if names is None:
            tales = [clocks[name].tale for name in chosen]
            chosen = [name for i, name in enumerate(chosen) if tales[i] not in tales[:i]]
        elif len(chosen) < len(found):
            raise MissingFileError(
                f"Story {next(name for name in found if name not in chosen)} must have scans of "
                f"{self.derivative} in {self.space} here, got none: fetch them with `datalad get` or "
                "`nfas data get`, or leave it out."
            )
        reader.warn_of_shared_tales(chosen, clocks)
        if unknown := sorted(set(self.wav_offsets) - set(chosen)):
            raise InputError(f"wav_offsets must name stories that are read, {chosen}, got {unknown}.")
        return [self._story(folder, name, clocks[name], found[name]) for name in chosen]

    def _scans(
        self, folder: Path, clocks: dict[str, Clock], listeners: Sequence[tree.Listener]
    ) -> dict[str, list[StoryScan]]:
        """Find each story's scans, without those that the authors left out."""
        named = self.subjects is not None
        excluded = tree.excluded_scans(folder) if self.exclude else []
        found: dict[str, list[StoryScan]] = {}
        left_out: dict[str, list[StoryScan]] = {}
        for name, clock in clocks.items():
            here: list[StoryScan] = []
            for listener in reader.audience(clock, listeners, self.subjects):
                own = tree.find_scans(
                    folder, listener.subject, clock.task,
                    space=self.space, derivative=self.derivative, here_only=not named,
                )  # fmt: skip
                if named and self.story_names is not None and not own:
                    raise MissingFileError(
                        f"{listener.subject} heard {name} by participants.tsv, but has no scan of "
                        f"{self.derivative} in {self.space} here: fetch it with `datalad get`, or leave out "
                        "the subject or the story."
                    )
                here += own
            found[name] = [scan for scan in here if not tree.is_excluded(scan, excluded)]
            left_out[name] = [scan for scan in here if tree.is_excluded(scan, excluded)]
        reader.check_left_out(found, left_out, self.story_names, self.subjects)
        return found

    def _story(self, folder: Path, name: str, clock: Clock, scans: Sequence[StoryScan]) -> Story:
        clock = reader.clock_from_file(folder, clock)
        tr, kept = reader.same_rate(folder, name, scans)
        if name in self.wav_offsets:
            clock = replace(clock, wav_offset=float(self.wav_offsets[name]))
        else:
            reader.check_offset(folder, name, clock, kept)
        start, span = clock.onset * tr - clock.wav_offset, reader.story_span(folder, clock, tr)
        align = tree.word_table(folder, clock.audio)
        text = align.with_name("transcript.txt")
        words = None
        if self.needs_words:
            words = tree.story_words(align, clock.audio, start, span, self.unaligned, self.strict)
        return Story(
            name=name,
            tr=tr,
            offset=clock.wav_offset,
            scans=kept,
            first=clock.onset + self.trim[0],
            stop=clock.onset + clock.duration - self.trim[1],
            words=words,
            text=text.read_text(encoding="utf-8-sig") if self.needs_words and is_here(text) else None,
            wav=require_file(tree.sound_file(folder, clock.audio)) if self.needs_sound else None,
            span=span,
            files=(align,) if self.needs_words else (),
        )
