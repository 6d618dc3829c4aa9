"""Small recordings: six electrodes, ten stimuli that come twice."""

import mne
import numpy as np

NAMES = tuple(f"word_{i}" for i in range(10))
RATE = 100.0
CHANNELS = ("Fz", "Cz", "Pz", "Oz", "P3", "P4")


def info_of():
    info = mne.create_info(list(CHANNELS), RATE, "eeg")
    return info.set_montage("biosemi64")


def epochs_of(seed=0, order=NAMES):
    """EpochsArray of 20 epochs from -0.1 to 0.3 s, each stimulus twice, in microvolts of noise."""
    rng = np.random.default_rng(seed)
    shown = [name for name in order for _ in range(2)]
    events = np.column_stack([np.arange(20) * 50, np.zeros(20, int), [NAMES.index(n) + 1 for n in shown]])
    ids = {name: i + 1 for i, name in enumerate(NAMES)}
    data = 1e-6 * rng.standard_normal((20, len(CHANNELS), 41))
    return mne.EpochsArray(data, info_of(), events, tmin=-0.1, event_id=ids, verbose="error")


def raw_of(seed=0):
    """RawArray of 24 s in which words are shown every second, between presses of a button."""
    rng = np.random.default_rng(seed)
    raw = mne.io.RawArray(1e-6 * rng.standard_normal((len(CHANNELS), 2400)), info_of(), verbose="error")
    order = [*rng.permutation(NAMES), *rng.permutation(NAMES)]
    onsets = 1.0 + np.arange(20)
    raw.set_annotations(
        mne.Annotations([*onsets, 2.5], [0.0] * 21, [*map(str, order), "button"]), verbose="error"
    )
    raw.info["line_freq"] = 50
    return raw
