"""The lock file of models."""

from pathlib import Path

import pytest

from nfas_lightning.models import load_zoo
from nfas_lightning.models.zoo.pins import Pin, read_pins, write_pins
from nfas_lightning.models.zoo.registry import pin_of
from tests.helpers.zoo import save_files, small_entry

pytest.importorskip("timm")

pytestmark = pytest.mark.usefixtures("no_lock_file")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_pin_is_written_read_and_held_to(tmp_path):
    entry = small_entry("deit_base")
    save_files(entry, tmp_path / "files")
    pin = pin_of(entry, folder=tmp_path / "files")
    assert write_pins({"deit_base": pin}) == Path("nfas-models.lock")
    write_pins({"other": Pin("a/b", COMMIT, "f" * 64)})
    assert read_pins() == {"deit_base": pin, "other": Pin("a/b", COMMIT, "f" * 64)}
    assert load_zoo(entry, folder=tmp_path / "files").info.weights_sha256 == pin.weights_sha256

    save_files(entry, tmp_path / "files", seed=8)  # the hub serves something else
    with pytest.raises(
        ValueError, match=rf"pinned to weights {pin.weights_sha256[:12]}.*nfas models pin deit"
    ):
        load_zoo(entry, folder=tmp_path / "files")
    load_zoo(entry, weights="random")  # a twin has no pin
    write_pins({"deit_base": pin_of(entry, folder=tmp_path / "files")})
    load_zoo(entry, folder=tmp_path / "files")


def test_a_lock_file_that_is_none_is_refused(tmp_path, monkeypatch):
    for text in ("{", "[]", '{"format": 2, "models": {}}', '{"format": 1, "models": {"a": {"hub": "x"}}}'):
        Path("nfas-models.lock").write_text(text)
        with pytest.raises(ValueError, match="is no lock file of this version"):
            read_pins()
    monkeypatch.setenv("NFAS_MODELS_LOCK", str(tmp_path / "gone.lock"))
    with pytest.raises(FileNotFoundError, match="No lock file"):
        read_pins()
