"""Optional libraries, with an error that names the extra to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from nfas_lightning.errors import MissingPackageError

__all__ = ["require"]


def require(library: str, extra: str) -> ModuleType:
    """Import an optional library, or say which extra brings it.

    Raises:
        ImportError: the library is not installed.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise MissingPackageError(
            f"{library} is needed here and is not installed: pip install 'nfas-lightning[{extra}]'."
        ) from error
