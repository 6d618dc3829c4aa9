"""Your own data from a folder: files of known names, so that a config needs no Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from nfas_lightning.data.folder_files import read_folder
from nfas_lightning.data.in_memory import InMemory
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule


class FolderDataModule(BrainDataModule):
    """Stimuli and responses that lie in a folder under these names.

    ==================  =====================================================================================
    ``images/``         image files, in the order of their names (digits as numbers)
    ``captions.csv``    of images: ``text`` and, if rows are in another order, the file's name as ``image``
    ``sounds/``         wav, flac or ogg files, likewise
    ``clips/``          video files, likewise
    ``texts.csv``       a column ``text``, one row per stimulus
    ``words.csv``       columns ``word``, ``onset`` and, if known, ``offset`` (s): a story, word by word
    ``responses``       ``.npy`` (N, R) or (S, N, R), or ``.csv`` whose header names the ROIs; or a folder
                        with one such file (N, R) per subject
    ``events.csv``      of a time series: ``onset`` and, if known, ``duration`` (s), ``run`` and the stimulus
                        by its file's name (``stim_file``, else ``stimulus``); else row i is stimulus i
    ``volumes.csv``     ``run`` of each volume and, if not multiples of `tr`, its ``time`` in the run (s)
    ``rois.csv``        ``roi`` and, if known, ``network``, ``hemisphere``, ``x``, ``y``, ``z`` (MNI mm);
                        names as in the header of the responses, if they have one, in any order
    ``nuisances.csv``   one named column per regressor, one row per volume
    ==================  =====================================================================================

    Each csv file may be tab-separated, ``.tsv``. Where events name no stimulus, row i is stimulus i: the i-th
    file by name or the i-th row of the table, not the i-th that was presented. Everything else is as in
    `ArrayDataModule`.

    Args:
        root: the folder.
        size: pixels of the square that images are resized and cropped to, and of the shorter side of clips;
            None: as they are.
        sampling_rate: Hz that sounds are resampled to.
        frames_per_second: frames that are taken of clips.
        window: words of context before each word of ``words.csv``.
        carrier: phrase around each text of ``texts.csv``, for single words, such as ``"The word is {}"``: the
            word's own tokens are pooled. None: texts as they are.
        tr: repetition time in seconds, of a time series.
        temporal: ``"hrf"``, ``"fir"`` or ``"none"``; None: ``"hrf"`` where there are onsets, else ``"none"``.
        hrf: ``"spm"`` or ``"glover"``.
        delays: delays of ``"fir"`` in volumes.
        groups: ``"identical"`` keeps stimuli of one content in one fold, see `ArrayDataModule`.
        dataset: name of the benchmark in the results; None: the folder's.
        **options: of `BrainDataModule`: batch_size, num_workers, subjects (by file name or as ``sub-01``) and
            event_rate.

    Raises:
        FileNotFoundError: at `setup`: no such folder, no stimuli, or no responses.
        ValueError: at `setup`: two kinds of stimuli or responses, more of one than of the other, a cell
            or header that is not what the table above says, a file whose name is close to one above that is
            not there, or what `ArrayDataModule` refuses.
    """

    def __init__(
        self,
        root: str,
        *,
        size: int | None = 224,
        sampling_rate: int = 16_000,
        frames_per_second: float = 4.0,
        window: int = 20,
        carrier: str | None = None,
        tr: float | None = None,
        temporal: Literal["hrf", "fir", "none"] | None = None,
        hrf: Literal["spm", "glover"] = "spm",
        delays: Sequence[int] = (1, 2, 3, 4),
        groups: Literal["identical"] | None = None,
        dataset: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.save_hyperparameters()
        self.root = root
        both: dict[str, Any] = {"carrier": carrier, "temporal": temporal}
        self.reading = both | {
            "size": size, "sampling_rate": sampling_rate, "frames_per_second": frames_per_second,
            "window": window,
        }  # fmt: skip
        self.pairing = both | {"tr": tr, "hrf": hrf, "delays": delays, "groups": groups}
        self.dataset = dataset

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read the files that are there and pair them."""
        folder = Path(self.root).expanduser()
        given = read_folder(folder, **self.reading)
        dataset = self.dataset or folder.resolve().name
        return InMemory(dataset=dataset, **given, **self.pairing).pair(self.subjects)
