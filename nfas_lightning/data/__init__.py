"""Stimuli, responses, ROI tables and the safe readers that pair them."""

from nfas_lightning.data.responses import Responses
from nfas_lightning.data.rois import coordinate_atlas, roi_table
from nfas_lightning.data.stimuli import TextStimulus
from nfas_lightning.data.stimulus_set import StimulusSet

__all__ = ["Responses", "StimulusSet", "TextStimulus", "coordinate_atlas", "roi_table"]
