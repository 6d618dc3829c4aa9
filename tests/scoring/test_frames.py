"""Depth and time inside a stimulus: frames on the clock, a rotation over time, and end to end."""

import numpy as np
import pytest
import torch
from torch import nn

from nfas_lightning import align, score_models
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.functional import dmd, hrf_operator, stable_mode
from nfas_lightning.hooks import DepthRecorder, LayerInfo, Trajectory
from nfas_lightning.models import RawStimuli
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from nfas_lightning.scoring.frames import in_time
from tests.helpers.scoring import CARD

N, F, T = 40, 4, 170
LAYERS = ["1", "2", "3", "4"]
CPU = torch.device("cpu")
SETTINGS = ScoringSettings(n_permutations=0, n_bootstrap=0, baselines=False, svd_rank=2)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh()).eval()


@pytest.fixture(scope="module")
def clips():
    return torch.rand(N, F, 3, 2, 2, generator=torch.Generator().manual_seed(1))


def on_a_clock(clips, seed=2):
    """Volumes that follow each frame of clips of four seconds, not their mean."""
    onsets = 4.0 * torch.arange(N)
    feature = network()(clips.flatten(0, 1)).detach()[:, :3]
    starts = (onsets[:, None] + torch.arange(F)).flatten()
    op = hrf_operator(starts, torch.arange(T) * 1.0, tr=1.0, durations=torch.ones(N * F))
    signal = op.to_dense() @ (feature - feature.mean(0))
    noise = torch.randn(T, 3, generator=torch.Generator().manual_seed(seed))
    return ArrayDataModule(
        clips, signal / signal.std(0) + 0.5 * noise, events={"onset": onsets, "duration": [4.0] * N}, tr=1.0
    )


def test_kept_rows_are_those_of_a_loop_over_frames(clips):
    net = network()
    with DepthRecorder(net, LAYERS, time="keep") as rec, torch.no_grad():
        for some in torch.arange(N).split(16):
            net(clips[some].flatten(0, 1))
            rec.collect(some, [F] * len(some))
        kept = rec.trajectory()
        plain = DepthRecorder(net, LAYERS)
        rows = []
        with plain:
            for clip in clips:
                frames = []
                for frame in clip:
                    net(frame[None])
                    frames.append(torch.stack(plain.states)[:, 0])
                    plain.forget_pass()
                rows.append(torch.stack(frames))
    torch.testing.assert_close(kept.stack(), torch.stack(rows))
    assert kept.stack().shape == (N, F, 4, 6)
    assert (kept.frames, kept.time) == (F, "keep")
    assert f"{N} stimuli x {F} frames" in repr(kept)
    flat = kept.by_frame()
    assert flat.stimulus_ids.tolist() == list(range(N * F))
    torch.testing.assert_close(flat.states[-1][F + 2], kept.stack()[1, 2, -1])


def test_clips_that_can_not_be_kept_are_refused(clips):
    net = network()
    with DepthRecorder(net, LAYERS, time="keep") as rec, torch.no_grad():
        net(clips[:2].flatten(0, 1))
        rec.collect([0, 1], [F, F])
        net(clips[2, :3])
        with pytest.raises(ValueError, match=r"equally many frames, got \[3, 4\].*ClipFiles"):
            rec.collect([2], [3])
        net(clips[:, 0])
        with pytest.raises(ValueError, match=r"time='keep' keeps the frames .* one row per stimulus"):
            rec.collect(range(N))
    with pytest.raises(ValueError, match="time must be"):
        DepthRecorder(net, LAYERS, time="median")
    pictures = ArrayDataModule(clips, torch.randn(N, 2))
    with pytest.raises(ValueError, match=r"those of 'array' have none: give events with a duration"):
        align(net, pictures, layers=LAYERS, preprocess=RawStimuli(), time="keep", cache=False)


def test_frames_fill_their_clip_on_the_clock(clips):
    brain = on_a_clock(clips)
    brain.setup()
    whole, framed = brain.responses, brain.responses.by_frame(F)
    (op,), (parts,) = (r.design for r in (whole, framed))
    torch.testing.assert_close(parts.to_dense().view(T, N, F).sum(2), op.to_dense())
    expected = hrf_operator(
        torch.tensor([9.0]).double(), torch.arange(T).double(), tr=1.0, durations=torch.ones(1)
    )
    torch.testing.assert_close(parts.to_dense()[:, [2 * F + 1]], expected.to_dense())
    assert framed.stimulus_ids[F] == "00001, frame 0"
    assert "event_times" in whole.hashes  # operators of whole stimuli may hide where frames are


@pytest.mark.filterwarnings("ignore:1 of 2 stimuli are shown more than once")
@pytest.mark.parametrize("temporal", ["hrf", "fir"])
def test_events_of_several_runs_and_repeats_are_split_alike(clips, temporal):
    runs = [0] * 20 + [1] * 20
    events = {
        "onset": [0.0, 6.0, 0.0],
        "duration": [4.0, 8.0, 4.0],
        "run": [0, 0, 1],
        "stimulus": ["a", "b", "a"],
    }
    brain = ArrayDataModule(
        clips[:2], torch.randn(40, 2), events=events, tr=1.0, runs=runs, stimulus_ids=["a", "b"],
        temporal=temporal, delays=(0, 1),
    )  # fmt: skip
    brain.setup()
    steady = torch.tensor([[1.0], [3.0]])
    same = brain.responses.carry(steady)[:, :1]
    framed = brain.responses.by_frame(F).carry(steady.repeat_interleave(F, 0))[:, :1]
    torch.testing.assert_close(framed, same)  # a feature that does not change over a clip gives what it gave


def test_a_rotation_over_time_is_recovered():
    angle = 2 * np.pi / 7
    turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    x = torch.randn(N, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    frames = torch.stack([x @ torch.linalg.matrix_power(turn, f) for f in range(6)], dim=1)
    blocks = [frames, 2 * frames.flip(2), frames @ torch.linalg.qr(torch.randn(2, 2).double()).Q]
    info = [LayerInfo(f"b{i}", i, "Block", (2,), 2, "torch.float64", frames=6, time="dmd") for i in range(3)]
    track = Trajectory(tuple(block.flatten(1) for block in blocks), tuple(info), torch.arange(N))
    brain = ArrayDataModule(torch.rand(N, 3, 2, 2), torch.randn(N, 2))
    brain.setup()
    found = in_time(track, brain.responses, SETTINGS, device=CPU)
    assert found.columns["time_real"] == pytest.approx([np.cos(angle)] * 3)
    assert found.columns["time_imag"] == pytest.approx([np.sin(angle)] * 3)
    torch.testing.assert_close(found.trajectory.states[0], stable_mode(frames, svd_rank=2))
    assert found.trajectory.stack().shape == (N, 3, 4)  # two quadratures of two units
    result = score_trajectory(track, brain.responses, CARD, SETTINGS)
    assert result.depth["time_imag"].tolist() == pytest.approx([np.sin(angle)] * 3)
    expected = dmd(found.trajectory.stack(), svd_rank=2).stable_eigenvalue
    assert result.card["stable_real"] == pytest.approx(float(expected.real), abs=1e-6)


def test_too_few_frames_and_blank_ones_are_refused(clips):
    brain = on_a_clock(clips)
    brain.setup()

    def track(frames, time="dmd"):
        states = torch.rand(N, frames, 3, generator=torch.Generator().manual_seed(0))
        states[:, 0] = 1.0  # every clip begins with the same frame
        info = [
            LayerInfo(f"b{i}", i, "B", (3,), 3, "torch.float32", frames=frames, time=time) for i in range(3)
        ]
        return Trajectory((states.flatten(1),) * 3, tuple(info), torch.arange(N))

    with pytest.raises(ValueError, match="time='dmd' needs 3 frames or more of every clip, got 2"):
        in_time(track(2), brain.responses, SETTINGS, device=CPU)
    with pytest.raises(ValueError, match=r"same state at frames \[0\] .* of block 'b0'.*cut blank ones"):
        in_time(track(4), brain.responses, SETTINGS, device=CPU)
    with pytest.raises(ValueError, match="keep_model=True predicts from one state per stimulus"):
        in_time(track(4), brain.responses, ScoringSettings(keep_model=True), device=CPU)


def test_frames_are_scored_end_to_end(clips, tmp_path, captures, passes):
    members = [
        {"model": network(), "layers": LAYERS, "preprocess": RawStimuli(), "time": time, "name": time}
        for time in ("mean", "keep", "dmd")
    ]
    settings = ScoringSettings(n_permutations=0, n_bootstrap=0, baselines=False)
    options = {"random_twins": False, "report": False, "enable_progress_bar": False}
    run = score_models(members, on_a_clock(clips), tmp_path / "run", settings=settings, **options)
    r = run.scores.groupby("model")["r"].mean()
    assert r["keep"] > 0.6
    assert r["keep"] > r["mean"] + 0.1
    assert run.models.set_index("model").loc["keep", "n_stimuli"] == N * F
    over_time = run.depth.set_index("model")["time_real"]
    assert np.isfinite(over_time["dmd"]).all()
    assert over_time[["mean", "keep"]].isna().all()
    brain = on_a_clock(clips)
    passes.clear()
    again = align(
        network(), brain, layers=LAYERS, preprocess=RawStimuli(), time="keep", settings=settings,
        progress=False,
    )  # fmt: skip
    assert not passes  # frames are kept between runs, as all states are
    assert again.scores["r"].mean() == pytest.approx(r["keep"], abs=1e-6)
