from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from nfas_lightning.data.stimuli.clips import ClipFiles
from nfas_lightning.data.stimuli.video import every_frame, frame_statistics, read_clip
from tests.helpers.clips import LEVELS, write_clip


def seen(clip):
    """Gray of each frame; H.264 is off by a level or two."""
    return clip.float().mean(dim=(1, 2, 3))


@pytest.mark.parametrize(
    ("rate", "indices"), [(1, [15, 45]), (4, [3, 11, 18, 26, 33, 41, 48, 56]), (0.5, [30])]
)
def test_frames_are_those_in_the_middle_of_equal_pieces(folder, rate, indices):
    clip = read_clip(folder / "ramp.mp4", rate)
    assert clip.shape == (len(indices), 3, 16, 24)
    assert clip.dtype == torch.uint8
    wanted = torch.from_numpy(LEVELS[indices]).float()
    assert (seen(clip) - wanted).abs().max() < 2.5


def test_every_frame_and_more_than_every_frame(folder):
    wanted = torch.from_numpy(LEVELS).float()
    assert (seen(read_clip(folder / "ramp.mp4", 30)) - wanted).abs().max() < 2.5
    twice = seen(read_clip(folder / "ramp.mp4", 60))
    assert (twice - wanted.repeat_interleave(2)).abs().max() < 2.5


def test_a_count_and_a_size(folder):
    assert read_clip(folder / "still.mp4", 4, n_frames=12).shape == (12, 3, 16, 24)
    small = read_clip(folder / "ramp.mp4", 2, size=8)
    assert small.shape == (4, 3, 8, 12)
    assert (seen(small) - seen(read_clip(folder / "ramp.mp4", 2))).abs().max() < 2.5


def test_one_decode_a_clip(folder, monkeypatch):
    opened = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda path, **options: opened.append(path) or real(path, **options))
    read_clip(folder / "ramp.mp4", 10)
    assert len(opened) == 1


def test_a_playlist_under_a_videos_name_opens_nothing(folder, tmp_path):
    """ffmpeg goes by the content, and these name another file of the disk."""
    target = folder / "ramp.mp4"
    lists = {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n",
        "concat.mp4": f"ffconcat version 1.0\nfile '{target}'\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="must be a whole video file"):
            read_clip(tmp_path / name, 4)


def test_damaged_files_are_named(folder, tmp_path):
    whole = (folder / "ramp.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.mp4 must be a whole video file.*download it again"):
        read_clip(tmp_path / "cut.mp4", 4)
    (tmp_path / "text.mp4").write_text("no video at all\n" * 100)
    with pytest.raises(ValueError, match=r"text\.mp4 must be a whole video file"):
        read_clip(tmp_path / "text.mp4", 4)
    # the index stands in front, so that the file opens, and the frames end early
    streamed = (folder / "streamed.mp4").read_bytes()
    (tmp_path / "early.mp4").write_bytes(streamed[: -(len(streamed) - streamed.index(b"mdat")) // 2])
    with pytest.raises(ValueError, match=r"early\.mp4 must"):
        read_clip(tmp_path / "early.mp4", 4)
    (tmp_path / "late.mp4").write_bytes(streamed[:-20])
    with pytest.raises(ValueError, match=r"late\.mp4 must"):  # after the one frame that is taken
        read_clip(tmp_path / "late.mp4", 0.5)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ValueError, match="empty file"):
        read_clip(tmp_path / "empty.mp4", 4)
    with pytest.raises(FileNotFoundError, match=r"none\.mp4 must be a file, got nothing"):
        read_clip(tmp_path / "none.mp4", 4)


@pytest.mark.parametrize(
    ("options", "message"), [((0,), "frames_per_second"), ((float("nan"),), "frames_per")]
)
def test_options(folder, options, message):
    with pytest.raises(ValueError, match=message):
        read_clip(folder / "ramp.mp4", *options)
    with pytest.raises(ValueError, match="size must be"):
        ClipFiles([], 4, size=0)


def test_damage_inside_the_pictures_is_named_where_the_decoder_sees_it(tmp_path):
    frames = np.zeros((60, 64, 64, 3), np.uint8)
    y, x = np.mgrid[:64, :64]
    for t in range(60):
        wave = 128 + 60 * np.sin((x + y + 3 * t) / 9)
        frames[t] = np.stack([(x + 2 * t) % 256, (y + t) % 256, wave], axis=-1)
    whole = write_clip(tmp_path / "whole.mp4", frames).read_bytes()
    assert len(read_clip(tmp_path / "whole.mp4", 4)) == 8
    start, seen = whole.index(b"mdat") + 700, 0
    pictures = len(whole) - start - 1500  # the index is at the end
    for place in range(8):
        damaged = bytearray(whole)
        at = start + pictures * place // 8
        damaged[at : at + 20] = bytes(255 - byte for byte in damaged[at : at + 20])
        (tmp_path / "flipped.mp4").write_bytes(damaged)
        try:
            read_clip(tmp_path / "flipped.mp4", 4)
        except ValueError as error:
            seen += "flipped.mp4 must" in str(error)
    assert seen >= 2


def test_every_frame_has_its_time_on_the_screen(folder):
    frames = list(every_frame(folder / "ramp.mp4", size=8))
    assert len(frames) == 60
    assert sum(seconds for _, seconds in frames) == pytest.approx(2.0)
    assert {round(seconds, 4) for _, seconds in frames} == {0.0333}
    pictures = torch.stack([picture for picture, _ in frames])
    assert pictures.shape == (60, 3, 8, 12)
    assert (seen(pictures) - torch.from_numpy(LEVELS).float()).abs().max() < 2.5


def test_frame_statistics():
    clip = torch.zeros(3, 3, 4, 4)
    clip[1, :, :2] = 1.0  # half of the picture lights up, and goes out
    seconds = (0.1, 0.2, 0.1)
    luminance, contrast, motion = frame_statistics(zip(clip, seconds, strict=True)).tolist()
    assert (luminance, contrast, motion) == pytest.approx((1 / 4, 1 / 4, 2 * 0.5 / 0.4))
    pictures = (clip * 255).to(torch.uint8)
    whole = frame_statistics(zip(pictures, seconds, strict=True)).tolist()
    assert whole == pytest.approx((luminance, contrast, motion))
    assert frame_statistics([(clip[0], 0.1)]).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="frames must last some time, got 0"):
        frame_statistics([])
