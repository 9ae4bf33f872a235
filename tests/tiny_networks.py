"""Tiny networks of transformers of every family that an encoder knows: configs, and what each is given."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

_SPEECH = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8, 8, 8],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 2, 2],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 8,
}
_IMAGE = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 16,
    "patch_size": 8,
}
_TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 40,
    "max_position_embeddings": 24,
}
_PADDED_BY_ONE = {**_TEXT, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}

#: By name a config as a hub has it.
CONFIGS: dict[str, dict[str, Any]] = {
    "wav2vec2": {**_SPEECH, "model_type": "wav2vec2", "feat_extract_norm": "group"},
    "wav2vec2_stable": {**_SPEECH, "model_type": "wav2vec2", **_STABLE},
    "hubert": {**_SPEECH, "model_type": "hubert", "feat_extract_norm": "group"},
    "wavlm": {**_SPEECH, "model_type": "wavlm", "feat_extract_norm": "group"},
    "wavlm_stable": {**_SPEECH, "model_type": "wavlm", **_STABLE},
    "data2vec": {
        **_SPEECH,
        "model_type": "data2vec-audio",
        "conv_pos_kernel_size": 5,
        "num_conv_pos_embeddings": 2,
        "pad_token_id": 1,
    },
    "whisper": {
        "model_type": "whisper",
        "d_model": 16,
        "encoder_layers": 3,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "num_mel_bins": 8,
        "max_source_positions": 10,
        "decoder_layers": 1,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 8,
        "vocab_size": 40,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 3,
    },
    "ast": {
        "model_type": "audio-spectrogram-transformer",
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "patch_size": 4,
        "frequency_stride": 4,
        "time_stride": 3,
        "max_length": 16,
        "num_mel_bins": 8,
    },
    "clip": {
        "model_type": "clip",
        "projection_dim": 8,
        "vision_config": {**_IMAGE, "model_type": "clip_vision_model"},
        "text_config": {**_TEXT, "model_type": "clip_text_model", "bos_token_id": 1, "eos_token_id": 2},
    },
    "siglip": {
        "model_type": "siglip",
        "vision_config": {**_IMAGE, "model_type": "siglip_vision_model"},
        "text_config": {**_TEXT, "model_type": "siglip_text_model", "bos_token_id": 1, "eos_token_id": 2},
    },
    "dinov2": {**_IMAGE, "model_type": "dinov2"},
    "dinov2_registers": {**_IMAGE, "model_type": "dinov2_with_registers", "num_register_tokens": 2},
    "dinov3": {**_IMAGE, "model_type": "dinov3_vit", "num_register_tokens": 2},
    "vit": {**_IMAGE, "model_type": "vit"},
    "swin": {
        "model_type": "swin",
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [2, 2],
        "window_size": 4,
    },
    "videomae": {**_IMAGE, "model_type": "videomae", "num_frames": 4, "tubelet_size": 2, "use_mean_pooling": False},
    "timesformer": {**_IMAGE, "model_type": "timesformer", "num_frames": 3},
    "vjepa2": {
        "model_type": "vjepa2",
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "mlp_ratio": 1.5,
        "crop_size": 16,
        "patch_size": 8,
        "frames_per_clip": 4,
        "tubelet_size": 2,
        "pred_hidden_size": 24,
        "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
    },
    "bert": {**_TEXT, "model_type": "bert"},
    "roberta": {**_PADDED_BY_ONE, "model_type": "roberta"},
    "xlm_roberta": {**_PADDED_BY_ONE, "model_type": "xlm-roberta"},
    "mpnet": {**_PADDED_BY_ONE, "model_type": "mpnet"},
    "distilbert": {
        "model_type": "distilbert",
        "dim": 16,
        "n_layers": 3,
        "n_heads": 2,
        "hidden_dim": 24,
        "vocab_size": 40,
        "max_position_embeddings": 24,
    },
    "modernbert": {
        **_TEXT,
        "model_type": "modernbert",
        "local_attention": 8,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
}

_NAMES = list(CONFIGS)
AUDIO = _NAMES[: _NAMES.index("clip")]
VISION = _NAMES[_NAMES.index("clip") : _NAMES.index("videomae")]
VIDEO = _NAMES[_NAMES.index("videomae") : _NAMES.index("bert")]
TEXT = _NAMES[_NAMES.index("bert") :]

#: By encoder the shape of an element, and lengths of samples: some of them several windows long.
GIVEN: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "hf_audio": ((), (900, 37, 0, 3500)),
    "hf_vision": ((3, 20, 24), (2, 1, 0)),
    "hf_video": ((3, 20, 24), (9, 1, 0, 3)),
    "hf_text": ((), (30, 1, 0, 5)),
}


def encoder_of(name: str) -> str:
    """The encoder that takes a network."""
    for encoder, names in (("hf_audio", AUDIO), ("hf_vision", VISION), ("hf_video", VIDEO)):
        if name in names:
            return encoder
    return "hf_text"


def options_of(name: str, **options: Any) -> dict[str, Any]:
    """The options of an encoder of a random network, as a recipe holds them."""
    return {"model": name, "weights": "none", "architecture": {"config": CONFIGS[name]}, **options}


#: The larger network that a file holds, and the part of it that is the encoder's.
CLASSES = {
    "wav2vec2": ("wav2vec2", "Wav2Vec2ForCTC", "wav2vec2"),
    "wav2vec2_stable": ("wav2vec2", "Wav2Vec2ForCTC", "wav2vec2"),
    "hubert": ("hubert", "HubertForCTC", "hubert"),
    "wavlm": ("wavlm", "WavLMForCTC", "wavlm"),
    "wavlm_stable": ("wavlm", "WavLMForCTC", "wavlm"),
    "data2vec": ("data2vec", "Data2VecAudioForCTC", "data2vec_audio"),
    "whisper": ("whisper", "WhisperForConditionalGeneration", "model.encoder"),
    "ast": ("audio_spectrogram_transformer", "ASTForAudioClassification", "audio_spectrogram_transformer"),
    "clip": ("clip", "CLIPModel", "vision_model"),
    "siglip": ("siglip", "SiglipModel", "vision_model"),
    "dinov2": ("dinov2", "Dinov2ForImageClassification", "dinov2"),
    "dinov2_registers": (
        "dinov2_with_registers",
        "Dinov2WithRegistersForImageClassification",
        "dinov2_with_registers",
    ),
    "dinov3": ("dinov3_vit", "DINOv3ViTModel", ""),
    "vit": ("vit", "ViTForImageClassification", "vit"),
    "swin": ("swin", "SwinForImageClassification", "swin"),
    "videomae": ("videomae", "VideoMAEForPreTraining", "videomae"),
    "timesformer": ("timesformer", "TimesformerForVideoClassification", "timesformer"),
    "vjepa2": ("vjepa2", "VJEPA2Model", ""),
    "bert": ("bert", "BertForMaskedLM", "bert"),
    "roberta": ("roberta", "RobertaForMaskedLM", "roberta"),
    "xlm_roberta": ("xlm_roberta", "XLMRobertaForMaskedLM", "roberta"),
    "mpnet": ("mpnet", "MPNetForMaskedLM", "mpnet"),
    "distilbert": ("distilbert", "DistilBertForMaskedLM", "distilbert"),
    "modernbert": ("modernbert", "ModernBertForMaskedLM", "model"),
}


def save(name: str, folder: Path) -> Any:
    """A larger network in a folder, as transformers leaves it; the part of it that an encoder is to be."""
    import transformers

    home, cls, part = CLASSES[name]
    config = transformers.AutoConfig.for_model(**CONFIGS[name])
    config.mask_time_prob = 0.05  # as files of speech networks have it: a part that no encoder has
    torch.manual_seed(1)
    network = getattr(importlib.import_module(f"transformers.models.{home}"), cls)(config).eval()
    for parameter in network.parameters():
        if parameter.ndim == 1:  # norms that do nothing would hide that they are left out
            parameter.data += 0.3 * torch.randn(parameter.shape)
    network.save_pretrained(folder)
    if name in AUDIO:
        extractor_of(name).save_pretrained(folder)
    return network.get_submodule(part) if part else network


def extractor_of(name: str) -> Any:
    import transformers

    if name == "whisper":
        return transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=0.2, hop_length=160)
    if name == "ast":
        return transformers.ASTFeatureExtractor(num_mel_bins=8, max_length=16, mean=-2.0, std=3.0)
    return transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
