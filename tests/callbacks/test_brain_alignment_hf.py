"""`transformers.Trainer`: the same evaluations, and the same training with and without them."""

import inspect

import pandas as pd
import pytest
import torch
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

from nfas_lightning import align
from nfas_lightning.callbacks import BrainAlignment, BrainAlignmentHF
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import RawStimuli
from nfas_lightning.scoring import ScoringSettings

RAW = RawStimuli()
QUICK = ScoringSettings(n_permutations=0, baselines=False)


def images(n=48, seed=0):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def brain(n=60):
    x = images(n, seed=1)
    noise = torch.randn(n, 3, generator=torch.Generator().manual_seed(2))
    return ArrayDataModule(x, x.mean((2, 3)) + 0.02 * noise, rois=["V1", "V4", "LOC"], batch_size=7)


class Pictures(torch.utils.data.Dataset):
    def __init__(self):
        self.pixels = images()
        self.labels = torch.randint(0, 4, (48,), generator=torch.Generator().manual_seed(3))

    def __len__(self):
        return 48

    def __getitem__(self, i):
        # noise from the worker's generator, which the Trainer seeds from the main process
        return {
            "pixel_values": self.pixels[i] + 0.1 * torch.randn(3, 16, 16),
            "labels": self.labels[i],
        }


def vit():
    return ViTForImageClassification(
        ViTConfig(
            image_size=16,
            patch_size=4,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            hidden_dropout_prob=0.2,
            attention_probs_dropout_prob=0.2,
            num_labels=4,
        )
    )


def train(folder, *callbacks, model=vit, **options):
    set_seed(0)
    defaults = {
        "output_dir": str(folder),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    trainer = Trainer(model(), TrainingArguments(**(defaults | options)), train_dataset=Pictures())
    for callback in callbacks:
        callback.attach(trainer)
    trainer.train()
    return trainer


def own_logs(trainer):
    """What the Trainer itself logged, without clocks."""
    clocks = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
    rows = [{k: v for k, v in row.items() if k not in clocks} for row in trainer.state.log_history]
    return [row for row in rows if not any(key.startswith("brain/") for key in row)]


def assert_same_training(a, b):
    assert own_logs(a) == own_logs(b)
    assert len(own_logs(a)) > 1
    for (name, p), q in zip(a.model.state_dict().items(), b.model.state_dict().values(), strict=True):
        assert torch.equal(p, q), name
    states = (t.optimizer.state_dict()["state"] for t in (a, b))
    for first, second in zip(*(state.values() for state in states), strict=True):
        for name, value in first.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(second[name])), name


@pytest.mark.parametrize(
    "options",
    [{}, {"gradient_accumulation_steps": 2}, {"bf16": True}, {"dataloader_num_workers": 1}],
    ids=["plain", "accumulation", "mixed", "workers"],
)
def test_the_training_is_bit_identical(tmp_path, options):
    callback = BrainAlignmentHF(
        brain(), every_n_train_steps=1, at_start=True, settings=QUICK, on_error="raise", preprocess=RAW
    )
    assert_same_training(train(tmp_path, **options), train(tmp_path, callback, **options))
    assert len(callback.curves["step"].unique()) >= 6


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("options", [{}, {"bf16": True}, {"fp16": True}], ids=["plain", "bf16", "fp16"])
def test_the_training_is_bit_identical_on_a_cuda_device(tmp_path, monkeypatch, options):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    callback = BrainAlignmentHF(
        brain(), every_n_train_steps=2, at_start=True, settings=QUICK, on_error="raise", preprocess=RAW
    )
    options = {"use_cpu": False, **options}
    assert_same_training(train(tmp_path, **options), train(tmp_path, callback, **options))
    assert len(callback.curves["step"].unique()) >= 4


def test_an_evaluation_finds_what_align_finds_and_the_trainer_logs_it(tmp_path):
    callback = BrainAlignmentHF(
        brain(), settings=ScoringSettings(n_permutations=0), name="vit", preprocess=RAW
    )
    trainer = train(tmp_path, callback)
    again = align(trainer.model, brain(), name="vit", progress=False, preprocess=RAW)
    pd.testing.assert_frame_equal(callback.result.scores, again.scores)
    logged = [row for row in trainer.state.log_history if "brain/mean_r" in row]
    assert [row["step"] for row in logged] == [6, 12]
    mean = again.scores.query("feature == 'stable_mode'")["r"].mean()
    assert logged[-1]["brain/mean_r"] == pytest.approx(mean)
    assert list(callback.curves.drop_duplicates("step")["epoch"]) == [0, 1]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in trainer.model.modules())


def test_steps_checkpoints_and_a_resumed_training(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 6}
    callback = BrainAlignmentHF(
        brain(),
        every_n_epochs=0,
        every_n_train_steps=4,
        on_checkpoint=True,
        settings=QUICK,
        run_dir=tmp_path / "run",
        on_error="raise",
        preprocess=RAW,
    )
    train(tmp_path, callback, **options)
    table = callback.curves.drop_duplicates("step")
    moments = {4: "step", 6: "checkpoint", 8: "step", 12: "step"}
    assert dict(zip(table["step"], table["moment"], strict=True)) == moments
    resumed = BrainAlignmentHF(brain(), settings=QUICK, run_dir=tmp_path / "run", preprocess=RAW)
    set_seed(0)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=2, report_to=[], use_cpu=True, disable_tqdm=True
    )
    trainer = Trainer(vit(), arguments, train_dataset=Pictures())
    resumed.attach(trainer)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert list(resumed.curves["step"].unique()) == [4, 6, 12]


def broken():
    """A network that fails in evaluation, once it has trained."""
    model = vit()
    first = model.vit.layernorm.weight.detach().clone()

    def fail(module, _):
        if not module.training and not torch.equal(module.layernorm.weight, first):
            raise RuntimeError("the sensor is unplugged")

    model.vit.register_forward_pre_hook(fail)
    return model


def test_failures(tmp_path):
    callback = BrainAlignmentHF(brain(), settings=QUICK, preprocess=RAW)
    with pytest.warns(UserWarning, match="the sensor is unplugged") as caught:
        trainer = train(tmp_path, callback, model=broken)
    assert sum("sensor" in str(w.message) for w in caught) == 1
    assert [row["brain/failures"] for row in trainer.state.log_history if "brain/failures" in row] == [1, 2]
    assert trainer.state.global_step == 12
    with pytest.raises(RuntimeError, match="step 6 failed: RuntimeError: the sensor is unplugged"):
        train(
            tmp_path,
            BrainAlignmentHF(brain(), settings=QUICK, on_error="raise", preprocess=RAW),
            model=broken,
        )


def test_mistakes_show_before_the_first_step(tmp_path):
    zero_3 = vit()
    zero_3.classifier.weight.ds_id = 0
    with pytest.raises(ValueError, match="got DeepSpeed ZeRO-3"):
        train(tmp_path, BrainAlignmentHF(brain(), preprocess=RAW), model=lambda: zero_3)
    with pytest.raises(ValueError, match=r"vit\.encodr"):
        train(tmp_path, BrainAlignmentHF(brain(), layers="vit.encodr.*", preprocess=RAW))
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    lost = Trainer(
        vit(), arguments, train_dataset=Pictures(), callbacks=[BrainAlignmentHF(brain(), preprocess=RAW)]
    )
    with pytest.raises(RuntimeError, match=r"write callback\.attach\(trainer\)"):
        lost.train()


def test_arguments_are_those_of_brain_alignment(tmp_path):
    parameters = inspect.signature(BrainAlignment).parameters
    assert inspect.signature(BrainAlignmentHF).parameters == parameters
    text = inspect.getdoc(BrainAlignment.__init__)
    assert all(f"\n    {name}: " in text for name in parameters)
    with pytest.raises(ValueError, match="average=True needs a Lightning Trainer"):
        train(tmp_path, BrainAlignmentHF(brain(), average=True, preprocess=RAW))
