"""Where The Little Prince comes from: OpenNeuro ds003643, whose subjects heard one language each."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nfas_lightning.datamodules.catalogue.s3_source import ANATOMY, METADATA, RAW, Kind, S3Source
from nfas_lightning.datamodules.little_prince import BENCHMARK
from nfas_lightning.datamodules.little_prince.little_prince_reader import LANGUAGES


class _LittlePrinceSource(S3Source):
    def tasks_of(self, subjects: Sequence[str] | None) -> Sequence[str] | None:
        """Return the languages of the subjects: sounds and words of others are not needed."""
        return None if subjects is None else sorted({f"lpp{subject[4:6]}" for subject in subjects})

    def task_of(self, path: str) -> str | None:
        """Return a file's task; word tables tell it by their folder."""
        language = re.match(r"annotation/([A-Z]{2})/", path)
        return f"lpp{language[1]}" if language else super().task_of(path)


SOURCE = _LittlePrinceSource(
    BENCHMARK.name,
    BENCHMARK.folder,
    {
        "metadata": METADATA,
        "stimuli": Kind("sounds", ("stimuli/",)),
        "annotation": Kind("word tables", ("annotation/",)),
        "derivatives": Kind("preprocessed scans", ("derivatives/{subject}/",)),
        "raw": RAW,
        "anat": ANATOMY,
    },
    usual=("metadata", "stimuli", "annotation", "derivatives"),
    groups=LANGUAGES,
)
