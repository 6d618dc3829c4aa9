"""What the command says while it loads."""

import sys

import pytorch_lightning  # noqa: F401 - so that it is there

from nfas_lightning.cli.messages import say_loading

<<<<<<< HEAD
=======
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


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("trainer:", "trainner:", "unknown key 'trainner'. Did you mean 'trainer'?"),
        ("callbacks:", "callback:", "unknown key 'trainer.callback'. Did you mean 'trainer.callbacks'"),
        ("ModelSuite", "ModelSuit", "model: there is no class 'ModelSuit'. Did you mean 'ModelSuite'?"),
        ("DepthTrajectory", "DepthTrajectry", "trainer.callbacks: there is no class 'DepthTrajectry'."),
        (
            "DepthTrajectory",
            "nfas_lightning.callbacks.DepthTrajectry",
            "nfas_lightning.callbacks has no 'DepthTrajectry'. Did you mean 'DepthTrajectory'",
        ),
        ("DepthTrajectory", "nowhere.Callback", "there is no module 'nowhere'"),
        ("dtype:", "dtyp:", "DepthTrajectory has no option 'dtyp'. Did you mean 'dtype'?"),
        ("models:", "model:", "ModelSuite has no option 'model'. Did you mean 'models'?"),
        ("n_permutations", "n_perms", "trainer.callbacks.settings: ScoringSettings has no option 'n_perms'."),
        ("run_dir: run", "name: run", "ScoreWriter needs run_dir."),
        ("n_stimuli: 24", "n_stimuli: many", "data.n_stimuli: expected int, got 'many'."),
        ("n_stimuli: 24", "tr: fast", "nfas test: error: data.tr: expected float, got 'fast'."),
        ("logger: false", "max_epochs: ten", "trainer.max_epochs: expected int, got 'ten'."),
        ("logger: false", "logger: WandLogger", "there is no class 'WandLogger'. Did you mean 'WandbLogger'"),
        ("n_stimuli: 24", "modality: visoin", "got 'visoin'. Did you mean 'vision'?"),
        ("n_stimuli: 24", "batch_size: 0", "batch_size must be at least 1, got 0."),
        ("dtype: float32", "dtype: float31", "got 'float31'. Did you mean 'float32'"),
        ("timm:test_vit", "zoo:resnet51", "No model is called 'zoo:resnet51'. Try one of: zoo:resnet50"),
        ("timm:test_vit", "resnet50", "No model is called 'resnet50'. Try one of: zoo:resnet50."),
        ("timm:test_vit", "tim:test_vit", "Unknown source 'tim' in 'tim:test_vit'"),
    ],
)  # fmt: skip
def test_typos_in_a_config(capsys, tmp_path, right, wrong, message):
    assert right in TEXT
    assert message in refused(capsys, tmp_path, TEXT.replace(right, wrong, 1))


SWEEP = """
models: [mobilenet_v2]
benchmarks: {one: {modality: vision, data: {class_path: SimulatedBrainDataModule}}}
settings: {n_permutations: 19}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("n_permutations", "n_permutation", "unknown key 'settings.n_permutation'."),
        ("n_permutations", "n_permutation", "Did you mean 'settings.n_permutations'"),
        ("n_permutations", "n_permutation", " settings has baselines, centering, criterion, "),
        ("settings:", "setings:", "unknown key 'setings'. Did you mean 'settings'? There are accelerator, "),
        ("mobilenet_v2", "mobilenet_v3", "no listed model is called 'mobilenet_v3'."),
        ("n_permutations: 19", "svd_rank: [2]", "settings.svd_rank: "),
        ("modality: vision", "modality: visoin", "got 'visoin'"),
        ("one:", "a/b:", "A benchmark's name is that of its folder"),
        ("modality: vision", "modality: audio", "No benchmark is of the modality of ['mobilenet_v2']"),
        ("[mobilenet_v2]", "[mobilenet_v2]\nslots: many", "slots: expected int, got 'many'."),
        ("[mobilenet_v2]", "[mobilenet_v2]\nslots: 0", "slots must be at least 1, got 8 and 0."),
    ],
)  # fmt: skip
def test_typos_in_a_sweep(capsys, tmp_path, right, wrong, message):
    assert right in SWEEP
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.replace(right, wrong, 1) + f"out: {tmp_path / 'out'}\n")
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


def test_typos_in_class_path_and_init_args(capsys, tmp_path):
    data = {**GOOD, "data": {"class_pth": "SimulatedBrainDataModule", "init_args": {"n_stimuli": 24}}}
    assert "Did you mean 'class_path'?" in refused(capsys, tmp_path, yaml.safe_dump(data))
    data = {**GOOD, "data": {"class_path": "SimulatedBrainDataModule", "init_arg": {"n_stimuli": 24}}}
    assert "Did you mean 'init_args'?" in refused(capsys, tmp_path, yaml.safe_dump(data))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "config.yaml is empty."),
        ("# nothing yet\n", "config.yaml is empty."),
        ("trainer:\n\tlogger: false\n", "line 2: YAML is indented with spaces, and here is a tab."),
        ("- a\n- b\n", "must hold keys and values (trainer:, model:, data:), got a list."),
        ("model: [1,\n", "config.yaml, line 2: "),
        (TEXT + "\nmodel: {class_path: FrozenModel}\n", "the key 'model' comes twice."),
    ],
)  # fmt: skip
def test_files_that_are_no_config(capsys, tmp_path, text, message):
    assert message in refused(capsys, tmp_path, text)


def test_a_file_of_another_encoding(capsys, tmp_path):
    (tmp_path / "sweep.yaml").write_text(TEXT, encoding="utf-16")
    with pytest.raises(SystemExit) as stop:
        main(["sweep", str(tmp_path / "sweep.yaml")])
    assert stop.value.code == 2
    assert "must be text in UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainr.devices", "2"], "unknown option '--trainr.devices'. Did you mean '--trainer.devices'"),
        (["--data.n_stimul", "3"], "has no option 'n_stimul'. Did you mean 'n_stimuli'?"),
        (["--ckpt_path", "net.ckpt"], "--ckpt_path: there is no file net.ckpt."),
    ],
)
def test_typos_on_the_command_line(capsys, tmp_path, options, message):
    assert message in refused(capsys, tmp_path, TEXT, *options)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["tset"], "there is no command 'tset'. Did you mean 'test'?"),
        (["models", "lst"], "models has no subcommand 'lst'. Did you mean 'list'?"),
        (["space"], "runs missing."),
        (["help", "Scorewriter"], "there is no class 'Scorewriter'. Did you mean 'ScoreWriter'?"),
        (["test"], "model and data missing: give a config"),
        (["test", "--config"], "expected one argument"),
        (["space", "--config", "sweep.yaml"], "unknown key 'benchmarks'."),
        (["space", "runs/nowhere"], "nfas space: error: runs/nowhere holds no scores.parquet"),
    ],
)
def test_wrong_commands(capsys, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text("benchmarks: {one: {data: {class_path: ArrayDataModule}}}\n")
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_wrong_path_names_the_files_that_look_like_it(capsys, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "alice.yaml").write_text(TEXT)
    for path in (
        tmp_path / "experiments" / "alcie.yaml",
        tmp_path / "alice.yaml",
        tmp_path / "experimets" / "alice.yaml",
    ):
        with pytest.raises(SystemExit) as stop:
            main(["test", "--config", str(path)])
        assert stop.value.code == 2
        assert f"Did you mean {tmp_path / 'experiments' / 'alice.yaml'}?" in capsys.readouterr().err


def test_a_list_that_is_replaced_is_said(capsys, tmp_path):
    (tmp_path / "a.yaml").write_text(TEXT)
    (tmp_path / "b.yaml").write_text("trainer:\n  callbacks:\n    - class_path: LearningRateMonitor\n")
    both = ["--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml"), "--print_config"]
    with pytest.raises(SystemExit):
        main(["test", *both])
    printed = capsys.readouterr()
    assert "takes the place of the one in" in printed.err
    assert "ScoreWriter" not in printed.out
    (tmp_path / "b.yaml").write_text("trainer:\n  callbacks+:\n    - class_path: LearningRateMonitor\n")
    with pytest.raises(SystemExit):
        main(["test", *both])
    printed = capsys.readouterr()
    assert "place" not in printed.err
    assert "ScoreWriter" in printed.out
    assert "LearningRateMonitor" in printed.out

>>>>>>> main

def test_a_terminal_hears_what_is_loading_and_a_pipe_does_not(capsys, monkeypatch):
    say_loading("Lightning")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    say_loading("Lightning")  # loaded already
    assert capsys.readouterr().err == ""
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    say_loading("Lightning")
    assert capsys.readouterr().err == "loading Lightning ...\n"
