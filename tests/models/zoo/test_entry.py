"""An entry of the zoo checks itself."""

from dataclasses import replace

import pytest

from nfas_lightning.models import ZooEntry
from nfas_lightning.models.zoo import zoo_entry


def test_an_entry_checks_its_own_keys():
    entry = zoo_entry("gpt2")
    with pytest.raises(ValueError, match=r"architecture of a transformers model takes .* got .'model'"):
        replace(entry, architecture={"class": "GPT2Model", "model": "gpt2"})
    with pytest.raises(ValueError, match="must name its 'class'"):
        replace(entry, architecture={})
    assert isinstance(entry, ZooEntry)
    assert entry.address == "openai-community/gpt2@607a30d783dfa663caf39e06633721c8d4cfcd7e"
