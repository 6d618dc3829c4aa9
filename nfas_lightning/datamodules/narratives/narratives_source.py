"""Where raw scans and sounds of Narratives come from: OpenNeuro ds002345. The rest comes by DataLad."""

from nfas_lightning.datamodules.catalogue.s3_source import ANATOMY, METADATA, RAW, Kind, S3Source
from nfas_lightning.datamodules.narratives import BENCHMARK

SOURCE = S3Source(
    BENCHMARK.name,
    BENCHMARK.folder,
    {
        "metadata": METADATA,
        "stimuli": Kind("sounds, and the word timings the bucket has", ("stimuli/",)),
        "events": Kind("event tables and sidecars", ("{subject}/func/",), r".*\.(tsv|json)"),
        "raw": RAW,
        "anat": ANATOMY,
    },
    usual=("metadata", "stimuli"),
    by_hand=("derivatives",),
)
