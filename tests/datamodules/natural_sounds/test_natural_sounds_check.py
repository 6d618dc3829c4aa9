import numpy as np
import pytest

from tests.helpers.checks import check_one, rows_of

NAMES = np.array([f"sound {i}" for i in range(165)])
PARTS = {
    "components.npz": {"R": np.zeros((165, 6)), "component_names": NAMES[:6], "stim_names": NAMES},
    "sounds_16k.npz": {
        "audio": np.zeros((165, 32_000), np.int16),
        "sr": np.array(16_000),
        "names": NAMES,
    },
}


@pytest.fixture
def sounds(tmp_path):
    folder = tmp_path / "natsound165"
    folder.mkdir()
    for name, arrays in PARTS.items():
        np.savez(folder / name, **arrays)
    return folder


def test_whole_archives_are_complete(sounds):
    assert check_one(sounds).complete


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, arrays in PARTS.items() for key in arrays])
def test_arrays_that_the_loader_reads_must_be_there(sounds, name, key):
    np.savez(sounds / name, **{other: array for other, array in PARTS[name].items() if other != key})
    assert f"must hold '{key}'" in str(rows_of(sounds))


def test_both_archives_must_list_the_same_sounds(sounds):
    np.savez(sounds / "sounds_16k.npz", **(PARTS["sounds_16k.npz"] | {"names": NAMES[::-1]}))
    assert "the same sounds in the same order" in rows_of(sounds)["names"].unreadable[0][1]


@pytest.mark.shared_data
def test_the_real_data(shared_data):
    assert check_one(shared_data / "natsound165", deep=True).complete
