"""Where the responses of BOLD Moments come from: OpenNeuro ds005165."""

from nfas_lightning.datamodules.bold_moments import BENCHMARK
from nfas_lightning.datamodules.bold_moments.bold_moments_reader import RESPONSES
from nfas_lightning.datamodules.catalogue.s3_source import METADATA, Kind, S3Source

SOURCE = S3Source(
    BENCHMARK.name,
    BENCHMARK.folder,
    {
        "metadata": METADATA,
        "responses": Kind(
            "responses of the functional ROIs",
            (f"{RESPONSES}/{{subject}}/",),
            r".*/(?!WB_)[^/]+_allvoxel\.pkl",
        ),
    },
    usual=("metadata", "responses"),
)
