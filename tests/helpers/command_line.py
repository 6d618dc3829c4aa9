"""A good config, and a command line that is refused."""

import pytest
import yaml

from nfas_lightning.cli import main

GOOD = {
    "trainer": {
        "logger": False,
        "callbacks": [
            {"class_path": "DepthTrajectory", "init_args": {"dtype": "float32"}},
            {
                "class_path": "ScoreWriter",
                "init_args": {"run_dir": "run", "settings": {"n_permutations": 19}},
            },
        ],
    },
    "model": {"class_path": "ModelSuite", "init_args": {"models": ["timm:test_vit"]}},
    "data": {"class_path": "SimulatedBrainDataModule", "init_args": {"n_stimuli": 24}},
}
TEXT = yaml.safe_dump(GOOD)


def refused(capsys, folder, text, *options):
    path = folder / "config.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit) as stop:
        main(["test", "--config", str(path), *options])
    assert stop.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "Seed set" not in line]
    assert len(said) == 1, said
    assert not (folder / "run").exists()
    return said[0]


def run_data(*args: str) -> int:
    """Exit code of `nfas data`."""
    try:
        main(["data", *map(str, args)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
