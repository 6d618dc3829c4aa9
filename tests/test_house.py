"""The house stays as it is described: one name per file, and tests that mirror the package."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nfas_lightning"
MODULES = sorted(PACKAGE.rglob("*.py"))
PUBLIC = [path for path in MODULES if not path.name.startswith("_")]
# a class or a command stands beside the function of its name
BESIDE = ("metrics", "cli")
BENCHMARKS = ("algonauts", "bold_moments", "narratives", "little_prince", "natural_sounds")


def test_a_file_name_is_used_once():
    names = Counter(path.name for path in PUBLIC if path.relative_to(PACKAGE).parts[0] not in BESIDE)
    assert [name for name, count in names.items() if count > 1] == []


def test_every_module_has_a_test_of_its_name():
    missing = [
        str(path.relative_to(PACKAGE))
        for path in PUBLIC
        if not (ROOT / "tests" / path.relative_to(PACKAGE)).with_name(f"test_{path.name}").is_file()
    ]
    assert missing == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_private_stays_in_its_package(path):
    home = path.relative_to(PACKAGE).parts[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nfas_lightning"):
            parts = node.module.split(".")[1:]
            private = [part for part in parts if part.startswith("_")]
            assert not private or parts[0] == home, f"{path}: {node.module}"


@pytest.mark.parametrize("room", ["data", "cli", "datamodules/catalogue"])
def test_no_benchmark_is_known_outside_of_its_folder(room):
    for path in (PACKAGE / room).rglob("*.py"):
        names = {
            node.value if isinstance(node, ast.Constant) else node.module
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
            or (isinstance(node, ast.Constant) and isinstance(node.value, str))
        }
        code = {name for name in names if name and " " not in name}
        assert [name for name in code if any(benchmark in name for benchmark in BENCHMARKS)] == [], path


@pytest.mark.parametrize("name", ["callbacks", "datamodules"])
def test_the_links_at_the_top_lead_into_the_package(name):
    assert (ROOT / name).resolve() == PACKAGE / name
