"""Optional libraries are imported when used, and asked for by their extra."""

import importlib
import subprocess
import sys

import pytest

from nfas_lightning.models.optional import require

pytest.importorskip("timm")

pytestmark = pytest.mark.usefixtures("hub_that_answers")


def test_a_missing_library_names_its_extra(monkeypatch):
    def missing(name, *_):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"timm is needed here.*pip install 'nfas-lightning\[vision\]'"):
        require("timm", "vision")


def test_optional_libraries_are_imported_when_used():
    """Lightning's own metrics import transformers; this package must add nothing to that."""
    code = (
        "import sys, pytorch_lightning; before = set(sys.modules); import nfas_lightning.models; "
        "print({'timm', 'torchvision', 'transformers'} & (set(sys.modules) - before)); "
        "import nfas_lightning.callbacks as callbacks; trainer = 'transformers.trainer_callback'; "
        "assert trainer not in sys.modules; callbacks.BrainAlignmentHF; assert trainer in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
