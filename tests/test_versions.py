"""Versions of what is installed, and of the code."""

import shutil
from pathlib import Path

import nfas_lightning
from nfas_lightning import versions


def test_a_package_that_is_not_there_has_no_version():
    assert versions.installed_version("no-such-package") == "none"
    assert versions.installed_version("torch") != "none"


def test_the_version_of_the_code_changes_with_what_it_is_of_and_with_nothing_else(tmp_path, monkeypatch):
    root = tmp_path / "nfas_lightning"
    shutil.copytree(Path(nfas_lightning.__file__).parent, root, ignore=shutil.ignore_patterns("*.pyc"))

    def version():
        versions.code_version.cache_clear()
        return [versions.code_version(of) for of in ("capture", "scoring")]

    changes = {
        "plotting": [], "cli": [], "space": [], "callbacks": [],
        "hooks": ["capture"], "models": ["capture"], "functional": ["scoring"], "data/regions": ["scoring"],
        "data/stimuli": ["capture", "scoring"],
    }  # fmt: skip
    monkeypatch.setattr(versions, "__file__", str(root / "versions.py"))
    try:
        before = version()
        for room, wanted in changes.items():
            (root / room / "another.py").write_text("")
            after = version()
            told = zip(("capture", "scoring"), before, after, strict=True)
            assert [of for of, old, new in told if old != new] == wanted, room
            before = after
    finally:
        versions.code_version.cache_clear()


def test_the_code_of_a_version_is_there():
    root = Path(nfas_lightning.__file__).parent
    assert all((root / name).exists() for names in versions._SOURCES.values() for name in names)
