"""Random but structured results: what a run over several modalities leaves, without running a model."""

from __future__ import annotations

import numpy as np
import pandas as pd
from nilearn.datasets import fetch_coords_seitzman_2018

from nfas_lightning.results import (
    COLUMNS,
    FEATURES,
    OPTIONAL,
    ModelResult,
    RunResults,
    SpaceStatistics,
)

NAMES = {
    "vision": ["mobilenet_v2", "efficientnet_lite0", "efficientnet_lite2", "hed_vgg16", "mtcnn_onet"],
    "audio": ["whisper_base", "smart_turn", "silero_vad", "fcpe_conformer", "ge2e_voice_encoder"],
    "language": ["minilm_l6", "paraphrase_minilm_l3", "multilingual_e5_small", "smollm2_135m", "g2p_en_gru"],
}
# the names, families, objectives and sizes (in millions) of a zoo of 45, so that figures meet real labels
ZOO = {
    "vision": [
        ("beit_base", "beit", "self-supervised (masked visual tokens)", 103),
        ("clip_vit_b32", "clip", "contrastive (images and texts)", 87),
        ("convnext_tiny", "convnext", "supervised (ImageNet-1k)", 29),
        ("deit_base", "deit", "supervised (ImageNet-1k)", 87),
        ("densenet121", "densenet", "supervised (ImageNet-1k)", 8),
        ("dinov2_base", "dinov2", "self-supervised (LVD-142M)", 87),
        ("efficientnet_b0", "efficientnet", "supervised (ImageNet-1k)", 5.3),
        ("mae_base", "mae", "self-supervised (masked pixels)", 86),
        ("resnet50", "resnet", "supervised (ImageNet-1k)", 26),
        ("siglip_base", "siglip", "contrastive (images and texts)", 93),
        ("swin_tiny", "swin", "supervised (ImageNet-1k)", 28),
        ("timesformer_base", "timesformer", "supervised (Kinetics-400)", 121),
        ("vgg16", "vgg", "supervised (ImageNet-1k)", 138),
        ("videomae_base", "videomae", "self-supervised (masked video)", 86),
        ("vit_base", "vit", "supervised (ImageNet-21k)", 87),
    ],
    "audio": [
        ("ast", "ast", "supervised (AudioSet)", 86),
        ("clap", "clap", "contrastive (sounds and texts)", 28),
        ("data2vec_audio_base", "data2vec", "self-supervised (masked latents)", 93),
        ("hubert_base", "hubert", "self-supervised (masked units)", 94),
        ("mms_300m", "wav2vec2", "self-supervised (contrastive, masked)", 315),
        ("sew_d_tiny", "sew", "self-supervised (contrastive, masked)", 24),
        ("unispeech_sat_base", "unispeech-sat", "self-supervised (masked units)", 94),
        ("w2v_bert_2", "w2v-bert", "self-supervised (masked units)", 580),
        ("wav2vec2_base", "wav2vec2", "self-supervised (contrastive, masked)", 94),
        ("wav2vec2_large_xlsr53", "wav2vec2", "self-supervised (contrastive, masked)", 315),
        ("wavlm_base_plus", "wavlm", "self-supervised (masked units)", 94),
        ("wavlm_large", "wavlm", "self-supervised (masked units)", 315),
        ("whisper_base", "whisper", "supervised (speech recognition)", 21),
        ("whisper_small", "whisper", "supervised (speech recognition)", 88),
        ("whisper_tiny", "whisper", "supervised (speech recognition)", 8.2),
    ],
    "language": [
        ("albert_base", "albert", "masked language model", 11),
        ("bert_base", "bert", "masked language model", 109),
        ("bloom_560m", "bloom", "causal language model (multilingual)", 559),
        ("deberta_v3_base", "deberta-v3", "replaced-token detection", 184),
        ("distilbert_base", "distilbert", "masked language model", 66),
        ("electra_small", "electra", "replaced-token detection", 13),
        ("gpt2", "gpt2", "causal language model", 124),
        ("minilm_l6_v2", "minilm", "contrastive (sentence pairs)", 23),
        ("opt_125m", "opt", "causal language model", 125),
        ("pythia_160m", "gpt-neox", "causal language model", 124),
        ("qwen2_5_0_5b", "qwen2", "causal language model (multilingual)", 494),
        ("roberta_base", "roberta", "masked language model", 124),
        ("t5_base", "t5", "span corruption", 110),
        ("tinyllama_1_1b", "llama", "causal language model", 1035),
        ("xlnet_base", "xlnet", "permuted language model", 117),
    ],
}
DRIVEN = {
    "vision": ("Visual", "ParietoMedial"),
    "audio": ("Auditory",),
    "language": ("DefaultMode", "VentralAttention"),
}
_NOTE = "int8 weights, dequantized: not bit-equal to the original"
INTEGRATIVE = "FrontoParietal"
GAIN = dict(zip(FEATURES, (1.0, 0.93, 1.04, 0.97, 1.06, 0.55, 0.25), strict=True))  # some baselines win


def make_rois(n_rois: int = 60, *, seed: int = 0) -> pd.DataFrame:
    """ROIs of nilearn's packaged 300-ROI atlas, with a planted truth."""
    atlas = fetch_coords_seitzman_2018()
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(atlas.rois))[:n_rois])
    network = np.asarray(atlas.networks)[rows]
    driven = [next((m for m, nets in DRIVEN.items() if net in nets), "") for net in network]
    x, y, z = np.asarray(atlas.rois)[rows].T
    return pd.DataFrame(
        {
            "roi": [f"seitzman_{row + 1:03d}" for row in rows],
            "network": network,
            "hemisphere": np.where(x < 0, "left", "right"),
            "x": x,
            "y": y,
            "z": z,
            "driven_by": driven,
            "integrative": network == INTEGRATIVE,
            "ceiling": rng.uniform(0.6, 0.85, n_rois),
        }
    )


def make_results(
    modalities: tuple[str, ...] = ("vision", "audio", "language"),
    n_models: int = 5,
    n_rois: int = 60,
    *,
    simulated: bool = True,
    coordinates: bool = True,
    features: tuple[str, ...] = tuple(FEATURES),
    score: str = "alone",
    seed: int = 0,
) -> RunResults:
    """Results of `n_models` models a modality over `n_rois` ROIs; nuisances take a tenth of every r."""
    rng = np.random.default_rng(seed)
    rois = make_rois(n_rois, seed=seed)
    if not simulated:
        rois = rois.drop(columns=["driven_by", "integrative", "ceiling"])
    truth = make_rois(n_rois, seed=seed)
    scores, spectra, depth, models = [], [], [], []
    for modality in modalities:
        names = (NAMES.get(modality, []) + [f"{modality}_model_{i:02d}" for i in range(n_models)])[:n_models]
        level = np.where(truth["driven_by"] == modality, 0.45, np.where(truth["integrative"], 0.3, 0.02))
        for name in names:
            # a model is better at some networks than at others, or all clusters would be lines
            taste = {network: rng.normal(1, 0.2) for network in sorted(set(truth["network"]))}
            skill = rng.uniform(0.75, 1.1) * truth["network"].map(taste).to_numpy(float)
            for feature in features:
                r = level * skill * GAIN[feature] + rng.normal(0, 0.04, n_rois)
                own = feature == "nuisance"
                partial, joint = (np.full(n_rois, np.nan), r) if own else (0.9 * r, r + 0.02)
                p = np.clip(10 ** (-25 * np.clip(r, 0, None)) * rng.uniform(0.5, 1, n_rois), 1e-4, 1)
                scores.append(
                    pd.DataFrame(
                        {
                            "model": name, "modality": modality, "family": name.split("_")[0],
                            "dataset": f"simulated-{modality}" if simulated else f"{modality}-story",
                            "subject": "group", "feature": feature, "roi": truth["roi"],
                            "network": truth["network"], "r": r, "r2": np.clip(r, 0, None) ** 2,
                            "r_joint": joint, "r2_joint": np.clip(joint, 0, None) ** 2,
                            "r_partial": partial, "r2_partial": np.clip(partial, 0, None) ** 2,
                            "score": "alone" if own else score, "alpha_at_edge": 0.0,
                            "p": p, "q": np.minimum(1, 2 * p), "ceiling": truth["ceiling"],
                            "above_ceiling": r > truth["ceiling"],
                            **{f"{value}_{end}": np.nan for value in ("r", "r2") for end in ("low", "high")},
                            "n_volumes": 300, "simulated": simulated,
                        }
                    )
                )  # fmt: skip
            n_blocks = int(rng.integers(4, 24))
            angle, modulus = rng.uniform(0.02, 0.6), rng.uniform(0.9, 1.02)
            eigenvalue = modulus * np.exp(1j * angle)
            modes = [eigenvalue, eigenvalue.conjugate(), rng.uniform(0.3, 0.8)]
            for i, value in enumerate(modes):
                spectra.append(
                    {
                        "model": name, "modality": modality, "dataset": f"simulated-{modality}", "mode": i,
                        "real": float(np.real(value)), "imag": float(np.imag(value)),
                        "modulus": float(abs(value)), "amplitude": rng.uniform(0.2, 1), "stable": i < 2,
                        "distance_to_unit_circle": abs(1 - float(abs(value))),
                    }
                )  # fmt: skip
            position = np.linspace(0, 1, n_blocks)
            bump = np.exp(-((position - rng.uniform(0.3, 0.9)) ** 2) / 0.06)
            depth.append(
                pd.DataFrame(
                    {
                        "model": name, "modality": modality, "dataset": f"simulated-{modality}",
                        "depth": np.arange(n_blocks), "layer": [f"blocks.{i}" for i in range(n_blocks)],
                        "width": 128, "weight": bump + rng.uniform(0, 0.2, n_blocks),
                        "r": 0.2 * bump + rng.normal(0, 0.02, n_blocks), "r2": 0.04 * bump**2,
                    }
                )
            )  # fmt: skip
            models.append(
                {
                    "model": name, "modality": modality, "family": name.split("_")[0],
                    "dataset": f"simulated-{modality}", "source": f"package-{name}==1.0.0", "license": "MIT",
                    "parameters": int(rng.integers(1e6, 1.4e8)),
                    "weights_sha256": f"{rng.integers(1 << 60):064x}",
                    "note": _NOTE if name == "smart_turn" else "",
                    "n_blocks": n_blocks, "n_stimuli": 300, "pooling": "mean", "state_space": "procrustes",
                    "svd_rank": 3, "stable_real": eigenvalue.real, "stable_imag": eigenvalue.imag,
                    "distance_to_unit_circle": abs(1 - modulus),
                    "reconstruction_error": rng.uniform(0.05, 0.3),
                    "seconds_capture": rng.uniform(1, 20), "seconds_scoring": rng.uniform(0.2, 2),
                    "key": "0" * 64,
                }
            )  # fmt: skip
    meta = {
        "experiment": "demo",
        "versions": {"nfas_lightning": "0.1.0", "torch": "2.4.0", "nilearn": "0.11"},
        "settings": {"operator": "joint", "svd_rank": 2, "centering": "scale", "score": score},
        "data_sha256": {"responses": "ab" * 32},
        "simulated": simulated,
    }
    tables = (
        pd.concat(scores, ignore_index=True),
        pd.DataFrame(spectra),
        pd.concat(depth, ignore_index=True),
    )
    return RunResults(*tables, models=pd.DataFrame(models), rois=rois, meta=meta)


def model_result(name: str = "net", twin_of: str = "") -> ModelResult:
    """Make the result of one model, with four ROIs."""
    results = make_results(("vision",), n_models=1, n_rois=4)
    card = {**dict.fromkeys(COLUMNS["models"], 0), "model": name, "twin_of": twin_of}
    return ModelResult(results.scores.assign(model=name), results.spectra, results.depth, card)


def make_zoo(n_rois: int = 300, *, simulated: bool = True, seed: int = 0) -> RunResults:
    """Results of 45 models under the names, families and sizes of `ZOO`: the scale of the paper."""
    made = make_results(n_models=15, n_rois=n_rois, simulated=simulated, seed=seed)
    before = made.models[["modality", "model"]].itertuples(index=False, name=None)
    order: dict[str, int] = {}
    renamed = {}
    for modality, model in before:
        renamed[model] = ZOO[modality][order.setdefault(modality, 0)]
        order[modality] += 1
    families = {name: entry[1] for name, entry in renamed.items()}

    def named(table: pd.DataFrame) -> pd.DataFrame:
        family = {"family": table["model"].map(families)} if "family" in table else {}
        return table.assign(**family, model=table["model"].map({k: v[0] for k, v in renamed.items()}))

    models = made.models.assign(
        objective=made.models["model"].map({name: entry[2] for name, entry in renamed.items()}),
        parameters=made.models["model"].map({name: int(1e6 * entry[3]) for name, entry in renamed.items()}),
        note="",
    )
    meta = {**made.meta, "name": "synthetic zoo of 45"}
    return RunResults(
        *(named(table) for table in (made.scores, made.spectra, made.depth, models)), made.rois, meta
    )


def make_statistics(results: RunResults, *, seed: int = 0) -> SpaceStatistics:
    """Statistics of the stable-mode scores: geometry computed plainly, test results made up."""
    rng = np.random.default_rng(seed)
    stable = results.scores.query("feature == 'stable_mode' and subject == 'group'")
    wide = stable.rename(columns={"modality": "group"}).pivot_table(
        index=["model", "group"], columns="roi", values="r2", sort=False
    )
    centered = wide.to_numpy() - wide.to_numpy().mean(0)
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    points = np.zeros((len(wide), 2))
    points[:, : min(2, s.size)] = (u * s)[:, :2]
    share = np.zeros(2)
    share[: min(2, s.size)] = (s**2 / max(float((s**2).sum()), 1e-12))[:2]
    models = wide.index.to_frame(index=False)
    coordinates = models.assign(simulated=results.simulated, PC1=points[:, 0], PC2=points[:, 1])
    network = (
        results.rois.set_index("roi")["network"] if "network" in results.rois else pd.Series(dtype=object)
    )
    networks = network.reindex(wide.columns).to_numpy()
    sizes = models["group"].value_counts()
    snci = []
    for group, part in wide.groupby(level="group"):
        mean, std = part.mean(), part.std(ddof=1)
        snci.append(
            pd.DataFrame(
                {
                    "group": group, "roi": wide.columns, "network": networks,
                    "ratio": (mean / std).to_numpy(), "bounded": (mean**2 / (mean**2 + std**2)).to_numpy(),
                }
            )
        )  # fmt: skip
    snci_table = pd.concat(snci, ignore_index=True)
    convergence = snci_table.groupby("roi", sort=False)["bounded"].min(min_count=1)
    names = sorted(sizes.index)
    testable = len(names) > 1 and int(sizes.min()) > 1
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]] if testable else []
    f = (wide.groupby(level="group").mean().var() * 5 / (wide.var() + 1e-9) * 10) if testable else None
    anova = pd.DataFrame(
        {
            "roi": wide.columns, "network": networks, "statistic": f.to_numpy(),
            "p_value": rng.uniform(0, 0.1, wide.shape[1]), "q_value": rng.uniform(0, 0.2, wide.shape[1]),
            "eta_squared": rng.uniform(0, 1, wide.shape[1]),
        }
        if f is not None
        else {c: [] for c in ("roi", "network", "statistic", "p_value", "q_value", "eta_squared")}
    )  # fmt: skip
    return SpaceStatistics(
        coordinates=coordinates,
        explained=(float(share[0]), float(share[1])),
        permanova={"statistic": 14.2, "p_value": 0.001} if testable else {},
        permdisp={"statistic": 1.1, "p_value": 0.34} if testable else {},
        silhouette={"statistic": 0.52, "p_value": 0.001} if testable else {},
        pairwise=pd.DataFrame(
            [(a, b, 9.0, 0.009, 0.009) for a, b in pairs],
            columns=["first", "second", "statistic", "p_value", "q_value"],
        ),
        silhouette_samples=models.assign(silhouette=rng.uniform(0.1, 0.8, len(models))),
        anova=anova,
        snci=snci_table,
        convergence=pd.DataFrame(
            {
                "roi": convergence.index, "network": network.reindex(convergence.index).to_numpy(),
                "convergence": convergence.to_numpy(),
            }
        ),
        notes=() if testable else ("PERMANOVA needs two modalities of two models: nothing to test.",),
    )  # fmt: skip


def make_draws(
    means: dict[str, float],
    *,
    dataset: str = "film",
    seed: int = 0,
    shift: np.ndarray | None = None,
    n_draws: int = 200,
) -> pd.DataFrame:
    """Draws of models with these mean r: common noise, and a standard error of .03 of each one's own."""
    rng = np.random.default_rng(seed)
    common = {part: rng.normal(0, 0.15, n_draws) for part in ("stimuli", "subjects")}
    rows = []
    for place, (model, mean) in enumerate(means.items()):
        moved = 0.0 if shift is None else shift[place]
        for feature, loss in (("stable_mode", 0.0), ("last_block", 0.05)):
            own = {part: noise + rng.normal(0, 0.03, n_draws) for part, noise in common.items()}
            own["both"] = own["stimuli"] + own["subjects"]
            for value in ("r", "r2"):
                for part, noise in own.items():
                    score = mean + moved - loss
                    rows.append(
                        {
                            "model": model, "modality": "vision", "dataset": dataset, "subject": "group",
                            "feature": feature, "score": "partial", "value": value, "resampled": part,
                            "n_stimuli": 40, "n_subjects": 6, "n_strata": 5, "n_folds": 5,
                            "n_rois": 4, "paired": dataset,
                            "mean": score if value == "r" else score**2,
                            "draws": (score + noise if value == "r" else (score + noise) ** 2),
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)[list(OPTIONAL["draws"])]


def make_modes(results: RunResults, *, seed: int = 0) -> pd.DataFrame:
    """A turning and a decaying mode per model, which share what the stable mode explains of each ROI."""
    rng = np.random.default_rng(seed)
    scores = results.scores.query("feature == 'stable_mode' and subject == 'group'").assign(
        r2_whole=lambda t: t["r2"]
    )
    modulus = scores["model"].map({name: rng.uniform(0.9, 1.05) for name in scores["model"].unique()})
    share = rng.uniform(0.4, 0.9, len(scores))
    turning = scores.assign(
        mode=0, real=modulus, imag=0.5, modulus=modulus, turn=30.0, kind="turning", share=share
    )
    decaying = scores.assign(
        mode=1, real=0.5, imag=0.0, modulus=0.5, turn=0.0, kind="decaying", share=1 - share
    )
    modes = pd.concat([turning, decaying], ignore_index=True)
    modes = modes.assign(r2=modes["share"] * modes["r2_whole"], depth_constant=-1 / np.log(modes["modulus"]))
    return modes[list(OPTIONAL["modes"])]
