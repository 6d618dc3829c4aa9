"""Stimuli, responses, ROI tables and the safe readers that pair them."""

from nfas_lightning.data.lags import Lags
from nfas_lightning.data.regions.atlas import Atlas, load_atlas
from nfas_lightning.data.regions.cleaning import clean_series, motion_regressors
from nfas_lightning.data.regions.extraction import Scan, extract_scans
from nfas_lightning.data.regions.parcels import Parcels, array_parcels, surface_parcels, volume_parcels
from nfas_lightning.data.regions.rois import coordinate_atlas, roi_table
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.safe_pickle import read_pickle
from nfas_lightning.data.stimuli.captioned import CaptionedImages
from nfas_lightning.data.stimuli.clips import ClipFiles, video_stimuli
from nfas_lightning.data.stimuli.images import ImageFiles, read_image
from nfas_lightning.data.stimuli.sounds import SoundFiles, audio_stimuli, read_sound
from nfas_lightning.data.stimuli.stimulus_files import natural_key
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.texts import TextStimulus, carried, word_stimuli
from nfas_lightning.data.stimuli.video import every_frame, frame_series, read_clip

__all__ = [
    "Atlas",
    "CaptionedImages",
    "ClipFiles",
    "ImageFiles",
    "Lags",
    "Parcels",
    "Responses",
    "Scan",
    "SoundFiles",
    "StimulusSet",
    "TextStimulus",
    "array_parcels",
    "audio_stimuli",
    "carried",
    "clean_series",
    "coordinate_atlas",
    "every_frame",
    "extract_scans",
    "frame_series",
    "load_atlas",
    "motion_regressors",
    "natural_key",
    "read_clip",
    "read_image",
    "read_pickle",
    "read_sound",
    "roi_table",
    "surface_parcels",
    "video_stimuli",
    "volume_parcels",
    "word_stimuli",
]
