"""Config files are read once before anything heavy, and what YAML would let pass is said."""

import pytest
import pytorch_lightning  # noqa: F401 - so that it is there

from nfas_lightning.cli import main
from tests.helpers.command_line import TEXT, refused


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
