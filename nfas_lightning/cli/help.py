"""Help for a newcomer: a page a command, and the options of any class that a config may name."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nfas_lightning.cli.messages import PlainErrors, refuse, say_loading, summary
from nfas_lightning.datamodules import SHARED
from nfas_lightning.datamodules.catalogue.benchmark import benchmarks
from nfas_lightning.errors import nearest

__all__ = ["help_on", "page"]

_PURPOSE = {
    "fit": "train a LightningModule, with BrainAlignment watching if its callbacks name it",
    "validate": "run a model over the validation stimuli; DepthTrajectory keeps what its blocks make of them",
    "test": "score a model, or every model of a suite, on a benchmark",
    "predict": "run a model over stimuli and keep its depth trajectory, one unrepeated share a process",
}
_EXAMPLE = {
    "fit": """\
  # train.yaml; my_module.py is in the current folder
  trainer: {max_epochs: 3}
  model: {class_path: my_module.MyModel}
  data: {class_path: my_module.MyData}
  optimizer: {class_path: AdamW, init_args: {lr: 0.001}}""",
    "predict": """\
  # record.yaml
  trainer:
    callbacks: [{class_path: DepthTrajectory, init_args: {save_dir: trajectories, dtype: float16}}]
  model: {class_path: FrozenModel, init_args: {model: minilm_l6}}
  data: {class_path: SimulatedBrainDataModule, init_args: {modality: language}}""",
    "test": """\
  # score.yaml
  trainer:
    callbacks:
      - class_path: DepthTrajectory
      - {class_path: ScoreWriter, init_args: {run_dir: runs/first}}
  model: {class_path: ModelSuite, init_args: {models: [minilm_l6, paraphrase_minilm_l3]}}
  data: {class_path: SimulatedBrainDataModule, init_args: {modality: language}}""",
}
_EXAMPLE["validate"] = _EXAMPLE["predict"].replace("record", "validate")
_FILES = {"fit": "train.yaml", "predict": "record.yaml", "validate": "validate.yaml", "test": "score.yaml"}

_OPTIONS = """\
  --config FILE              a YAML file; give several, and later ones win where they differ
  --print_config             print the whole config, every default filled in, and stop
  --model NAME, --data NAME  a class; its options follow: --data.batch_size 32
  --trainer.OPTION VALUE     accelerator, devices, precision, max_epochs, limit_test_batches, ...
  --trainer.callbacks+ NAME  one more callback; in a file, `callbacks+:`
  --trainer.logger NAME      CSVLogger, TensorBoardLogger, WandbLogger; without one nothing is logged
  --optimizer, --lr_scheduler NAME
                             for fit, where the model does not bring its own
  --ckpt_path FILE           weights to start from; for fit, the training to go on with
  --seed_everything N        seed, 0 unless given
  --debug                    show the traceback of an error"""

_TITLES = {"models": "Models", "datamodules": "Data modules", "callbacks": "Callbacks"}


def classes() -> dict[str, dict[str, str]]:
    """Return package and class that a config may name, with the module: to import them all takes seconds."""
    return {
        "models": {
            "FrozenModel": "nfas_lightning.models.frozen",
            "ModelSuite": "nfas_lightning.models.suite",
            "RandomTwin": "nfas_lightning.models.suite",
        },
        "datamodules": {
            **{
                name: home
                for name, module in SHARED.items()
                for home in [f"nfas_lightning.datamodules.{module}"]
                if not _summary_of(home, name).startswith("Base of ")
            },
            **{
                name: module
                for benchmark in benchmarks().values()
                for module, _, name in [benchmark.datamodule.partition(":")]
                if name
            },
        },
        "callbacks": {
            "BrainAlignment": "nfas_lightning.callbacks.brain_alignment",
            "DepthTrajectory": "nfas_lightning.callbacks.depth_trajectory",
            "ScoreWriter": "nfas_lightning.callbacks.score_writer",
        },
    }


def page(command: str) -> str:
    """Return what `nfas COMMAND --help` prints for a command of LightningCLI's."""
    file = _FILES[command]
    lines = [
        f"nfas {command}: {_PURPOSE[command]}",
        "",
        f"usage: nfas {command} --config FILE [--config FILE ...] [--OPTION VALUE ...]",
        "",
        f"A config names classes and their options. With this one, `nfas {command} --config {file}` runs:",
        "",
        _EXAMPLE[command],
        "",
        "Options",
        _OPTIONS,
    ]
    for package, named in classes().items():
        lines += ["", f"{_TITLES[package]} that class_path takes"]
        for name, module in sorted(named.items()):
            lines.append(f"  {name:<28} {_shorten(_summary_of(module, name), 80)}")
    lines += [
        "  Short names do for these and for Lightning's and torch's; a class of your own goes by its module,",
        "  my_module.MyClass, found in the current folder or installed.",
        "",
        "More",
        "  nfas help NAME             options of one of these classes, and of ScoringSettings",
        f"  nfas {command} --help-all{' ' * (11 - len(command))}every option, the Trainer's too",
        "  nfas models list           pretrained models that a name loads",
    ]
    return "\n".join(lines)


def help_on(name: str) -> None:
    """Print the options of a class that a config may name, or the page of a command.

    Args:
        name: short name or full path of a class (``ScoreWriter``, ``my_module.MyModel``), or a command.

    Raises:
        SystemExit: there is no such class; the closest names are listed.
    """
    if name in _PURPOSE:
        print(page(name))
        return
    homes = {short: f"nfas_lightning.{package}" for package, named in classes().items() for short in named}
    homes |= {"ScoringSettings": "nfas_lightning.scoring", "SuiteTrainer": "nfas_lightning.runner"}
    say_loading("Lightning")
    if "." in name:
        kind = _load(":".join(name.rpartition(".")[::2]))
    else:
        kind = _load(f"{homes[name]}:{name}") if name in homes else _lightning(name)
    if kind is None:
        refuse(
            "nfas help",
            f"there is no class {name!r}.{nearest(name, homes)} A full path does too, e.g. a.b.C.",
        )
    parser = PlainErrors(prog=name, add_help=False, usage=name)
    parser.add_class_arguments(kind, as_group=False)
    for action in parser._actions:
        action.metavar = None if action.choices else ""
    text = parser.format_help().partition("options:\n")[2]
    # options as init_args has them, without dashes and without jsonargparse's own
    text = re.sub(r"^  --\S+\.help\b.*\n(?: {10,}.*\n)*", "", text, flags=re.MULTILINE)
    text = re.sub(r"^  --", "    ", text, flags=re.MULTILINE)
    home = homes.get(kind.__name__, kind.__module__)
    print(f"{summary(kind)}\n\nclass_path: {home}.{kind.__name__}\ninit_args:\n{text.rstrip()}")


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    try:
        return getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            return None
        refuse("nfas help", f"{module} cannot be imported: {error}.")


def _lightning(name: str) -> Any:
    """A callback or logger of Lightning's, or an optimizer of torch's, by its short name."""
    homes = (
        "pytorch_lightning",
        "pytorch_lightning.callbacks",
        "pytorch_lightning.loggers",
        "torch.optim",
        "torch.optim.lr_scheduler",
    )
    return next((kind for home in homes if isinstance(kind := _load(f"{home}:{name}"), type)), None)


def _summary_of(module: str, name: str) -> str:
    """Return the first line of a class's docstring, read from its source."""
    home, *parts = module.split(".")
    # by its path: to ask for a module inside a package would import the package
    spec = find_spec(home)
    if spec is None or spec.origin is None:
        return ""
    tree = ast.parse(Path(spec.origin).parent.joinpath(*parts).with_suffix(".py").read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return (ast.get_docstring(found) or "").split("\n")[0]


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3].rsplit(" ", 1)[0] + " ..."
