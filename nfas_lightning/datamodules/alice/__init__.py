"""Alice: twelve minutes of a story, 27 listeners, six ROIs (Brennan et al. 2016)."""

from nfas_lightning.datamodules.catalogue.benchmark import Benchmark

_BY_HAND = """\
By hand, the release of Brennan et al. (2016) is a pair of archives that the lab's page links to:

  1. https://sites.lsa.umich.edu/cnllab/2016/06/11/data-sharing-fmri-timecourses-story-listening/
     Take the data (alice_data_shared) and the stimuli (alice_stim_shared); CC BY 4.0.
  2. Unpack both into one folder, DIR.
  3. nfas data get alice --root {root} --source DIR

The last step reads the text files and the TextGrid and writes what the benchmark reads into {folder}."""

BENCHMARK = Benchmark(
    name="alice",
    title="12 minutes of a story; 6 ROIs of 27 listeners",
    modality="language",
    license="CC BY 4.0",
    size="about 1 MB as read here",
    access="nfas data get",
    reference="doi:10.1016/j.bandl.2016.04.008",
    datamodule=f"{__name__}.alice_datamodule:AliceDataModule",
    folder="alice_fmri",
    signs=("words.csv", "alice_chapter1.txt"),
    counts=(("series", "roi_timeseries.npz"), ("word table", "words.csv"), ("text", "alice_chapter1.txt")),
    check=f"{__name__}.alice_reader:alice_rows",
    source=f"{__name__}.alice_source:SOURCE",
    by_hand=_BY_HAND,
)
