"""What the pages say is so: commands parse, files and options are there, and counts are those of the code."""

import ast
import re
import shlex
import sys
import tomllib
from functools import wraps
from importlib import import_module
from itertools import product
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import yaml

from nfas_lightning import metrics
from nfas_lightning.cli import data_get, main
from nfas_lightning.cli.main import _packaged
from nfas_lightning.cli.messages import EXIT_CODES
from nfas_lightning.datamodules.catalogue.benchmark import benchmarks
from nfas_lightning.datamodules.catalogue.download import RETRIES
from nfas_lightning.datamodules.little_prince import little_prince_reader
from nfas_lightning.datamodules.narratives.narratives_clock import CLOCKS, WORDS
from nfas_lightning.functional.ridge import default_alphas
from nfas_lightning.leaderboard import benchmark_configs
from nfas_lightning.models.sources import sources, split_name
from nfas_lightning.results.capture_cache import CaptureCache
from nfas_lightning.runner import memory
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.sweep.config import Sweep

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OWN_FILES = ("NAME.yaml", "mine.yaml", "my_sweep.yaml")  # which a reader writes
QUESTIONS = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
SCRIPTS = [*sorted((ROOT / "benchmarks").glob("*.py")), *sorted((ROOT / "docs").glob("*/*.py"))]
TEXTS = {path: path.read_text(encoding="utf-8") for path in (*PAGES, ROOT / "CHANGELOG.md", *SCRIPTS)}
CODE = re.compile(r"^ *```[^\n]*\n(.*?)^ *```|`([^`\n]+)`", re.M | re.S)  # blocks, and words in the text
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


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


def code_of(path):
    """What is set as code on a page; a script is code as a whole."""
    text = re.sub(r"```\{toctree\}.*?```", "", TEXTS[path], flags=re.S)
    return [text] if path.suffix == ".py" else ["".join(part) for part in CODE.findall(text)]


def missing_options(line):
    """Scripts of a command line that are not there, and options that they do not have."""
    wrong = []
    for script, words in re.findall(r"python ((?:benchmarks|docs)/[\w/]+\.py)([^\n`#;&|]*)", line):
        text = (ROOT / script).read_text(encoding="utf-8") if (ROOT / script).is_file() else None
        known = re.findall(r'add_argument\(\s*"(--[\w-]+)"', text or "")
        shown = re.findall(r"(?<!\S)\[?(--[\w-]+)", words)
        wrong += [script] * (text is None) + [f"{script} {word}" for word in shown if word not in known]
    return wrong


def test_every_script_on_a_page_is_there_and_has_the_options_shown():
    lines = [line for path in TEXTS for line in code_of(path)]
    assert sum("python benchmarks/" in line for line in lines) > 25
    assert [wrong for line in lines for wrong in missing_options(line)] == []
    assert missing_options("python benchmarks/ridge.py [--repeats 3] --wit 2 | tee x --b") == [
        "benchmarks/ridge.py --wit"
    ]
    assert missing_options("python benchmarks/rigde.py") == ["benchmarks/rigde.py"]


@pytest.mark.parametrize("page", ["performance", "calibration"])
def test_every_option_in_the_text_is_one_of_a_script_of_the_page(page):
    text = TEXTS[ROOT / "docs" / f"{page}.md"]
    scripts = {TEXTS[ROOT / name] for name in re.findall(r"python (benchmarks/\w+\.py)", text)}
    known = {option for script in scripts for option in re.findall(r'add_argument\(\s*"(--[\w-]+)"', script)}
    shown = {
        option for part in re.findall(r"`(--[^`\n]+)`", text) for option in re.findall(r"--[\w-]+", part)
    }
    assert shown
    assert shown <= known


def test_every_target_and_extra_on_a_page_is_there():
    code = [line for path in TEXTS for part in code_of(path) for line in part.splitlines()]
    targets = {word for line in code for word in re.findall(r"^make ([a-z]+)", line)}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"demo", "test", "docs"} <= targets <= set(re.findall(r"^([a-z]+):", makefile, re.M))
    extras = {name for line in code for name in re.findall(r"pip install .*\[([a-z]+)\]", line)}
    assert {"all", "cluster", "large", "meg"} <= extras <= set(PROJECT["optional-dependencies"])
    (listed,) = re.findall(r"^Extras: (.*?)\.\n\n", TEXTS[ROOT / "README.md"], re.M | re.S)
    assert set(re.findall(r"`(\w+)`", listed)) == set(PROJECT["optional-dependencies"])


def test_every_file_that_a_page_names_is_there():
    roots = ROOT, ROOT / "nfas_lightning", ROOT / "docs"
    named = re.compile(
        r"(?<![\w/.{}*-])((?:configs|docs|tests|benchmarks|nfas_lightning)/[\w./*-]+|\w[\w/]*/\w+\.py)"
    )
    made = re.compile(r"NAME|toy_tones|dimensionality|MACHINE")  # by a reader, as a page says
    found = {
        (path.name, name.rstrip("."))
        for path in TEXTS
        for part in code_of(path)
        for name in named.findall(part)
        if not made.search(name)
    }
    assert len(found) > 100
    assert [pair for pair in sorted(found) if not any(next(root.glob(pair[1]), None) for root in roots)] == []


def slugs(text):
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#{1,3} (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere():
    texts = {path: text for path, text in TEXTS.items() if path.suffix == ".md"}
    texts |= {
        path: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")
    }
    links = [(page, link) for page in texts for link in re.findall(r"\]\(([^)\s]+)\)", texts[page])]
    links = [(page, *link.partition("#")) for page, link in links if "://" not in link]
    assert len(links) > 150
    wrong = []
    for page, file, _, anchor in links:
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in slugs(TEXTS[target])):
            wrong.append((page.name, f"{file}#{anchor}"))
    assert wrong == []


def counted():
    """Pages, and what stands there of what the code can count."""
    zoo = {folder.name: len(list(folder.glob("*.yaml"))) for folder in (ROOT / "configs/models").iterdir()}
    each, more = zoo["vision"], zoo["multimodal"] + zoo["sizes"]
    assert zoo["audio"] == zoo["language"] == each
    hub, packaged = 3 * each + more, len(sources()["packaged"].entries())
    yield "README.md", f"{hub} hub models come as configs: {each} per modality, {zoo['multimodal']} parts"
    yield "README.md", f"builds all {hub} hub models"
    yield "README.md", f"{packaged} other models have weights"
    yield "README.md", f" {len(import_module('nfas_lightning.demo')._MODELS)} models in "
    yield "CHANGELOG.md", f"{hub} hub models, {each} per modality and {more} more, as configs; {packaged} pre"
    yield "docs/models.md", f"The zoo has {hub} entries in `configs/models/`: {each} for each of vision"
    yield "docs/models.md", f"The weights of {packaged} pretrained networks"
    yield "docs/models.md", f"more than {memory._TOLERANCE} times what is free"
    for name, words in (
        ("small", "{} models, {} benchmarks"),
        ("paper", "{} models of the zoo, {} fMRI bench"),
    ):
        sweep = yaml.safe_load((ROOT / "configs" / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8"))
        yield "docs/sweep.md", words.format(len(sweep["models"]), len(sweep["benchmarks"]))
    yield "docs/sweep.md", f"| `models_per_job` | {Sweep.models_per_job} |"
    yield "docs/sweep.md", f"| `share_gb` | {Sweep.share_gb:g} |"
    yield "docs/sweep.md", f"| size | {CaptureCache().max_gb:g} GB;"
    yield "docs/questions.md", f"may take, {CaptureCache().max_gb:g} by default"
    yield "docs/data.md", f"A failed file is tried {RETRIES + 1} times"
    alphas = default_alphas(1)
    for page, words in (
        ("method/encoding", "There are {} values"),
        ("performance", "the default grid has {})"),
    ):
        yield f"docs/{page}.md", words.format(len(alphas))
    words = little_prince_reader.WORDS["EN"]
    yield "docs/benchmarks/little_prince.md", f"of words per section ({sum(words):,} in total)"


def test_counts_on_pages_are_those_of_the_code(monkeypatch):
    monkeypatch.delenv("NFAS_CAPTURES_GB", raising=False)
    pages = {path.relative_to(ROOT).as_posix(): " ".join(text.split()) for path, text in TEXTS.items()}
    assert [(page, words) for page, words in counted() if words not in pages[page]] == []


def test_tables_on_pages_are_those_of_the_code():
    assert set(re.findall(r"^\| `(\w+)\(", TEXTS[ROOT / "docs/metrics.md"], re.M)) == set(metrics.__all__)
    rows = re.findall(r"^\| ([\w ]+) \| [\w, ]+ \| (.*?\d.*?) \| \[", TEXTS[ROOT / "docs/data.md"], re.M)
    titles = {re.sub(r"\W|_", "", name): benchmark.title for name, benchmark in benchmarks().items()}
    assert len(rows) == len(titles.keys() - {"atlases"})
    for name, what in rows:
        (title,) = (title for key, title in titles.items() if key in name.lower().replace(" ", ""))
        assert set(re.findall(r"\d[\d,]*", what)) <= set(re.findall(r"\d[\d,]*", title)), name
    narratives = TEXTS[ROOT / "docs/benchmarks/narratives.md"]
    row = re.compile(r"^\| ([\w, ]+) \| (\d+) \| (\d+) \| ([\d.]+) ", re.M)
    clocks = {
        name: tuple(map(float, found))
        for names, *found in row.findall(narratives)
        for name in names.split(", ")
    }
    known = {name: (clock.onset, clock.duration, clock.wav_offset) for name, clock in CLOCKS.items()}
    assert clocks == {name: clock for name, clock in known.items() if not name.endswith("scram")}
    words = re.findall(r"^(\w+) +(\d+) +\d+ +\d+$", narratives, re.M)
    assert {name: int(n) for name, n in words} == {name: n for name, n in WORDS.items() if name in CLOCKS}


def test_differences_that_are_told_are_those_printed():
    printed = TEXTS[ROOT / "docs/compare.md"].rpartition("\nOver networks, r beyond the nuisances:")[2]
    rows = dict(re.findall(r"^ +all measured +(\w+) +9 +(.*)$", printed, re.M))
    told = re.findall(r"^  \| (\w+) (?:over )?(\w+)[^|]* \|(.*[+-]\.\d.*)", TEXTS[ROOT / "README.md"], re.M)
    assert {"_".join(words) for *words, _ in told} == set(rows)
    for *words, numbers in told:
        found, known = (re.findall(r"([+-]?)0?(\.\d+)", text) for text in (numbers, rows["_".join(words)]))
        assert set(found) <= set(known), words


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
    read -= {"EXIT_CODES", "LOCAL_RANK", "FORCE_COLOR"}  # in an __all__, in a message, set for a process
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
