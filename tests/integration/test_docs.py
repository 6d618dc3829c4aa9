"""What the pages say of the command line is so: commands parse, and no variable or exit code is left out."""

import ast
import re
import shlex
import sys
from functools import wraps
from importlib import import_module
from itertools import product
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import yaml

from nfas_lightning.cli import data_get, main
from nfas_lightning.cli.main import _packaged
from nfas_lightning.cli.messages import EXIT_CODES
from nfas_lightning.datamodules.catalogue.benchmark import benchmarks
from nfas_lightning.leaderboard import benchmark_configs
from nfas_lightning.models.sources import split_name
from nfas_lightning.scoring import ScoringSettings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OWN_FILES = ("NAME.yaml", "mine.yaml", "my_sweep.yaml")  # which a reader writes
QUESTIONS = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")


def commands(line):
    """The `nfas` commands of a line of a shell, as words without the variables set before them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|>;&")
    lexer.whitespace_split = True
    found, words = [], []
    for word in [*lexer, ";"]:
        if word.startswith("$("):
            found += commands(word[2:-1])
        elif set(word) & set("|>;&") and not word.strip("|>;&"):
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words[:1] == ["nfas"]:
                found.append(tuple(words[1:]))
            words = ["redirected to"] if ">" in word else []
        else:
            words.append(word)
    return found


def shown():
    """Every command in a block of shell code on a page, or with options in its text, and where it stands."""
    block = re.compile(r"^```([^\n]*)\n(.*?)^```", re.M | re.S)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = [part for language, part in block.findall(text) if language in ("bash", "sh", "")]
        lines = [line for part in blocks for line in part.replace("\\\n", " ").splitlines()]
        lines += re.findall(r"`(nfas [^`]* --[^`]*)`", block.sub("", text))
        for line in lines:
            if re.search(r"(^|\s|\()nfas ", line.partition("#")[0]):
                yield from ((words, page.name) for words in commands(line))


SHOWN = dict(shown())


@pytest.fixture
def parse(monkeypatch, tmp_path):
    """Parse a command as `nfas` would, and return what it would be called with; nothing is run."""
    from nfas_lightning.cli.lightning import NFASCLI

    monkeypatch.setenv("WANDB_MODE", "offline")  # the environment is restored after the test
    monkeypatch.chdir(tmp_path)  # the configs are then those that an installed package carries
    for name in OWN_FILES:
        tmp_path.joinpath(name).touch()
    command_line = import_module("nfas_lightning.cli.main")  # the package's `main` is a function
    load, called = command_line._load, {}

    def recording(target):
        real = load(target)
        return wraps(real)(lambda **given: called.update(given))

    def parsed(cli):
        called["config"] = cli.config
        raise SystemExit(0)

    monkeypatch.setattr(command_line, "_load", recording)
    monkeypatch.setattr(NFASCLI, "before_instantiate_classes", parsed)

    def parse(words):
        code = None
        try:
            main(words)
        except SystemExit as stop:
            code = stop.code
        assert code in (0, None), words
        return called

    return parse


def test_commands_are_found_in_lines():
    assert commands('A=1 nfas models list --json | jq -r ".[]" > nfas.json  # nfas x') == [
        ("models", "list", "--json")
    ]
    assert commands('eval "$(nfas --print_completion bash)"; nfas space a --where "x > 2"') == [
        ("--print_completion", "bash"), ("space", "a", "--where", "x > 2"),
    ]  # fmt: skip
    assert len(SHOWN) > 30
    assert {"README.md", "start.md", "sweep.md", "data.md"} <= set(SHOWN.values())


def test_what_is_wrong_does_not_parse(parse):
    for words in (["spaec", "a"], ["space", "a", "--grop_by", "b"], ["cache", "prune", "--max_size", "few"]):
        with pytest.raises(AssertionError):
            parse(words)


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_every_command_on_a_page_parses(words, parse):
    meant = {"NAME": "alice" if words[0] == "data" else "resnet50", "FILE": "configs/sweeps/small.yaml"}
    words = [_packaged(meant.get(word, word)) for word in words]
    if words[0] == "test" and set(words[1::2]) <= {"--config", "--json"}:
        # what is in a config, tests/cli/test_lightning.py parses
        assert [file for file in words[2::2] if not Path(file).is_file()] == []
        return
    given = parse(words)
    names = given.get("models", given.get("names", given.get("name", [])))
    if words[0] in ("score", "models"):
        for name in [names] if isinstance(names, str) else names:
            split_name(name)  # refuses one that nobody has
    if words[0] == "score":
        assert given["on"] in benchmark_configs()
    if words[:2] == ["data", "get"] and given:
        assert given["name"] in benchmarks()
    if words[0] == "sweep" and given:
        assert Path(given["file"]).is_file()


def test_a_sweep_of_weights_and_biases_sets_what_it_names(parse):
    """As its agent does: each combination takes the place of ${args}."""
    sweep = yaml.safe_load((ROOT / "docs" / "examples" / "wandb_sweep.yaml").read_text(encoding="utf-8"))
    names = list(sweep["parameters"])
    combinations = list(product(*(sweep["parameters"][name]["values"] for name in names)))
    assert len(combinations) == 6
    rank, centering = combinations[-1]
    args = [f"--{name}={value}" for name, value in zip(names, combinations[-1], strict=True)]
    words = [w for word in sweep["command"][1:] for w in (args if word == "${args}" else [word])]
    config = parse(words)["config"]["test"]
    settings = ScoringSettings(**config.trainer.callbacks[-1].init_args.settings)
    assert (settings.svd_rank, settings.centering) == (rank, centering)
    assert isinstance(settings.svd_rank, int)


def first_column(title):
    section = re.search(rf"^## {title}\n(.*?)(^## |\Z)", QUESTIONS, re.M | re.S).group(1)
    return " ".join(re.findall(r"^\| (.*?) \|", section, re.M))


def test_every_variable_that_the_package_reads_has_a_row():
    read = set()
    for path in (ROOT / "nfas_lightning").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "os.environ" not in text and "getenv" not in text:
            continue
        strings = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
        # by their looks, since a name may be a constant or a value of a table
        read |= {s for s in strings if isinstance(s, str) and re.fullmatch(r"[A-Z]+(_[A-Z]+)+", s)}
        read |= set(re.findall(r'environ(?:\.\w+\(|\[)"(\w+)"', text))
    read -= {"EXIT_CODES"}  # in an __all__
    assert {"NFAS_DATA", "XDG_CACHE_HOME", "NFAS_CAPTURES_GB", "WANDB_NAME"} <= read
    assert set(re.findall(r"`(\w+)`", first_column("Environment variables"))) == read


def test_every_exit_code_has_a_row():
    codes = {int(code) for code in re.findall(r"\d+", first_column("Exit codes"))}
    assert codes == {*EXIT_CODES, data_get._NOTHING}


def test_notebooks_link_to_colab_where_the_repository_is_known(monkeypatch):
    for name in ("docutils", "latex2mathml", "latex2mathml.converter", "sphinx", "sphinx.application"):
        monkeypatch.setitem(sys.modules, name, MagicMock())  # of an extra that the tests do without
    conf = SimpleNamespace(**run_path(str(ROOT / "docs" / "conf.py")))
    for repository, page, linked in (
        ("https://github.com/me/it", "notebooks/own_data", True),
        ("https://github.com/me/it", "start", False),
        ("", "notebooks/own_data", False),
    ):
        context = {"body": "text"}
        conf.link_to_colab(repository, page, context)
        assert context["body"].endswith("text")
        assert ("github/me/it/blob/main/docs/notebooks/own_data.ipynb" in context["body"]) == linked
