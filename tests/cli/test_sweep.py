"""Slips in the file of a sweep."""

import pytest
import pytorch_lightning  # noqa: F401 - so that it is there

from nfas_lightning.cli import main

SWEEP = """
models: [mobilenet_v2]
benchmarks: {one: {modality: vision, data: {class_path: SimulatedBrainDataModule}}}
settings: {n_permutations: 19}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("n_permutations", "n_permutation", "settings: ScoringSettings has no option 'n_permutation'."),
        ("n_permutations", "n_permutation", "Did you mean 'n_permutations'"),
        ("settings:", "setings:", "unknown key 'setings'. Did you mean 'settings'? There are models, "),
        ("mobilenet_v2", "mobilenet_v3", "no listed model is called 'mobilenet_v3'."),
        ("n_permutations: 19", "svd_rank: [2]", "settings.svd_rank: "),
        ("modality: vision", "modality: visoin", "got 'visoin'"),
        ("one:", "a/b:", "A benchmark's name is that of its folder"),
        ("modality: vision", "modality: audio", "No benchmark is of the modality of ['mobilenet_v2']"),
        ("[mobilenet_v2]", "[mobilenet_v2]\nslots: many", "slots: expected int or null, got 'many'."),
        ("[mobilenet_v2]", "[mobilenet_v2]\nslots: 0", "slots must be at least 1, got 8 and 0."),
    ],
)  # fmt: skip
def test_typos_in_a_sweep(capsys, tmp_path, right, wrong, message):
    assert right in SWEEP
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.replace(right, wrong, 1) + f"run_dir: {tmp_path / 'out'}\n")
    with pytest.raises(SystemExit) as stop:
        main(["sweep", str(file)])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("nfas sweep: error: ")
    assert message in said
    assert " help," not in said
    assert not (tmp_path / "out").exists()


def test_a_job_that_a_sweep_does_not_have(capsys, tmp_path):
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    with pytest.raises(SystemExit) as stop:
        main(["sweep", str(tmp_path / "sweep.yaml"), "--job", "two"])
    assert stop.value.code == 2
    assert "The sweep has no benchmark 'two'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--plan"], ["--plan", "false"], ["--plan=true", "--no_resume"]])
def test_a_flag_leaves_the_word_behind_it_to_the_file(capsys, words):
    with pytest.raises(SystemExit):
        main(["sweep", *words, "nowhere.yaml"])
    assert "there is no file nowhere.yaml" in capsys.readouterr().err
