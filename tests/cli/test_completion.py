"""The script for bash, run by bash."""

import shutil
import subprocess

import pytest

from nfas_lightning.cli import main
from nfas_lightning.models import sources as models
from nfas_lightning.models.sources import ModelSource, sources

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


@pytest.fixture
def complete(capsys, monkeypatch, tmp_path):
    few = {**sources(), "timm": ModelSource(None, names=lambda: ["resnet18", "resnet50", "vit_tiny"])}
    monkeypatch.setattr(models, "sources", lambda: few)
    main(["--print_completion", "bash"])
    script = tmp_path / "nfas.sh"
    script.write_text(capsys.readouterr().out)

    def run(*lines):
        calls = [
            f"COMP_LINE='{line}'; COMP_POINT={len(line)}; COMPREPLY=(); _nfas; echo ${{COMPREPLY[@]}}"
            for line in lines
        ]
        code = "\n".join([f"source {script}", *calls])
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
        return [line.split() for line in done.stdout.split("\n")[:-1]]

    return run


def test_commands_options_and_names_are_completed(complete):
    lines = {
        "nfas sc": ["score"],
        "nfas models in": ["info"],
        "nfas score gpt": ["gpt2", "gpt2_medium"],
        "nfas score minilm_l6 timm:resnet": ["resnet18", "resnet50"],  # bash keeps what is before the colon
        "nfas score minilm_l6 --on alic": ["alice"],
        "nfas score minilm_l6 --n_p": ["--n_permutations"],
        "nfas models list --mo": ["--modality"],
        "nfas test --c": ["--config"],
        "nfas data get --model": [],
    }
    found = complete(*lines)
    assert dict(zip(lines, found, strict=True)) == lines


def test_other_shells_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--print_completion", "bsh"])
    assert stop.value.code == 2
    assert "takes bash or zsh, got 'bsh'. Did you mean 'bash'" in capsys.readouterr().err
