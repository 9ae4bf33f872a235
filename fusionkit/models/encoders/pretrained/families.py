"""Families of pretrained networks that can be encoders, by the type that their config states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Signal = Literal["audio", "vision", "video", "text"]

_SPEECH = {
    "apply_spec_augment": False,  # masks by NumPy's global generator, which no seed of a run reaches
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "layerdrop": 0.0,  # a layer that is left out would get no gradient
    "add_adapter": False,
}


@dataclass(frozen=True)
class Family:
    """Networks of one type, as far as the encoders have to know them.

    Args:
        signal: What it is for.
        module: Where transformers has it, below ``transformers.models``: the module of its config and that of its
            network, without ``configuration_`` and ``modeling_``.
        config: The class of its config.
        network: The class of the network.
        part: The key under which the config of several towers holds that of this network.
        prefixes: What stands before the names of its tensors in files of larger networks; the first that fits is taken.
        layers: The key of its number of layers; empty where layers cannot be chosen.
        norm: The normalisation behind the last layer, which inner layers do not pass; empty where there is none.
        norm_follows: The key of the config that says whether it stands there; empty where it always does.
        unused: Parts that an encoder does not use.
        options: Options of the class of the network.
        fixed: Values of its config that an encoder fixes.
        positions: The tensor of positions that may be cut behind the first ones that a shorter window needs.
        before: Tokens of images before those of patches: a class token; None where registers stand beside it, as many
            as the config says in ``num_register_tokens``.
    """

    signal: Signal
    module: str
    config: str
    network: str
    part: str = ""
    prefixes: tuple[str, ...] = ()
    layers: str = "num_hidden_layers"
    norm: str = ""
    norm_follows: str = ""
    unused: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    positions: str = ""
    before: int | None = 0


def _speech(module: str, name: str, file: str = "") -> Family:
    home = f"{module}.{file or module}"
    return Family(
        "audio",
        home,
        f"{name}Config",
        f"{name}Model",
        norm="encoder.layer_norm",
        norm_follows="do_stable_layer_norm",  # else it stands before the first layer
        fixed=_SPEECH,
    )


def _text(module: str, name: str, *, norm: str = "", pools: bool = True) -> Family:
    options = {"add_pooling_layer": False} if pools else {}
    fixed = {"is_decoder": False, "add_cross_attention": False}
    home = f"{module}.{module}"
    return Family("text", home, f"{name}Config", f"{name}Model", norm=norm, options=options, fixed=fixed)


FAMILIES: Mapping[str, Family] = {
    "wav2vec2": _speech("wav2vec2", "Wav2Vec2"),
    "hubert": _speech("hubert", "Hubert"),
    "wavlm": _speech("wavlm", "WavLM"),
    "data2vec-audio": _speech("data2vec", "Data2VecAudio", "data2vec_audio"),
    "whisper": Family(
        "audio",
        "whisper.whisper",
        "WhisperConfig",
        "WhisperEncoder",
        prefixes=("model.encoder.", "encoder."),
        layers="encoder_layers",
        norm="layer_norm",
        fixed={"encoder_layerdrop": 0.0},
        positions="embed_positions.weight",
    ),
    "audio-spectrogram-transformer": Family(
        "audio",
        "audio_spectrogram_transformer.audio_spectrogram_transformer",
        "ASTConfig",
        "ASTModel",
        norm="layernorm",
    ),
    "clip_vision_model": Family(
        "vision", "clip.clip", "CLIPVisionConfig", "CLIPVisionModel", "vision_config", norm="post_layernorm", before=1
    ),
    "siglip_vision_model": Family(
        "vision", "siglip.siglip", "SiglipVisionConfig", "SiglipVisionModel", "vision_config", norm="post_layernorm"
    ),
    "dinov2": Family(
        "vision",
        "dinov2.dinov2",
        "Dinov2Config",
        "Dinov2Model",
        norm="layernorm",
        unused=("embeddings.mask_token",),
        before=1,
    ),
    "dinov2_with_registers": Family(
        "vision",
        "dinov2_with_registers.dinov2_with_registers",
        "Dinov2WithRegistersConfig",
        "Dinov2WithRegistersModel",
        norm="layernorm",
        unused=("embeddings.mask_token",),
        before=None,
    ),
    "dinov3_vit": Family(
        "vision",
        "dinov3_vit.dinov3_vit",
        "DINOv3ViTConfig",
        "DINOv3ViTModel",
        norm="norm",
        unused=("embeddings.mask_token",),
        before=None,
    ),
    "vit": Family(
        "vision",
        "vit.vit",
        "ViTConfig",
        "ViTModel",
        norm="layernorm",
        options={"add_pooling_layer": False},
        before=1,
    ),
    "swin": Family("vision", "swin.swin", "SwinConfig", "SwinModel", layers=""),
    "videomae": Family("video", "videomae.videomae", "VideoMAEConfig", "VideoMAEModel", norm="layernorm"),
    "timesformer": Family(
        "video", "timesformer.timesformer", "TimesformerConfig", "TimesformerModel", norm="layernorm"
    ),
    "vjepa2": Family(
        "video",
        "vjepa2.vjepa2",
        "VJEPA2Config",
        "VJEPA2Model",
        norm="encoder.layernorm",
        unused=("predictor",),
    ),
    "bert": _text("bert", "Bert"),
    "roberta": _text("roberta", "Roberta"),
    "xlm-roberta": _text("xlm_roberta", "XLMRoberta"),
    "mpnet": _text("mpnet", "MPNet"),
    "distilbert": _text("distilbert", "DistilBert", pools=False),
    "modernbert": _text("modernbert", "ModernBert", norm="final_norm", pools=False),
}
"""By the ``model_type`` of a config, the network that is built of it."""

TOWERS: Mapping[str, str] = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
"""By the ``model_type`` of a config of several towers, the family of the one that sees."""


def list_families(signal: Signal) -> list[str]:
    """Lists the types of configs that serve a signal."""
    of_towers = [name for name, family in TOWERS.items() if FAMILIES[family].signal == signal]
    return sorted([*of_towers, *(name for name, family in FAMILIES.items() if family.signal == signal)])
