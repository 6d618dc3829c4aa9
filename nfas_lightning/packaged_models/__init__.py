"""Pretrained models whose weights come inside packages of the Python index.

Nothing imports this package: it registers itself with `nfas_lightning.models` by an entry point.
"""

from nfas_lightning.packaged_models.fetch import FetchError
from nfas_lightning.packaged_models.packaged import PACKAGED, SOURCE, PackagedModel, load_packaged

__all__ = ["PACKAGED", "SOURCE", "FetchError", "PackagedModel", "load_packaged"]
