"""`nfas models`: list, show, check and pin, and configs of the zoo on the command line."""

import json
from pathlib import Path

import pytest
import yaml

from nfas_lightning.cli import main
from nfas_lightning.models.zoo import zoo
from nfas_lightning.models.zoo.registry import CONFIGS
from tests.helpers.zoo import save_files, small_entry

pytest.importorskip("transformers")
pytest.importorskip("timm")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NFAS_MODELS_LOCK", raising=False)
    monkeypatch.delenv("NFAS_WEIGHTS", raising=False)


def _printed(capsys, *words):
    main(["models", *words])
    return capsys.readouterr().out


def _refused(capsys, code, *words):
    with pytest.raises(SystemExit) as stop:
        main(["models", *words])
    assert stop.value.code == code
    printed = capsys.readouterr()
    if code == 2:
        assert printed.err.startswith(f"nfas models {words[0]}: error: ")
        return printed.err
    return printed.out


def test_list_shows_the_zoo_and_the_packaged_and_filters(capsys, tmp_path, monkeypatch):
    everything = _printed(capsys, "list")
    assert all(f"zoo:{name} " in everything for name in zoo())
    assert "minilm_l6 " in everything
    audio = _printed(capsys, "list", "--modality", "audio", "--source", "zoo")
    assert "zoo:hubert_base" in audio
    assert "resnet50" not in audio
    assert "15 models" in audio
    assert "2 models" in _printed(capsys, "list", "--family", "gpt2")
    free = _printed(capsys, "list", "--license", "mit", "--modality", "language", "--source", "zoo")
    assert "zoo:gpt2 " in free
    assert "opt_125m" not in free
    assert "no model fits. Families: albert" in _refused(capsys, 2, "list", "--family", "gpt5")
    save_files(small_entry("deit_base"), tmp_path / "all" / "deit_base")
    monkeypatch.setenv("NFAS_WEIGHTS", str(tmp_path / "all"))
    here = _printed(capsys, "list", "--local", "--source", "zoo")
    assert "1 models" in here
    assert "zoo:deit_base" in here


def test_info_names_every_field_and_every_block(capsys):
    shown = _printed(capsys, "info", "zoo:bert_base")
    entry = zoo()["bert_base"]
    for text in (entry.revision, "Apache-2.0", "108891648", "arxiv.org/abs/1810.04805", "encoder.layer.11"):
        assert text in shown
    assert "blocks.5" in _printed(capsys, "info", "crepe_tiny")
    assert "Try one of: zoo:bert_base" in _refused(capsys, 2, "info", "bert_bas")


def test_libraries_are_searched_and_their_names_are_checked_before_anything_is_loaded(capsys):
    found = _printed(capsys, "search", "resnet50")
    for name in ("zoo:resnet50", "timm:seresnet50", "torchvision:wide_resnet50_2", "hf:timm/resnet50"):
        assert name in found
    assert "timm:vit_tiny" not in found
    # the zoo names its hub entry
    assert "hf:openai-community/gpt2 " in _printed(capsys, "search", "hf:*gpt2")
    assert "no name fits 'resnt18'. Did you mean" in _refused(capsys, 2, "search", "resnt18")
    assert "timm/resnet18.a1_in1k" in _printed(capsys, "info", "timm:resnet18")
    assert "Similar names: resnet18" in _refused(capsys, 2, "info", "timm:resnt18")
    assert "Did you mean 'resnet18'" in _refused(capsys, 2, "info", "torchvision:resnt18")
    assert "No folder './resnet18'" in _refused(capsys, 2, "info", "hf:./resnet18")
    assert "takes a folder or org/name@revision, got 'a b'" in _refused(capsys, 2, "info", "hf:a b")


def test_check_prints_a_table_and_ends_with_the_reason(capsys, monkeypatch):
    printed = _printed(capsys, "check", "minilm_l6_v2", "whisper_tiny")
    assert "22,565,376" in printed
    assert "2 of 2 passed" in printed
    import nfas_lightning.models.zoo.check as check

    def broken(entry, **_):
        raise ValueError(f"{entry.address} is not what it was")

    monkeypatch.setattr(check, "build_network", broken)
    failed = _refused(capsys, 1, "check", "minilm_l6_v2")
    assert "0 of 1 passed" in failed
    assert "minilm_l6_v2: ValueError: sentence-transformers/all-MiniLM-L6-v2@c9745ed" in failed
    assert "Try one of: minilm_l6_v2" in _refused(capsys, 2, "check", "minilm_l6_v3")
    assert "no model of modality 'smell'" in _refused(capsys, 2, "check", "--modality", "smell")


def test_check_and_pin_with_a_folder_of_weights(capsys, tmp_path):
    # full size, but small: the check holds files against what the entry itself says
    entry = zoo()["whisper_tiny"]
    save_files(entry, tmp_path / "weights" / "whisper_tiny")
    folder = str(tmp_path / "weights")
    assert f"folder of {entry.address[:20]}" in _printed(capsys, "check", "whisper_tiny", "--weights", folder)
    missing = _refused(capsys, 1, "check", "whisper_tiny", "minilm_l6_v2", "--weights", folder)
    assert "minilm_l6_v2: MissingFileError: No folder" in missing
    assert "sentence-transformers/all-MiniLM-L6-v2@c9745ed" in missing

    assert f"whisper_tiny: {entry.address}" in _printed(capsys, "pin", "whisper_tiny", "--weights", folder)
    stored = json.loads((tmp_path / "nfas-models.lock").read_text())
    assert stored["models"]["whisper_tiny"]["revision"] == entry.revision
    assert "lock file" in _printed(capsys, "list", "--family", "whisper")
    save_files(entry, tmp_path / "weights" / "whisper_tiny", seed=9)
    changed = _refused(capsys, 1, "check", "whisper_tiny", "--weights", folder)
    assert "is pinned to weights" in changed
    with pytest.raises(SystemExit) as stop:
        main(["models", "pin", "whisper_tiny", "--weights", str(tmp_path)])
    assert stop.value.code == 1
    assert "holds no weights" in capsys.readouterr().err


@pytest.mark.slow
def test_configs_of_a_model_and_of_a_simulated_brain_compose(capsys, tmp_path):
    from nfas_lightning.results import RunResults

    root = Path(__file__).parents[2]
    config = yaml.safe_load((CONFIGS / "vision" / "deit_base.yaml").read_text())
    small = small_entry("deit_base")
    fields = config["model"]["init_args"]["model"]["init_args"]
    fields |= {key: getattr(small, key) for key in ("architecture", "preprocessing", "parameters", "reduced")}
    (tmp_path / "deit_base.yaml").write_text(yaml.safe_dump(config))
    args = ["test", "--config", str(tmp_path / "deit_base.yaml")]
    args += ["--config", str(root / "configs" / "data" / "simulated_vision.yaml")]
    data = {"n_stimuli": 24, "n_subjects": 2, "n_runs": 2, "image_size": 64}
    args += [f"--data.init_args.{key}={value}" for key, value in data.items()]
    main([*args, "--model.init_args.weights=random", "--trainer.enable_progress_bar=false"])
    models = RunResults.load(tmp_path / "runs" / "simulated_vision").models
    assert models["name"].tolist() == ["deit_base_random"]
    assert models["parameters"].tolist() == [small.parameters]
