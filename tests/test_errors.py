"""The package's own errors: Python's kinds, and NFASError."""

import pytest

from nfas_lightning import errors
from nfas_lightning.errors import InputError, MissingFileError, NFASError, UnreadableError
from nfas_lightning.functional import ridge_cv


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name[0].isupper()])
def test_each_is_ours_and_says_its_message(name):
    kind = getattr(errors, name)
    assert issubclass(kind, NFASError)
    assert str(kind("expected this, got that")) == "expected this, got that"


def test_python_s_own_kinds_still_catch_them():
    kinds = {InputError: ValueError, MissingFileError: FileNotFoundError, UnreadableError: OSError}
    assert all(issubclass(kind, own) for kind, own in kinds.items())
    with pytest.raises(TypeError) as caught:
        ridge_cv([[1.0]], None)
    assert isinstance(caught.value, NFASError)
