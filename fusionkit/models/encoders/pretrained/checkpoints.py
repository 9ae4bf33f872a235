"""Pretrained networks of the Hugging Face hub that are worth a try: a table of ours, read without a network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Checkpoint:
    """A network of the hub, as its authors describe it.

    Args:
        model: Its name, for the option ``model``.
        encoder: The encoder that takes it.
        family: What it is.
        millions: Parameters of what the encoder builds of it, in millions.
        features: Numbers of a vector.
        licence: The licence of its weights.
        given: What it is given.
        purpose: What it was trained on, and is good for.
    """

    model: str
    encoder: str
    family: str
    millions: float
    features: int
    licence: str
    given: str
    purpose: str


_WAVE, _HALF_MINUTE, _TEN_SECONDS = "wave, 16 kHz", "wave, 16 kHz, windows of 30 s", "wave, 16 kHz, windows of 10 s"
_SMALL = "image, 224 x 224"
_FILM, _IDS, _LONG_TEXT = "16 frames, 224 x 224", "ids of tokens, 512", "ids of tokens, 8,192"
_SHARE_ALIKE, _RESEARCH = "CC BY-SA 3.0", "CC BY-NC 4.0"

CHECKPOINTS = tuple(
    Checkpoint(*row)
    for row in (
        # model, encoder, family, millions, features, licence, given, purpose
        ("microsoft/wavlm-base-plus", "hf_audio", "WavLM", 94.4, 768, _SHARE_ALIKE, _WAVE, "speech: speaker, emotion"),
        (
            "microsoft/wavlm-large",
            "hf_audio",
            "WavLM",
            315.5,
            1024,
            _SHARE_ALIKE,
            _WAVE,
            "speech: speaker, emotion, words",
        ),
        ("microsoft/wavlm-base", "hf_audio", "WavLM", 94.4, 768, _SHARE_ALIKE, _WAVE, "English speech, read aloud"),
        ("facebook/hubert-base-ls960", "hf_audio", "HuBERT", 94.4, 768, "Apache-2.0", _WAVE, "English speech"),
        ("facebook/wav2vec2-base", "hf_audio", "wav2vec 2.0", 94.4, 768, "Apache-2.0", _WAVE, "English speech"),
        ("facebook/mms-300m", "hf_audio", "wav2vec 2.0", 315.4, 1024, _RESEARCH, _WAVE, "speech of 1,400 languages"),
        ("facebook/mms-1b", "hf_audio", "wav2vec 2.0", 962.5, 1280, _RESEARCH, _WAVE, "speech of 1,400 languages"),
        ("openai/whisper-tiny", "hf_audio", "Whisper", 8.2, 384, "Apache-2.0", _HALF_MINUTE, "speech, on a CPU"),
        (
            "openai/whisper-small",
            "hf_audio",
            "Whisper",
            88.2,
            768,
            "Apache-2.0",
            _HALF_MINUTE,
            "speech of 99 languages",
        ),
        (
            "MIT/ast-finetuned-audioset-10-10-0.4593",
            "hf_audio",
            "AST",
            86.2,
            768,
            "BSD-3-Clause",
            _TEN_SECONDS,
            "sounds of every kind: machines, animals, music",
        ),
        (
            "facebook/dinov2-small",
            "hf_vision",
            "DINOv2",
            22.1,
            384,
            "Apache-2.0",
            _SMALL,
            "images, no labels; on a CPU",
        ),
        ("facebook/dinov2-base", "hf_vision", "DINOv2", 86.6, 768, "Apache-2.0", _SMALL, "images, no labels"),
        (
            "facebook/dinov2-with-registers-base",
            "hf_vision",
            "DINOv2",
            86.6,
            768,
            "Apache-2.0",
            _SMALL,
            "images, no labels; cleaner patches",
        ),
        (
            "facebook/dinov3-vits16-pretrain-lvd1689m",
            "hf_vision",
            "DINOv3",
            21.6,
            384,
            "DINOv3 License",
            _SMALL,
            "images, no labels; asks for consent",
        ),
        (
            "facebook/dinov3-vitb16-pretrain-lvd1689m",
            "hf_vision",
            "DINOv3",
            85.7,
            768,
            "DINOv3 License",
            _SMALL,
            "images, no labels; asks for consent",
        ),
        (
            "openai/clip-vit-base-patch32",
            "hf_vision",
            "CLIP",
            87.5,
            768,
            "MIT",
            _SMALL,
            "images by their captions; fast",
        ),
        ("openai/clip-vit-base-patch16", "hf_vision", "CLIP", 85.8, 768, "MIT", _SMALL, "images by their captions"),
        ("openai/clip-vit-large-patch14", "hf_vision", "CLIP", 303.2, 1024, "MIT", _SMALL, "images by their captions"),
        (
            "google/siglip-base-patch16-224",
            "hf_vision",
            "SigLIP",
            92.9,
            768,
            "Apache-2.0",
            _SMALL,
            "images by their captions",
        ),
        (
            "google/siglip2-base-patch16-224",
            "hf_vision",
            "SigLIP 2",
            92.9,
            768,
            "Apache-2.0",
            _SMALL,
            "images by their captions, many languages",
        ),
        ("google/vit-base-patch16-224", "hf_vision", "ViT", 85.8, 768, "Apache-2.0", _SMALL, "things, by ImageNet"),
        (
            "microsoft/swin-tiny-patch4-window7-224",
            "hf_vision",
            "Swin",
            27.5,
            768,
            "MIT",
            _SMALL,
            "things, by ImageNet",
        ),
        ("MCG-NJU/videomae-base", "hf_video", "VideoMAE", 86.2, 768, _RESEARCH, _FILM, "films, to be tuned"),
        (
            "MCG-NJU/videomae-base-finetuned-kinetics",
            "hf_video",
            "VideoMAE",
            86.2,
            768,
            _RESEARCH,
            _FILM,
            "what people do in films",
        ),
        (
            "MCG-NJU/videomae-large-finetuned-kinetics",
            "hf_video",
            "VideoMAE",
            303.9,
            1024,
            _RESEARCH,
            _FILM,
            "what people do in films",
        ),
        (
            "sentence-transformers/all-MiniLM-L6-v2",
            "hf_text",
            "BERT",
            22.6,
            384,
            "Apache-2.0",
            _IDS,
            "English sentences, on a CPU",
        ),
        ("BAAI/bge-small-en-v1.5", "hf_text", "BERT", 33.2, 384, "MIT", _IDS, "English sentences and paragraphs"),
        ("intfloat/multilingual-e5-small", "hf_text", "BERT", 117.5, 384, "MIT", _IDS, "sentences of 94 languages"),
        (
            "answerdotai/ModernBERT-base",
            "hf_text",
            "ModernBERT",
            149.0,
            768,
            "Apache-2.0",
            _LONG_TEXT,
            "long English text",
        ),
        (
            "FacebookAI/xlm-roberta-base",
            "hf_text",
            "XLM-R",
            277.5,
            768,
            "MIT",
            _IDS,
            "text of 100 languages, to be tuned",
        ),
    )
)
"""By signal, the first ones first."""
