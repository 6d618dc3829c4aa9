"""Own data from files of known names: the same as `ArrayDataModule` with what they hold."""

import wave

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image

from nfas_lightning.cli import main
from nfas_lightning.data import ImageFiles, word_stimuli
from nfas_lightning.datamodules import ArrayDataModule, FolderDataModule
from nfas_lightning.results import RunResults
from tests.helpers.clips import gray_levels, write_clip

N, R = 12, 3


def betas(seed=0, n=N):
    return np.random.default_rng(seed).normal(size=(n, R)).astype(np.float32)


def write_images(root, n=N):
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(9)
    for i in range(n):
        pixels = rng.integers(0, 256, size=(20 + i, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"img{i + 1}.png")  # img2 comes before img10
    return [root / "images" / f"img{i + 1}.png" for i in range(n)]


def loaded(root, **options):
    data = FolderDataModule(str(root), **options)
    data.setup()
    return data


def test_images_and_one_array_are_what_array_data_module_makes_of_them(tmp_path):
    paths = write_images(tmp_path)
    np.save(tmp_path / "responses.npy", betas())
    data = loaded(tmp_path, size=16)
    direct = ArrayDataModule(ImageFiles(paths, size=16), betas())
    direct.setup()
    assert torch.equal(data.responses.values, direct.responses.values)
    assert [path.stem for path in paths] == list(data.responses.stimulus_ids)
    mine, theirs = (next(iter(module.test_dataloader())) for module in (data, direct))
    assert torch.equal(mine["image"], theirs["image"])
    assert data.responses.hashes["stimuli"] == direct.responses.hashes["stimuli"]
    assert data.responses.dataset == tmp_path.name


def test_captions_stand_beside_their_images_whatever_the_order_of_rows(tmp_path):
    paths = write_images(tmp_path)
    np.save(tmp_path / "responses.npy", betas())
    names = [path.name for path in paths]
    table = pd.DataFrame({"image": names, "text": [f"picture {i}" for i in range(N)]}).sample(
        frac=1, random_state=0
    )
    table.to_csv(tmp_path / "captions.csv", index=False)
    data = loaded(tmp_path, size=16)
    batch = data.stimuli.collate([data.stimuli[i] for i in (3, 0)])
    assert [text.text for text in batch["text"]] == ["picture 3", "picture 0"]
    torch.testing.assert_close(batch["image"][1], ImageFiles(paths, size=16)[0].float() / 255)
    assert list(data.responses.stimulus_ids) == [path.stem for path in paths]
    table.iloc[1:].to_csv(tmp_path / "captions.csv", index=False)
    with pytest.raises(ValueError, match=r"must name every image once, .*'img"):
        loaded(tmp_path)
    table[["text"]].iloc[1:].to_csv(tmp_path / "captions.csv", index=False)
    with pytest.raises(ValueError, match="one row per image, 12, got 11"):
        loaded(tmp_path)


def test_clips_have_their_seconds_and_their_frames_a_place_on_the_clock(tmp_path):
    pytest.importorskip("av")
    (tmp_path / "clips").mkdir()
    for name, first in (("a", 0), ("b", 100)):
        write_clip(tmp_path / "clips" / f"{name}.mp4", gray_levels(first + np.arange(60)))
    events = pd.DataFrame({"onset": [0.0, 10.0], "stim_file": ["b.mp4", "a.mp4"]})
    events.to_csv(tmp_path / "events.csv", index=False)
    np.save(tmp_path / "responses.npy", betas(n=30))
    data = loaded(tmp_path, size=16, tr=1.0, frames_per_second=2.0)
    assert data.stimuli[0][1].shape[:2] == (4, 3)
    framed = data.responses.by_frame(4).design[0].to_dense()
    assert framed.shape == (30, 8)
    torch.testing.assert_close(framed.view(30, 2, 4).sum(2), data.responses.design[0].to_dense())


def test_a_file_a_subject_with_headers(tmp_path):
    write_images(tmp_path)
    (tmp_path / "responses").mkdir()
    for s in (2, 10):
        table = pd.DataFrame(betas(s), columns=["V1", "V4", "IT"])
        table.iloc[0, 0] = np.nan
        table.to_csv(tmp_path / "responses" / f"sub-{s}.csv", index=False)
    with pytest.warns(UserWarning, match="2 NaN"):
        data = loaded(tmp_path)
    assert data.responses.subjects == ("sub-2", "sub-10")
    assert list(data.responses.rois["roi"]) == ["V1", "V4", "IT"]
    torch.testing.assert_close(data.responses.values[1, 1:], torch.from_numpy(betas(10)[1:]))
    with pytest.warns(UserWarning, match="NaN"):
        assert loaded(tmp_path, subjects=["sub-10"]).responses.subjects == ("sub-10",)
    # rows of rois.csv go by name
    rois = pd.DataFrame({"roi": ["IT", "V1", "V4"], "network": list("xyz")})
    rois.to_csv(tmp_path / "rois.csv", index=False)
    with pytest.warns(UserWarning, match="NaN"):
        responses = loaded(tmp_path).responses
    assert list(responses.rois["roi"]) == ["V1", "V4", "IT"]
    assert list(responses.rois["network"]) == ["y", "z", "x"]
    rois.assign(roi=list("abc")).to_csv(tmp_path / "rois.csv", index=False)
    with pytest.raises(ValueError, match=r"rois\.csv must name the ROIs as the columns .*\['a', 'b', 'c'\]"):
        loaded(tmp_path)


def test_an_rois_name_is_text_whatever_it_looks_like(tmp_path):
    write_images(tmp_path)
    np.save(tmp_path / "responses.npy", betas())
    (tmp_path / "rois.csv").write_text("roi,network,x,y,z\nNA,a,1,2,3\n007,b,,,\nnull,b,4,5,6\n")
    rois = loaded(tmp_path).responses.rois
    assert list(rois["roi"]) == ["NA", "007", "null"]
    assert rois["x"].isna().tolist() == [False, True, False]
    (tmp_path / "rois.csv").write_text('roi\nV1\n""\nV4\n')
    with pytest.raises(ValueError, match=r"rois\.csv.*text in every row, got nothing in row 2"):
        loaded(tmp_path)


def test_a_story_by_its_words(tmp_path):
    words = ["null", "Alice", "was", "beginning", "to", "get", "very", "tired"]
    onset = np.arange(8) * 2.0
    pd.DataFrame({"word": words, "onset": onset, "offset": onset + 0.5}).to_csv(
        tmp_path / "words.csv", index=False
    )
    np.save(tmp_path / "responses.npy", betas(n=20))
    rate = np.arange(20.0)
    pd.DataFrame({"rate": rate}).to_csv(tmp_path / "nuisances.csv", index=False)
    data = loaded(tmp_path, tr=1.5, window=3)
    direct = ArrayDataModule(
        word_stimuli(words, window=3), betas(n=20), events={"onset": onset, "duration": [0.5] * 8}, tr=1.5,
        nuisances=pd.DataFrame({"rate": rate}),
    )  # fmt: skip
    direct.setup()
    features = torch.randn(8, 2)
    torch.testing.assert_close(data.responses.to_volumes(features), direct.responses.to_volumes(features))
    assert data.stimuli[0][1] == direct.stimuli[0][1]  # "null" is a word
    assert data.responses.nuisance_names == ("rate", "event_rate")


def write_wav(path, samples, rate=8000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def test_sounds_in_two_runs(tmp_path):
    (tmp_path / "sounds").mkdir()
    for i in range(6):
        write_wav(tmp_path / "sounds" / f"s{i}.wav", np.sin(np.arange(400) * (0.1 + 0.02 * i)) * 0.5)
    np.save(tmp_path / "responses.npy", np.stack([betas(1, 16), betas(2, 16)]))
    pd.DataFrame({"onset": [0, 4, 8, 0, 4, 8], "run": [0, 0, 0, 1, 1, 1]}).to_csv(
        tmp_path / "events.csv", index=False
    )
    times = np.tile(np.arange(8) * 2.0 + 0.5, 2)
    pd.DataFrame({"run": np.repeat([0, 1], 8), "time": times}).to_csv(tmp_path / "volumes.csv", index=False)
    responses = loaded(tmp_path, tr=2.0, sampling_rate=16_000).responses
    assert responses.modality == "audio"
    assert responses.values.shape == (2, 16, 3)
    assert responses.runs.tolist() == [0] * 8 + [1] * 8
    np.testing.assert_allclose(responses.volume_times.numpy(), times)
    # a sound of the second run reaches no volume of the first
    reach = responses.carry(torch.eye(6))
    assert bool((reach[:8, 3:] == 0).all())
    assert bool((reach[8:, 3:].abs().sum(0) > 0).all())


@pytest.mark.parametrize("suffix", ["flac", "ogg"])
def test_sounds_may_be_compressed(tmp_path, suffix):
    (tmp_path / "sounds").mkdir()
    for i in range(N):
        wave = 0.5 * np.sin(np.arange(4000) * (0.1 + 0.02 * i))
        soundfile.write(tmp_path / "sounds" / f"s{i}.{suffix}", wave, 8000)
    np.save(tmp_path / "responses.npy", betas())
    stimuli, responses = FolderDataModule(str(tmp_path), sampling_rate=8000).load()
    assert responses.stimulus_ids == tuple(f"s{i}" for i in range(N))
    assert all(stimuli[i][1].shape == (4000,) for i in range(N))


def test_texts(tmp_path):
    pd.DataFrame({"text": [f"sentence {i}" for i in range(N)]}).to_csv(tmp_path / "texts.csv", index=False)
    pd.DataFrame(betas(), columns=["A", "B", "C"]).to_csv(tmp_path / "responses.csv", index=False)
    data = loaded(tmp_path)
    assert data.responses.modality == "language"
    assert list(data.responses.rois["roi"]) == ["A", "B", "C"]
    phrased = loaded(tmp_path, carrier="She said {}.").stimuli[3][1]
    assert (phrased.text, phrased.span) == ("She said sentence 3.", (9, 19))


def test_what_is_not_there_or_there_twice_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="root must be a folder"):
        loaded(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"responses once, got none. It holds\n  images/"):
        loaded(tmp_path)
    np.save(tmp_path / "responses.npy", betas())
    with pytest.raises(FileNotFoundError, match="one kind of stimuli, got none"):
        loaded(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"must hold files \.bmp.*it has none"):
        loaded(tmp_path)
    pd.DataFrame({"sentence": ["a"]}).to_csv(tmp_path / "texts.csv", index=False)
    with pytest.raises(ValueError, match=r"one kind of stimuli, got \['images', 'texts.csv'\]"):
        loaded(tmp_path)
    (tmp_path / "images").rmdir()
    with pytest.raises(ValueError, match=r"must have the columns \['text'\]"):
        loaded(tmp_path)
    pd.DataFrame({"text": list("abcdefghijkl")}).to_csv(tmp_path / "texts.csv", index=False)
    np.save(tmp_path / "responses.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"must be an array that numpy\.save wrote"):
        loaded(tmp_path)
    (tmp_path / "responses.npy").unlink()
    (tmp_path / "responses.csv").write_text("V1,V2\n1,a\n")
    with pytest.raises(ValueError, match="column 'V2' must hold finite numbers or nothing, got 'a' in row 1"):
        loaded(tmp_path)
    (tmp_path / "responses.csv").unlink()
    (tmp_path / "responses").mkdir()
    np.save(tmp_path / "responses" / "s1.npy", betas())
    np.save(tmp_path / "responses" / "s2.npy", betas()[:5])
    with pytest.raises(ValueError, match=r"one shape \(N, R\), got .*'s2.npy': \(5, 3\)"):
        loaded(tmp_path)


def write_texts(root, n=N):
    pd.DataFrame({"text": [f"sentence {i}" for i in range(n)]}).to_csv(root / "texts.csv", index=False)


def test_row_numbers_are_no_roi_and_numbers_no_names(tmp_path):
    write_texts(tmp_path)
    path = tmp_path / "responses.csv"
    for labels in (None, [f"text {i}" for i in range(N)]):
        pd.DataFrame(betas(), columns=["V1", "V4", "IT"], index=labels).to_csv(path)
        with pytest.raises(ValueError, match=r"one of the ROIs .*none for column \[1\].*index=False"):
            loaded(tmp_path)
    # columns that pandas had to name once keep that name
    pd.read_csv(path).iloc[:, [0]].assign(V1=1.0).to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"none for column \[1\]"):
        loaded(tmp_path)
    path.write_text("V1,V4\n" + "1,0.1,0.2\n" * N)  # a header without a cell for the row numbers
    with pytest.raises(ValueError, match=r"name above each column, got rows of more cells.*index=False"):
        loaded(tmp_path)
    np.savetxt(path, betas(), delimiter=",")
    with pytest.raises(ValueError, match=r"first row of .*responses\.csv must name the ROIs, got numbers"):
        loaded(tmp_path)
    path.write_text("V1,V1,V2\n" + "1,2,3\n" * N)
    with pytest.raises(ValueError, match=r"each column once, got more than once: \['V1'\]"):
        loaded(tmp_path)
    path.unlink()
    (tmp_path / "responses").mkdir()
    np.savetxt(tmp_path / "responses" / "s1.csv", betas(), delimiter=",")
    with pytest.raises(ValueError, match=r"first row of .*s1\.csv must name the ROIs"):
        loaded(tmp_path)
    pd.DataFrame(betas(), columns=["A", "B", "C"]).to_csv(tmp_path / "responses" / "s1.csv")
    with pytest.raises(ValueError, match=r"s1\.csv .*index=False"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "nuisances.csv",
            "lum,kind\n" + "1,face\n" * N,
            "'kind' must hold finite numbers, got 'face' in row 1 ",
        ),
        ("nuisances.csv", "lum,a\n1,1\n,1\n" + "1,1\n" * (N - 2), "'lum' .*got nothing in row 2 .*Fill"),
        ("nuisances.csv", "lum,a\n1,1\n1,inf\n" + "1,1\n" * (N - 2), "'a' .*got 'inf' in row 2 "),
        ("nuisances.csv", ",lum\n" + "1,1\n" * N, "one of the regressors .*index=False"),
        ("rois.csv", "roi,x,y,z\nA,1,,2\nB,left,1,2\nC,1,1,1\n", "'x' .*or nothing, got 'left' in row 2 "),
        ("events.csv", "onset\n" + "0\n" * (N - 1) + "end\n", f"'onset' .*got 'end' in row {N} .*seconds"),
        ("volumes.csv", "time\n" + "soon\n" * N, rf"'time' .*'soon' in row 1 .*\({N} rows are like that\)"),
        ("rois.csv", "", " must hold data, got an empty file"),
        (
            "events.csv",
            "onset,duration\n" + "0,1\n" * (N - 1) + "0,-2\n",
            rf"got a duration of -2 s in row {N}\.",
        ),
        ("events.csv", "onset;run\n" + "0;1\n" * N, r"must have the columns \['onset'\].* Does ',' stand"),
        ("volumes.csv", "run;time\n" + "0;1\n" * N, r"must have the columns \['time'\].* Does ',' stand"),
        ("rois.csv", "roi;x\nA;1\nB;2\nC;3\n", r"must have the columns \['roi'\].* Does ',' stand"),
        ("rois.csv", "roi\nA\nB\n", rf"one row for each column of responses\.npy, {R}, got 2\."),
        ("nuisances.csv", "a\n1\n", rf"one row for each row of responses\.npy, {N}, got 1\."),
        ("volumes.csv", "run\n1\n", rf"one row for each row of responses\.npy, {N}, got 1\."),
    ],
)
def test_a_wrong_cell_is_named(tmp_path, name, text, message):
    write_texts(tmp_path)
    np.save(tmp_path / "responses.npy", betas())
    loaded(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name}.*{message}"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word,onset\nso,0\nshe,\n", "'onset' must hold finite numbers, got nothing in row 2 .*seconds"),
        ("word,onset,offset\nso,0,1\nshe,2,late\n", "'offset' .*got 'late' in row 2 "),
        ("word,onset\nso,0\n,2\n", "'word' must hold text in every row, got nothing in row 2 "),
        ("", "must hold data, got an empty file"),
        (
            "word,onset,offset\nso,0,1\nshe,2,1.5\n",
            r"not come before onset, got a duration of -0.5 s in row 2\.",
        ),
        ("word;onset\nso;0\nshe;2\n", r"must have the columns \['word'\], .*got \['word;onset'\]\. Does"),
        ("word,onset\nÆlice,0\nshe,2\n", "must be text in UTF-8, got bytes of another encoding"),
    ],
)
def test_wrong_words_are_named(tmp_path, text, message):
    np.save(tmp_path / "responses.npy", betas())
    (tmp_path / "words.csv").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=rf"words\.csv.*{message}"):
        loaded(tmp_path, tr=1.0)


def test_unknown_places_and_responses_may_be_empty(tmp_path):
    write_texts(tmp_path)
    (tmp_path / "responses.csv").write_text("A,B\n1,\n" + "0.5,2\n" * (N - 1))
    (tmp_path / "rois.csv").write_text("roi,x,y,z\nA,,,\nB,1,2,3\n")
    with pytest.warns(UserWarning, match="1 NaN"):
        responses = loaded(tmp_path).responses
    assert responses.values.isnan().nonzero().tolist() == [[0, 0, 1]]
    np.testing.assert_array_equal(responses.rois[["x", "y", "z"]], [[np.nan] * 3, [1, 2, 3]])


def test_a_response_without_its_image_is_counted(tmp_path):
    paths = write_images(tmp_path)
    np.save(tmp_path / "responses.npy", betas())
    paths[3].rename(paths[3].with_suffix(".gif"))
    counts = r"11 images in .*images and 12 rows in {}\. Not read, .*\['img4\.gif'\]"
    with pytest.raises(ValueError, match=counts.format(r"responses\.npy")):
        loaded(tmp_path)
    pd.DataFrame({"onset": np.arange(12.0)}).to_csv(tmp_path / "events.csv", index=False)
    with pytest.raises(ValueError, match=counts.format(r"events\.csv")):
        loaded(tmp_path, tr=1.0)
    for path in paths[:3] + paths[4:]:
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"it has none\. Not read, .*img4\.gif"):
        loaded(tmp_path)


def test_an_archive_is_no_array(tmp_path):
    write_texts(tmp_path)
    with (tmp_path / "responses.npy").open("wb") as file:
        np.savez(file, betas())
    with pytest.raises(ValueError, match=r"responses\.npy must be an array that numpy\.save wrote"):
        loaded(tmp_path)


def test_responses_of_text_are_refused(tmp_path):
    write_texts(tmp_path)
    np.save(tmp_path / "responses.npy", betas().astype(str))
    with pytest.raises(ValueError, match=r"responses\.npy must hold numbers, got an array of <U"):
        loaded(tmp_path)


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_events_in_the_order_of_presentation_find_their_images(tmp_path, suffix):
    write_images(tmp_path)
    np.save(tmp_path / "responses.npy", betas(n=40))
    order = np.random.default_rng(1).permutation(N)
    files = [f"images/img{i + 1}.png" for i in order]
    path = tmp_path / f"events.{suffix}"
    separator = "\t" if suffix == "tsv" else ","
    events = pd.DataFrame({"onset": np.arange(N) * 3.0, "duration": 1.0, "stim_file": files})
    events.to_csv(path, index=False, sep=separator)
    shown = loaded(tmp_path, size=16, tr=2.0).responses
    inverse = np.argsort(order)
    events.iloc[inverse].drop(columns="stim_file").to_csv(path, index=False, sep=separator)
    assert shown.fingerprint() == loaded(tmp_path, size=16, tr=2.0).responses.fingerprint()
    pd.concat([events, events.tail(2).assign(onset=[70.0, 75.0])]).to_csv(path, index=False, sep=separator)
    with pytest.warns(UserWarning, match="2 of 12 stimuli are shown more than once"):
        again = loaded(tmp_path, size=16, tr=2.0).responses
    assert (again.design[0].to_dense() != shown.design[0].to_dense()).any(0).nonzero()[
        :, 0
    ].tolist() == sorted(order[-2:])
    events.replace("images/img4.png", "img99.png").to_csv(path, index=False, sep=separator)
    with pytest.raises(ValueError, match=r"'stim_file' must name stimuli, got 1 names .*\['img99\.png'\]"):
        loaded(tmp_path, size=16, tr=2.0)


def test_every_table_may_be_tab_separated(tmp_path):
    n = 20
    tables = {
        "words": pd.DataFrame({"word": ["null", "a, b", *"cdefghij"], "onset": np.arange(10) * 2.0}),
        "responses": pd.DataFrame(betas(n=n), columns=["V1", "V4", "IT"]),
        "events": pd.DataFrame({"onset": np.tile(np.arange(5) * 3.0, 2), "run": [0] * 5 + [1] * 5}),
        "volumes": pd.DataFrame({"run": [0] * 10 + [1] * 10}),
        "rois": pd.DataFrame({"roi": ["IT", "V1", "V4"], "x": [1.0, 2, 3]}),
        "nuisances": pd.DataFrame({"rate": np.arange(n) * 1.0}),
    }
    for name, separator in (("csv", ","), ("tsv", "\t")):
        (tmp_path / name).mkdir()
        for table, content in tables.items():
            content.to_csv(tmp_path / name / f"{table}.{name}", sep=separator, index=False)
    one, two = (loaded(tmp_path / name, tr=2.0, dataset="same") for name in ("csv", "tsv"))
    assert one.responses.fingerprint() == two.responses.fingerprint()
    tables["rois"].to_csv(tmp_path / "tsv" / "rois.csv", index=False)
    with pytest.raises(ValueError, match=r"must hold rois once, got \['rois\.csv', 'rois\.tsv'\]"):
        loaded(tmp_path / "tsv", tr=2.0)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("roi.csv", "rois"), ("Nuisance.csv", "nuisances"), ("event.tsv", "events"), ("Events.csv", "events"),
     ("sub-01_task-view_events.tsv", "events"), ("my_rois.xlsx", "rois"), ("volume.txt", "volumes")],
)  # fmt: skip
def test_a_misspelled_table_is_named(tmp_path, name, meant):
    write_texts(tmp_path)
    np.save(tmp_path / "responses.npy", betas())
    (tmp_path / name).write_text("a\n1\n")
    with pytest.raises(ValueError, match=rf"{name} is not read: did you mean {meant}\.csv \(or \.tsv\)"):
        loaded(tmp_path)


def test_what_nothing_reads_is_said(tmp_path):
    write_texts(tmp_path)
    np.save(tmp_path / "responses.npy", betas())
    for name in ("README.md", "notes.txt", "analysis.py", ".hidden.csv", "dataset_description.json"):
        (tmp_path / name).write_text("x")
    (tmp_path / "events").mkdir()
    loaded(tmp_path)
    (tmp_path / "rois.csv").write_text("roi\nA\nB\nC\n")
    for name in ("rois_old.csv", "participants.tsv", "responses_old.npy"):
        (tmp_path / name).write_text("x")
    unread = r"not read, .*\['participants\.tsv', 'responses_old\.npy', 'rois_old\.csv'\]"
    with pytest.warns(UserWarning, match=unread):
        loaded(tmp_path)
    (tmp_path / "responses.npy").rename(tmp_path / "response.npy")
    with pytest.raises(FileNotFoundError, match=r"responses once, got none among .*'response\.npy'"):
        loaded(tmp_path)


def test_runs_of_a_table_may_have_labels(tmp_path):
    write_images(tmp_path)
    np.save(tmp_path / "responses.npy", betas())
    pd.DataFrame({"run": ["second"] * 5 + ["first"] * 7}).to_csv(tmp_path / "volumes.csv", index=False)
    assert loaded(tmp_path, size=16).responses.runs.tolist() == [0] * 5 + [1] * 7


def test_own_arguments_and_given_options_are_hyperparameters():
    given = {"tr": 1.5, "temporal": "fir", "delays": [1, 2], "size": None, "subjects": ["s1"]}
    one, other = FolderDataModule("one", **given), FolderDataModule("other", **given)
    assert dict(one.hparams) == {
        "root": "one", "sampling_rate": 16_000, "frames_per_second": 4.0, "window": 20,
        "hrf": "spm", "dataset": None, "groups": None,
        "carrier": None, **given,
    }  # fmt: skip
    assert dict(one.hparams) != dict(other.hparams)  # by which a sweep tells their estimates apart


@pytest.mark.slow
def test_a_command_line_is_enough(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "mine")
    np.save(tmp_path / "mine" / "responses.npy", betas())
    main(
        ["test", "--model=FrozenModel", "--model.model=xfeat", "--model.weights=random",
         "--data=FolderDataModule", "--data.root=mine", "--data.size=64",
         "--trainer.callbacks+=DepthTrajectory", "--trainer.callbacks+=ScoreWriter",
         "--trainer.callbacks.run_dir=out", "--trainer.logger=false"]
    )  # fmt: skip
    run = RunResults.load(tmp_path / "out")
    assert set(run.scores["dataset"]) == {"mine"}
    assert run.models["n_stimuli"].tolist() == [N]
