"""Alice's release as its authors unpack it: text files in two folders, and a TextGrid."""

import numpy as np

TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 30
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 30
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 20
            text = "sp"
        intervals [2]:
            xmin = 20
            xmax = 20.5
            text = "Alice"
        intervals [3]:
            xmin = 20.5
            xmax = 30
            text = "was"
"""


def write_release(folder, arrays, grid):
    data, stimuli = folder / "alice_data_shared", folder / "alice_stim_shared"
    for name in ("6mm", "10mm"):
        (data / name).mkdir(parents=True)
    stimuli.mkdir()
    (stimuli / "story.TextGrid").write_bytes(grid)
    for s, subject in enumerate(arrays["subjects"]):
        np.savetxt(data / "6mm" / f"{subject}-timecourses.txt", arrays["bold_6mm"][s], delimiter="   ")
        np.savetxt(data / "10mm" / f"{subject}-timecourses.txt", arrays["bold_10mm"][s], delimiter="   ")
        motion = np.concatenate([np.full((10, 6), 9.0), arrays["motion"][s]])
        np.savetxt(data / f"{subject}-rp_scan.txt", motion)
        np.savetxt(data / f"{subject}-rate.txt", arrays["word_rate_hrf"])
        np.savetxt(data / f"{subject}-sndpwr.txt", arrays["sound_power_hrf"])
    return folder
