"""Help for a newcomer: a page a command, and the options of any class that a config may name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from nfas_lightning.cli.docstrings import summary
from nfas_lightning.cli.messages import PlainErrors, nearest, say_loading

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

_NAMES = (
    ("Models", "nfas_lightning.models", "LightningModule"),
    ("Data modules", "nfas_lightning.datamodules", "LightningDataModule"),
    ("Callbacks", "nfas_lightning.callbacks", "Callback"),
)


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
    for title, module, base in _NAMES:
        lines += ["", f"{title} that class_path takes"]
        for kind in _exported(module, base):
            lines.append(f"  {kind.__name__:<26} {_shorten(summary(kind), 82)}")
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
    homes = {kind.__name__: module for _, module, base in _NAMES for kind in _exported(module, base)}
    homes["ScoringSettings"] = "nfas_lightning.scoring"
    known = {short: _load(f"{module}:{short}") for short, module in homes.items()}
    kind = _load(":".join(name.rpartition(".")[::2])) if "." in name else known.get(name) or _lightning(name)
    if kind is None:
        parser = PlainErrors(prog="nfas help")
        parser.error(f"there is no class {name!r}.{nearest(name, known)} A full path does too, e.g. a.b.C.")
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
    except ModuleNotFoundError:
        return None


def _lightning(name: str) -> Any:
    """A callback or logger of Lightning's, or an optimizer of torch's, by its short name."""
    homes = (
        "pytorch_lightning.callbacks",
        "pytorch_lightning.loggers",
        "torch.optim",
        "torch.optim.lr_scheduler",
    )
    return next((kind for home in homes if isinstance(kind := _load(f"{home}:{name}"), type)), None)


def _exported(module: str, base: str) -> Iterator[type]:
    say_loading("Lightning")
    parent = getattr(import_module("nfas_lightning.lightning_packages"), base)
    package = import_module(module)
    for name in package.__all__:
        kind = getattr(package, name)
        if isinstance(kind, type) and issubclass(kind, parent) and not _is_open(kind):
            yield kind


def _is_open(kind: type) -> bool:
    """Whether subclasses must fill in a method first."""
    return any(getattr(vars(kind).get(name), "__isabstractmethod__", False) for name in vars(kind))


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3].rsplit(" ", 1)[0] + " ..."
