import json

import torch

from nfas_lightning.cli import doctor as module
from nfas_lightning.cli import main


def test_a_line_each_with_what_to_do(capsys, monkeypatch, tmp_path):
    (tmp_path / "data" / "alice_fmri").mkdir(parents=True)
    (tmp_path / "data" / "alice_fmri" / "words.csv").touch()
    monkeypatch.setenv("NFAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NFAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nfas_lightning.models.reach.is_reachable", lambda url: False)
    real = module.installed_version
    monkeypatch.setattr(module, "installed_version", lambda name: "none" if name == "timm" else real(name))
    main(["doctor", "--json"])
    lines = {row["what"]: row for row in json.loads(capsys.readouterr().out)[0]["rows"]}
    assert f"torch {torch.__version__.partition('+')[0]}" in lines["package"]["found"]
    assert "missing: timm" in lines["extra vision"]["found"]
    assert lines["extra vision"]["what to do"] == "pip install 'nfas-lightning[vision]'"
    assert "cores" in lines["device"]["found"]
    assert lines["cache"]["found"].startswith(f"{tmp_path}/cache; 0 captures")
    assert lines["weights packaged"]["found"] == "0 of 18 models are here"
    assert "NFAS_WEIGHTS" in lines["hub"]["what to do"]
    assert lines["data alice"]["found"] == "1 word table"
    assert lines["data narratives"]["what to do"] == "nfas data get narratives"
