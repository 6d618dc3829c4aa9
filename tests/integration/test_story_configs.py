"""The configs of the story benchmarks, end to end: small trees, tiny models, the command line."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from nfas_lightning.cli import main
from nfas_lightning.results import RunResults
from tests.helpers import little_prince_tree, narratives_tree

transformers = pytest.importorskip("transformers")

CONFIGS = Path(__file__).parents[2] / "configs"
WIDTH = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
WHISPER = {
    "d_model": 16, "encoder_layers": 3, "decoder_layers": 1, "encoder_attention_heads": 2, "vocab_size": 9,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_source_positions": 50,
    "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    """A folder with a BERT of four layers that knows single letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("bert")
    letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz'0123456789"]
    raw = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    raw.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(**WIDTH, vocab_size=len(letters), max_position_embeddings=256)
    transformers.BertModel(config).save_pretrained(folder)
    return f"hf:{folder}"


@pytest.fixture(scope="module")
def sound_model(tmp_path_factory):
    """A folder with a Whisper of three encoder layers that hears one second."""
    folder = tmp_path_factory.mktemp("whisper")
    transformers.WhisperFeatureExtractor(chunk_length=1).save_pretrained(folder)
    torch.manual_seed(0)
    transformers.WhisperModel(transformers.WhisperConfig(**WHISPER)).save_pretrained(folder)
    return f"hf:{folder}"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stories")
    little_prince_tree.write_little_prince(folder)
    narratives_tree.write_narratives(folder)
    return folder


def slabs(folder: Path) -> Path:
    """An atlas of six slabs in MNI space."""
    labels = np.zeros((18, 20, 12), dtype=np.int16)
    for i in range(6):
        labels[3 * i : 3 * i + 3] = i + 1
    affine = np.diag([8.0, 8, 8, 1])
    affine[:3, 3] = -68, -90, -40
    nib.Nifti1Image(labels, affine).to_filename(folder / "slabs.nii.gz")
    return folder / "slabs.nii.gz"


def run(
    folder: Path, experiment: str, model: str | list[str], root: Path, over: str | None = None, **changes
) -> RunResults:
    """Run a config with a tiny model on a small tree; everything else stays as it stands there."""
    config = yaml.safe_load((CONFIGS / experiment).read_text())
    writer = config["trainer"]["callbacks"][1]["init_args"]
    writer["run_dir"] = str(folder / "run")
    writer["settings"]["init_args"]["n_permutations"] = 19
    config["model"]["init_args"]["models"] = [model] if isinstance(model, str) else model
    paths = [folder / "experiment.yaml", *([folder / "data.yaml"] if over else [])]
    data = yaml.safe_load((CONFIGS / over).read_text()) if over else config
    small = {"root": str(root), "strict": False, "workers": 0, "progress": False}
    small["atlas"] = str(slabs(folder))
    given = data["data"]["init_args"]
    for options in [stream["init_args"] for stream in given.get("streams", {}).values()] or [given]:
        options |= {**small, "cache": str(folder / "cache"), **changes}
        for name in {"seconds", "hop"} & set(changes) if options["modality"] == "language" else ():
            del options[name]
    paths[0].write_text(yaml.safe_dump(config))
    if over:
        paths[1].write_text(yaml.safe_dump(data))
    main(["test", *(word for path in paths for word in ("--config", str(path)))])
    return RunResults.load(folder / "run")


def check(results: RunResults, dataset: str, modality: str) -> None:
    scores = results.scores
    assert set(scores["feature"]) == {
        "stable_mode", "last_block", "best_block", "mean_depth", "all_blocks", "random_weights", "nuisance",
    }  # fmt: skip
    assert set(scores["dataset"]) == {dataset}
    assert len(set(scores["roi"])) == 6
    assert set(scores["subject"]) == {"group"}
    assert results.meta["modality"] == modality
    stable = scores.query("feature == 'stable_mode'")
    assert stable[["r", "p"]].notna().all(axis=None)
    assert any(name.endswith(".nii.gz") for name in results.meta["hashes"])


@pytest.mark.usefixtures("unreported")
def test_little_prince(tmp_path, root, text_model):
    results = run(tmp_path, "experiments/little_prince.yaml", text_model, root)
    check(results, "little_prince_en", "language")
    # every section has the same ten words, and all parcels answer one of them: any features of words find it,
    # the words' times alone do not
    r = results.scores.groupby("feature")["r"].mean()
    assert r["all_blocks"] > 0.9
    assert r["nuisance"] < 0.6
    assert any((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.usefixtures("unreported")
def test_voxels_of_the_little_prince(tmp_path, root, text_model):
    mask = np.zeros((18, 23, 19), np.uint8)
    mask[6:12, 8:14, 6:12] = 1
    affine = np.diag([8.0, 8, 8, 1])
    affine[:3, 3] = -72, -106, -64
    nib.Nifti1Image(mask, affine).to_filename(tmp_path / "mask.nii.gz")
    experiment = "experiments/little_prince_voxels.yaml"
    results = run(tmp_path, experiment, text_model, root, mask=str(tmp_path / "mask.nii.gz"))
    assert set(results.scores["dataset"]) == {"little_prince_en_voxels"}
    assert len(results.rois) == mask.sum() == 216
    assert set(results.rois["parcel"]) == {f"parcel_{i:03d}_{s}" for i, s in ((3, "L"), (4, "R"))}
    # every voxel answers the same word, which any features of words find
    assert results.scores.query("feature == 'all_blocks'")["r"].min() > 0.9
    assert results.scores.query("feature == 'stable_mode'")[["r", "p", "q"]].notna().all(axis=None)


@pytest.mark.usefixtures("unreported")
def test_narratives(tmp_path, root, sound_model):
    stories = ["pieman", "tunnel", "prettymouth", "slumlordreach"]
    results = run(
        tmp_path, "experiments/narratives.yaml", sound_model, root, stories=stories, seconds=1.0, hop=2.0
    )
    check(results, "narratives", "audio")


@pytest.mark.usefixtures("unreported")
def test_the_same_stories_as_text_by_laying_a_data_config_over(tmp_path, root, text_model):
    stories = ["pieman", "tunnel", "prettymouth", "slumlordreach"]
    results = run(
        tmp_path, "experiments/little_prince.yaml", text_model, root, "data/narratives.yaml", stories=stories
    )
    check(results, "narratives", "language")
    # the same features of two words per story, learned from the other stories
    assert results.scores.query("feature == 'stable_mode'")["r"].mean() > 0.5


@pytest.mark.usefixtures("unreported")
def test_the_little_prince_as_sound(tmp_path, root, sound_model):
    results = run(
        tmp_path,
        "experiments/narratives.yaml",
        sound_model,
        root,
        "data/little_prince.yaml",
        seconds=1.0,
        hop=2.0,
        sections=[1, 2, 3],
    )
    check(results, "little_prince_en", "audio")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("benchmark", "dataset", "changes"),
    [
        ("narratives", "narratives", {"stories": ["pieman", "tunnel", "prettymouth", "slumlordreach"]}),
        ("little_prince", "little_prince_en", {"sections": [1, 2, 3]}),
    ],
)
def test_sound_and_words_of_the_same_listeners(
    request, tmp_path, root, sound_model, text_model, benchmark, dataset, changes
):
    if benchmark == "little_prince":  # the other's report is drawn
        request.getfixturevalue("unreported")
    config = f"experiments/{benchmark}_streams.yaml"
    results = run(tmp_path, config, [sound_model, text_model], root, seconds=1.0, hop=2.0, **changes)
    check(results, dataset, "audio, language")
    assert set(results.scores["modality"]) == {"audio", "language"}
    nuisance = results.scores.query("feature == 'nuisance'").pivot_table(
        index="roi", columns="model", values="r"
    )
    # one set of nuisances, responses and folds: alone they predict the same beside both
    assert nuisance.shape == (6, 2)
    assert nuisance.iloc[:, 0].tolist() == pytest.approx(nuisance.iloc[:, 1].tolist())
