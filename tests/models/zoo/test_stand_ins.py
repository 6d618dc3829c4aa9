"""Stimuli and a tokenizer that need neither data nor a hub."""

import pytest
import torch

from nfas_lightning.models.zoo.stand_ins import stand_in_batch, stand_in_tokenizer


@pytest.mark.parametrize(
    ("modality", "field"), [("vision", "image"), ("audio", "audio"), ("language", "text")]
)
def test_every_stimulus_differs_and_a_seed_gives_the_same(modality, field):
    batch, again, other = (stand_in_batch(modality, 5, seed=seed) for seed in (0, 0, 1))

    def shown(one):
        return [str(getattr(stimulus, "text", stimulus)) for stimulus in one[field]]

    assert batch["stimulus_id"].tolist() == list(range(5))
    assert len(set(shown(batch))) == 5
    assert shown(batch) == shown(again) != shown(other)


def test_lengths_differ_unless_one_length_is_asked_for():
    for modality in ("audio", "language"):
        for equal in (False, True):
            batch = stand_in_batch(modality, 5, equal_lengths=equal)
            lengths = (
                batch["n_samples"].tolist()
                if modality == "audio"
                else [len(stimulus.text.split()) for stimulus in batch["text"]]
            )
            assert (len(set(lengths)) == 1) is equal
    batch = stand_in_batch("audio", 3)
    for sound, n in zip(batch["audio"], batch["n_samples"].tolist(), strict=True):
        assert not sound[n:].any()
        assert sound[n - 1] != 0


def test_a_tokenizer_knows_the_words_and_stays_below_the_vocabulary():
    pytest.importorskip("transformers")
    tokenizer = stand_in_tokenizer(50)
    texts = [stimulus.text for stimulus in stand_in_batch("language", 20)["text"]]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    assert [len(row) for row in ids] == [len(text.split()) for text in texts]
    flat = torch.tensor([number for row in ids for number in row])
    assert int(flat.min()) >= 10
    assert int(flat.max()) < 50
    with pytest.raises(ValueError, match="needs 50 tokens, the network has 49"):
        stand_in_tokenizer(49)
