"""Versions of what is installed, and of the code."""

import shutil
from pathlib import Path

import nfas_lightning
from nfas_lightning import versions


def test_a_package_that_is_not_there_has_no_version():
    assert versions.installed_version("no-such-package") == "none"
    assert versions.installed_version("torch") != "none"


def test_the_version_of_the_code_changes_with_what_computes_and_with_nothing_else(tmp_path, monkeypatch):
    root = tmp_path / "nfas_lightning"
    shutil.copytree(Path(nfas_lightning.__file__).parent, root, ignore=shutil.ignore_patterns("*.pyc"))

    def version():
        versions.code_version.cache_clear()
        return versions.code_version()

    monkeypatch.setattr(versions, "__file__", str(root / "versions.py"))
    try:
        before = version()
        for room, counts in (("plotting", False), ("cli", False), ("functional", True), ("data", True)):
            (root / room / "another.py").write_text("")
            after = version()
            assert (after != before) is counts, room
            before = after
    finally:
        versions.code_version.cache_clear()
