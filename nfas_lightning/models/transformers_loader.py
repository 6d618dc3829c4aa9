"""Networks of transformers: from a folder or a pinned revision of the hub, never with remote code."""

from __future__ import annotations

import inspect
import re
import warnings
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from nfas_lightning.errors import InputError, MissingFileError, MissingPackageError, UnreadableError, nearest
from nfas_lightning.functional.checks import check_option
from nfas_lightning.hooks.selection import Layers
from nfas_lightning.models.adapters import adapt
from nfas_lightning.models.audio import AudioPreprocess, RepeatedAudioPreprocess
from nfas_lightning.models.captions import CaptionPreprocess
from nfas_lightning.models.loaded import LoadedModel, Preprocess, model_info
from nfas_lightning.models.optional import require
from nfas_lightning.models.placement import (
    LOADING,
    cached_file,
    part_of,
    pretrained,
    stored_dtypes,
    stored_note,
    untrained,
)
from nfas_lightning.models.preprocess import ClipPreprocess, ImagePreprocess
from nfas_lightning.models.random_twin import seeded
from nfas_lightning.models.reach import hub_or_cache
from nfas_lightning.models.sources import ModelSource, sources
from nfas_lightning.models.text import TextPreprocess, has_vocabulary

__all__ = ["SOURCE", "load_transformers", "own_preprocess", "processor_preprocess"]

_PARTS = ("vision", "text", "audio")
_NO_LIMIT = 100_000  # tokenizers without a window of their own report an astronomical one
_DEFAULT_WINDOW = 512
_REACH_INTO_PADDING = ("data2vec-audio", "wav2vec2-conformer")  # convolutions after the mask was applied
_RESAMPLE = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers
# a processor rounds to bytes after resizing; what is more than a few of their steps is another transform
_BYTES = 4.0
_OWN = "Load the network yourself and give FrozenModel the module and a preprocess."


def load_transformers(
    name: str, *, weights: str = "pretrained", seed: int = 0, revision: str | None = None, **loading: Any
) -> LoadedModel:
    """Load a transformers network with its preprocessing; of an encoder and a decoder, the encoder.

    Code from the hub is never run, and pickled weights are read with ``weights_only``.

    Args:
        name: a folder (``"./minilm"``), or a hub entry, best pinned: ``"org/name@commit"``. Of two networks,
            as CLIP, SigLIP and CLAP are, one is named at the end: ``"org/clip@commit#vision"``, or ``#text``
            or ``#audio``.
        weights: ``"pretrained"``, or ``"random"``: only configuration and tokenizer are read.
        seed: of the random weights.
        revision: commit or tag; the same as ``@revision``.
        **loading: `dtype`, `device_map`, `quantization_config`, `attn_implementation`, see `FrozenModel`.

    Returns:
        The module, its preprocessing by what it reads (tokens, waveforms, mel features, pixels of an image or
        of a clip's frames, as VideoMAE, TimeSformer and V-JEPA 2 do, pictures with captions), its card. Of a
        vision-language network the blocks of its language model, in which picture and caption meet.

    Raises:
        ImportError: transformers is missing, or a package that its processor needs, as num2words of SmolVLM.
        OSError: the folder or the hub entry can't be read.
        ValueError: a revision is given twice, or the network reads something else, or in a way of its own, or
            is two networks, as CLIP is, of which none was named.

    Warns:
        UserWarning: a hub entry without a revision, which may change under the same name.
    """
    check_option("weights", weights, ("pretrained", "random"))
    is_trained = weights == "pretrained"
    transformers = require("transformers", "language")
    name, part = _part(name)
    path, revision = _split(name, revision)
    options = {"revision": revision} if revision else {}
    reached = nullcontext if Path(path).is_dir() else hub_or_cache
    try:
        with reached():
            config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False, **options)
            if is_trained:
                whole = pretrained(transformers.AutoModel, path, **loading, **options)
        if not is_trained:
            whole = seeded(seed, lambda: untrained(transformers.AutoModel, config, **loading))
    except (OSError, SafetensorError) as error:  # the latter: a weights file that was cut short
        raise UnreadableError(_unreachable(path, revision, error)) from error
    found = [name for name in _PARTS if isinstance(getattr(whole, f"{name}_model", None), nn.Module)]
    if part and part not in found:
        raise InputError(
            f"'hf:{path}' ({config.model_type}) has no part {part!r}; it has "
            f"{', '.join(map(repr, found)) or 'none'}."
        )
    if hasattr(whole, "get_text_features") and not part:
        raise InputError(
            f"'hf:{path}' holds two networks ({config.model_type}), of which one reads texts and the other "
            "something else, and a depth trajectory is of one. Choose one by what it reads: "
            f"{', '.join(f'hf:{name}#{one}' for one in found) or 'load its part and give FrozenModel that'}."
        )
    layers: Layers = adapt(whole)[1]  # in place
    module = whole
    if part:
        module = part_of(whole, getattr(whole, f"{part}_model"))
        config = getattr(config, f"{part}_config", config)
    elif config.is_encoder_decoder:
        module = part_of(whole, whole.get_encoder())
    elif config.model_type == "vjepa2":  # its predictor completes what was hidden of a clip
        module = part_of(whole, whole.encoder)
    elif language := _meets_pictures(config, whole):
        layers = f"{language}.layers.*"
    reads = getattr(module, "main_input_name", whole.main_input_name)
    with reached():
        preprocess, modality = _preprocess(
            transformers, path, {"trust_remote_code": False, **options}, reads, config
        )
    commit = getattr(config, "_commit_hash", None) or revision
    stored = stored_dtypes(lambda file: cached_file(path, file, commit)) if is_trained else ()
    info = model_info(
        module,
        name="_".join(filter(None, (Path(path).name.lower(), part))),
        modality=modality,
        family=config.model_type,
        source=f"hf:{path}{f'@{commit}' if commit else ''}{f'#{part}' if part else ''}",
        seed=None if is_trained else seed,
        note=stored_note(stored, module),
    )
    return LoadedModel(module.eval(), preprocess, info, layers)


def _part(name: str) -> tuple[str, str]:
    """Part a name from the part of a network that it ends with."""
    path, _, part = (name, "", "") if Path(name).is_dir() else name.partition("#")
    return path, part


def _meets_pictures(config: Any, network: Any) -> str:
    """Return the name of the language model that reads pictures and text in one sequence, empty for none."""
    has_both = all(getattr(config, f"{name}_config", None) is not None for name in ("vision", "text"))
    names = ("language_model", "text_model")  # the latter of Idefics and SmolVLM
    found = [name for name in names if isinstance(getattr(network, name, None), nn.Module)]
    return found[0] if has_both and found else ""


def _n_parameters(name: str) -> int:
    auto = require("transformers", "language")
    name, part = _part(name)
    path, _, revision = (name, "", "") if Path(name).is_dir() else name.partition("@")
    try:
        config = auto.AutoConfig.from_pretrained(
            path, revision=revision or None, local_files_only=True, trust_remote_code=False
        )
    except OSError:  # loading it says what is missing
        return 0
    with torch.device("meta"):
        whole = auto.AutoModel.from_config(config)
        network = getattr(whole, f"{part}_model", whole)
        return sum(parameter.numel() for parameter in network.parameters())


def _names() -> list[str]:
    """Hub entries of the zoo, and those that lie in the hub's cache: no network is asked."""
    listed = {entry.hub for entry in sources()["zoo"].entries().values()}
    if find_spec("huggingface_hub") is not None:
        cache = Path(require("huggingface_hub", "language").constants.HF_HUB_CACHE)
        listed |= {"/".join(folder.name.split("--")[1:]) for folder in cache.glob("models--*")}
    return sorted(listed)


def _check(name: str) -> None:
    name, part = _part(name)
    if part:
        check_option("part", part, _PARTS)
    if not Path(name).is_dir() and re.search(r"\s|^$", name):
        raise InputError(f"'hf:' takes a folder or org/name@revision, got {name!r}.{nearest(name, _names())}")
    if "@" not in name:
        _split(name, None if Path(name).is_dir() else "main")  # of a folder that is missing, says so


SOURCE = ModelSource(
    load_transformers,
    takes=("revision", *LOADING),
    n_parameters=_n_parameters,
    names=_names,
    check=_check,
    about=lambda name: {"parameters": _n_parameters(name) or "not known without the hub"},
)


def own_preprocess(network: nn.Module) -> Preprocess | None:
    """Return the preprocessing that lies where a network of transformers came from, if it is at hand.

    That is a folder, or the hub's cache: nothing is fetched, and no code of the hub's is run.
    """
    path = getattr(getattr(network, "config", None), "name_or_path", None)
    reads = getattr(network, "main_input_name", None)
    if not isinstance(path, str) or not path or not isinstance(reads, str):
        return None
    transformers, config = require("transformers", "language"), network.config
    options = {"local_files_only": True, "trust_remote_code": False}
    if commit := getattr(config, "_commit_hash", None):
        options["revision"] = commit
    try:
        return _preprocess(transformers, path, options, reads, config)[0]
    except (OSError, ValueError, ImportError):  # there is none, or one of a kind that is not known here
        return None


def _split(name: str, revision: str | None) -> tuple[str, str | None]:
    path, _, pinned = name.partition("@")
    if Path(name).is_dir():
        if revision is not None:
            raise InputError(f"A folder has no revision, got {revision!r} for {name!r}.")
        return name, None
    if pinned and revision and pinned != revision:
        raise InputError(f"Two revisions for 'hf:{path}': {pinned!r} in the name and {revision!r} beside it.")
    if path.startswith((".", "/", "~")):
        raise MissingFileError(
            f"No folder {path!r} (in {Path.cwd()}). Expected one written by save_pretrained: config.json, "
            f"model.safetensors and the tokenizer's or feature extractor's files."
        )
    revision = pinned or revision
    if revision is None:
        warnings.warn(
            f"'hf:{path}' names no revision, and the hub may serve other weights tomorrow: pin it, "
            f"'hf:{path}@<commit>'.",
            UserWarning,
            stacklevel=3,
        )
    return path, revision


def _unreachable(path: str, revision: str | None, error: Exception) -> str:
    where = (
        f"folder {path!r}" if Path(path).is_dir() else f"hub entry {path!r} at revision {revision or 'main'}"
    )
    known = _names()
    hint = "" if Path(path).is_dir() or path in known else nearest(path, known)
    return (
        f"The {where} could not be read: {str(error).rstrip('.')}.{hint} Fetch it where the hub can be "
        f"reached (snapshot_download of huggingface_hub) and give the folder, 'hf:./folder'; or choose "
        f"weights='random'."
    )


def _preprocess(
    transformers: Any, path: str, options: dict[str, Any], reads: str, config: Any
) -> tuple[Preprocess, str]:
    """The preprocessing of a network and its modality, by the name of what it reads."""
    try:
        if reads == "input_ids" and getattr(config, "vision_config", None) is not None:
            # of what it is shown: pictures with captions, or texts
            processor = transformers.AutoProcessor.from_pretrained(path, **options)
            return CaptionPreprocess(processor, _text(processor.tokenizer, config)), ""
        if reads == "input_ids":
            return _text(transformers.AutoTokenizer.from_pretrained(path, **options), config), "language"
        if reads in ("input_features", "input_values"):
            return _audio(transformers.AutoFeatureExtractor.from_pretrained(path, **options), config), "audio"
        if reads in ("pixel_values", "pixel_values_videos"):
            names = ("num_frames", "frames_per_clip")
            n_frames = next((getattr(config, name) for name in names if hasattr(config, name)), None)
            image = processor_preprocess(_pixels(transformers, path, options, reads, n_frames))
            return image if n_frames is None else ClipPreprocess(n_frames, image), "vision"
    except OSError as error:
        raise UnreadableError(
            f"'hf:{path}' has no readable tokenizer, feature extractor or image processor beside its "
            f"weights: {error}"
        ) from error
    except ImportError as error:
        raise MissingPackageError(f"What 'hf:{path}' reads needs another package: {error}") from error
    raise InputError(
        f"'hf:{path}' reads {reads!r}; expected input_ids, input_features, input_values, pixel_values or "
        f"pixel_values_videos. "
        f"{_OWN}"
    )


def _pixels(transformers: Any, path: str, options: dict[str, Any], reads: str, n_frames: int | None) -> Any:
    """The processor of images or of clips; networks of clips have had either."""
    if reads == "pixel_values":
        try:
            return transformers.AutoImageProcessor.from_pretrained(path, **options)
        except (OSError, ValueError):
            if n_frames is None:
                raise
    return transformers.AutoVideoProcessor.from_pretrained(path, **options)


def _text(tokenizer: Any, config: Any) -> TextPreprocess:
    if not has_vocabulary(tokenizer):
        raise UnreadableError("it has no vocabulary; is tokenizer.json missing?")
    windows = (tokenizer.model_max_length, getattr(config, "max_position_embeddings", None))
    known = [int(window) for window in windows if window and window < _NO_LIMIT]
    attended = getattr(config, "attention_window", 1)  # Longformer and LED pad to a multiple of theirs
    multiple = max(attended) if isinstance(attended, list | tuple) else int(attended)
    window = min(known, default=_DEFAULT_WINDOW)
    if "siglip" in config.model_type:  # trained on texts padded to its window, without a mask
        return TextPreprocess(tokenizer, window, multiple_of=window, attend_padding=True)
    return TextPreprocess(tokenizer, window - window % multiple, multiple_of=multiple)


def _audio(extractor: Any, config: Any) -> Preprocess:
    if type(extractor).__name__ == "ClapFeatureExtractor":
        return RepeatedAudioPreprocess(extractor.sampling_rate, extractor)
    if "return_attention_mask" not in inspect.signature(type(extractor).__call__).parameters:
        raise InputError(
            f"{type(extractor).__name__} prepares sounds for {config.model_type} in a way of its own, which "
            f"is not known here. {_OWN} Of a codec take the encoder."
        )
    kernels, strides = getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ())
    # the group norm of the first convolution averages over time: padding would shift every frame
    unpadded = getattr(config, "feat_extract_norm", None) == "group" or (
        config.model_type in _REACH_INTO_PADDING
    )
    return AudioPreprocess(
        extractor.sampling_rate,
        extractor,
        convolutions=tuple(zip(kernels, strides, strict=True)),
        equal_lengths=unpadded,
        pass_mask=bool(kernels) and not unpadded,
    )


def processor_preprocess(processor: Any) -> ImagePreprocess:
    """Return the preprocessing of an image processor of transformers, compared with it on an oblong image.

    Raises:
        ValueError: the processor does something that is not known here.
    """
    kind = type(processor).__name__
    given = (dict(getattr(processor, name, None) or {}) for name in ("size", "crop_size"))
    size, crop = ({side: n for side, n in sides.items() if n is not None} for sides in given)
    resize: int | tuple[int, int]
    if "shortest_edge" in size and "longest_edge" not in size:
        resize = size["shortest_edge"]
    elif {"height", "width"} <= set(size):
        resize = (size["height"], size["width"])
    else:
        raise _unknown(kind, f"size={size}")
    for name, known in (("do_resize", True), ("offset", False)):
        if getattr(processor, name, known) is not known:
            raise _unknown(kind, f"{name}={not known}")
    final = (resize, resize) if isinstance(resize, int) else resize
    if (share := getattr(processor, "crop_pct", None)) and isinstance(resize, int):
        # networks that were trained with timm's way: a crop at small sizes, none at large ones
        resize = int(resize / share) if resize < 384 else final
    elif getattr(processor, "do_center_crop", False) and crop:
        final = (crop["height"], crop["width"])
    elif isinstance(resize, int):
        raise _unknown(kind, f"size={size} without a crop, so that images keep their proportions")
    normalizes = getattr(processor, "do_normalize", False)
    rescale = processor.rescale_factor if getattr(processor, "do_rescale", True) else 1.0
    preprocess = ImagePreprocess(
        final,
        tuple(processor.image_mean) if normalizes else (0.0,) * 3,
        tuple(processor.image_std) if normalizes else (1.0,) * 3,
        interpolation=_RESAMPLE.get(int(processor.resample), "bicubic"),
        channel_order="bgr" if getattr(processor, "do_flip_channel_order", False) else "rgb",
        scale=255 * rescale,
        resize=resize,
        crop_rounding="down",
    )
    _compare(processor, preprocess)
    return preprocess


def _unknown(kind: str, what: str) -> InputError:
    return InputError(f"{kind} prepares images in a way that is not known here ({what}). {_OWN}")


def _compare(processor: Any, preprocess: ImagePreprocess) -> None:
    """Prepare one oblong image both ways: processors have steps of their own, which no field tells."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 60), torch.linspace(0, 1, 90), indexing="ij")
    image = torch.stack([rows, columns, (rows - columns).abs()]).mul(255).byte()
    is_of_clips = type(processor).__name__.endswith("VideoProcessor")
    shown = {"videos": [image[None]], "do_sample_frames": False} if is_of_clips else {"images": image}
    made = processor(**shown, return_tensors="pt")
    theirs = made["pixel_values_videos" if "pixel_values_videos" in made else "pixel_values"]
    ours = preprocess({"image": image[None] / 255}).args[0][0]
    if theirs.numel() == ours.numel():
        step = preprocess.scale / 255 / float(preprocess.std.min())
        if bool((theirs.reshape(ours.shape) - ours).abs().max() <= _BYTES * step):
            return
    raise _unknown(type(processor).__name__, "its pixels differ from those of its own settings")
