"""One framework under two names, `pytorch_lightning` and `lightning.pytorch`, with classes of their own each.

Callbacks and datamodules inherit from the classes of every package that is installed, so that a Trainer of
either accepts them. A LightningModule can't do that (Lightning takes the hooks of one package for overrides
of the other's), so modules, and the Trainer that tests a suite of them, belong to the package that the
program had imported before, else `pytorch_lightning`, else `lightning.pytorch`.
"""

from __future__ import annotations

import sys
import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nfas_lightning.errors import MissingPackageError

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
    from pytorch_lightning.loggers import Logger

__all__ = [
    "Callback",
    "LightningDataModule",
    "LightningModule",
    "Logger",
    "Trainer",
    "installed_packages",
    "kinds",
    "pl",
]

_NAMES = ("pytorch_lightning", "lightning.pytorch")
_MALICIOUS = ("2.6.2", "2.6.3")  # releases of `lightning` that ran foreign code on import


@cache
def installed_packages() -> tuple[ModuleType, ...]:
    """Import and return the packages that are installed, one at least."""
    found = tuple(import_module(name) for name in _NAMES if _is_usable(name))
    if not found:
        raise MissingPackageError("nfas-lightning needs pytorch-lightning (or lightning): pip install it.")
    return found


def kinds(name: str) -> tuple[type[Any], ...]:
    """Return a logger class of every installed package, for isinstance.

    Example:
        >>> from pytorch_lightning.loggers import CSVLogger
        >>> CSVLogger in kinds("CSVLogger")
        True
    """
    return tuple(getattr(package.loggers, name) for package in installed_packages())


def _is_usable(name: str) -> bool:
    top = name.partition(".")[0]
    if find_spec(top) is None:
        return False
    if top == "lightning" and top not in sys.modules:
        try:
            release = version(top)
        except PackageNotFoundError:  # another folder of that name
            return False
        if release in _MALICIOUS:
            warnings.warn(
                f"lightning {release} is a malicious release and was not imported: uninstall it.",
                stacklevel=2,
            )
            return False
    return find_spec(name) is not None


def _own_package() -> ModuleType:
    imported = [name for name in _NAMES if name in sys.modules]  # before the others are
    usable = installed_packages()
    return sys.modules[imported[0]] if len(imported) == 1 else usable[0]


def _of_all_packages(name: str) -> type[Any]:
    bases = tuple(getattr(package, name) for package in installed_packages())
    return type(name, bases, {"__module__": __name__})


if not TYPE_CHECKING:
    pl = _own_package()
    LightningModule, Trainer, Logger = pl.LightningModule, pl.Trainer, pl.loggers.Logger
    Callback, LightningDataModule = _of_all_packages("Callback"), _of_all_packages("LightningDataModule")
