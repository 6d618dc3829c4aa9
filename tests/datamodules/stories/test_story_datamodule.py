"""What every benchmark of stories offers, on stories without scans."""

import pytest
from jsonargparse import ArgumentParser

from nfas_lightning.data.regions.extraction import Scan
from nfas_lightning.data.stimuli.word_times import Words
from nfas_lightning.datamodules.stories import story_datamodule
from nfas_lightning.datamodules.stories.story import Story, StoryScan
from nfas_lightning.datamodules.stories.story_datamodule import StoryDataModule


class Told(StoryDataModule):
    """One story of two listeners."""

    dataset = "told"
    asked = 0

    def stories(self):
        self.asked += 1
        words = Words(("once", "upon"), [0.0, 1.0], [0.5, 1.5])
        heard = tuple(StoryScan(f"sub-{s}", Scan(f"{s}", ())) for s in (1, 2))
        return [Story("tale", 2.0, 0.0, heard, first=0, stop=4, n_scanned=4, words=words)]

    def confound_columns(self):
        return ("trans_x",)


def test_files_are_read_only_where_a_choice_needs_them():
    def needs(**choices):
        told = Told(**choices)
        return told.needs_words, told.needs_sound

    assert needs(modality="language") == (True, True)
    assert needs(modality="language", nuisances=()) == (True, False)
    assert needs(modality="audio", nuisances=()) == (False, True)
    assert needs(modality="audio", nuisances=("word_rate",)) == (True, True)


@pytest.mark.parametrize("atlas", [["lh.annot", "rh.annot"], "seitzman"])
def test_a_config_names_an_atlas_or_a_pair_of_files(atlas):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(StoryDataModule, "data")
    config = {"class_path": f"{__name__}.Told", "init_args": {"modality": "language", "atlas": atlas}}
    assert parser.parse_object({"data": config}).data.init_args.atlas == atlas


def test_a_negative_trim_is_refused():
    with pytest.raises(ValueError, match=r"trim must be volumes dropped .* got \(-1, 2\)"):
        Told(modality="language", trim=(-1, 2))


def test_choices_reach_what_reads_the_scans(monkeypatch):
    seen = {}

    def load(dataset, stories, scans, settings):
        seen.update(dataset=dataset, stories=stories, scans=scans, settings=settings)
        return "stimuli", "responses"

    monkeypatch.setattr(story_datamodule, "load_stories", load)
    told = Told(
        modality="language", atlas="dosenbach", window=7, listeners="each", high_pass=0.01, strict=False,
        cache=None, progress=False,
    )  # fmt: skip
    told.prepare_data()
    assert told.load() == ("stimuli", "responses")
    assert told.asked == 2
    assert seen["dataset"] == "told"
    assert [story.name for story in seen["stories"]] == ["tale"]
    assert (seen["settings"].window, seen["settings"].listeners) == (7, "each")
    scans = seen["scans"]
    assert (scans.high_pass, scans.confounds, scans.strict, scans.cache) == (0.01, ("trans_x",), False, None)
    assert len(scans.atlas.rois) == 160
