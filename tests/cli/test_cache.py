"""`nfas cache`: what is kept is listed, pruned and cleared."""

import os
import time

import pytest

from nfas_lightning.cli import main
from tests.results.test_capture_cache import ABOUT, states


def test_states_are_listed_pruned_and_cleared(captures, capsys):
    main(["cache", "list"])
    assert f"0 in {captures.folder}: 0.0 MB, of 1 GB" in capsys.readouterr().out
    for days, key in enumerate(("new", "old", "oldest")):
        captures.write(key, states(), {**ABOUT, "model": key})
        then = time.time() - days * 24 * 3600
        os.utime(captures.folder / f"{key}.safetensors", (then, then))
    (captures.folder / "broken.safetensors").write_bytes(b"no file of ours")
    main(["cache", "list"])
    printed = capsys.readouterr().out
    assert printed.index("new") < printed.index("old ") < printed.index("oldest")
    assert "toy" in printed
    assert "damaged" in printed
    main(["cache", "prune", "--older_than", "1.5"])
    assert "removed 1 (0.0 MB); 3" in capsys.readouterr().out
    main(["cache", "prune", "--max_size", "1e-5"])
    assert "removed 1 " in capsys.readouterr().out
    main(["cache", "clear"])
    assert "removed 2 " in capsys.readouterr().out
    assert not captures.files()


@pytest.mark.parametrize("option", ["--max_size", "--older_than"])
def test_negative_sizes_and_ages_are_refused(option, captures, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["cache", "prune", option, "-1"])
    assert stop.value.code == 2
    assert "must be 0 or more, got -1" in capsys.readouterr().err
