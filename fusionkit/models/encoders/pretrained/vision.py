"""Pretrained networks of images as encoders of frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fusionkit.config.components.registry import ENCODERS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.errors import Problem, RecipeError
from fusionkit.interfaces import ElementEncoder
from fusionkit.models.encoders.pretrained.architecture import Architecture, find_architecture
from fusionkit.models.encoders.pretrained.hub import Source
from fusionkit.models.encoders.pretrained.images import CLIP, HALVES, IMAGENET, Images, Range
from fusionkit.models.encoders.pretrained.network import (
    HiddenStates,
    Layers,
    PretrainedEncoder,
    Weights,
    build_network,
    count_layers,
    refuse_what_fails,
)

Pool = Literal["own", "class", "mean"]

_NORMAL: Mapping[str, Range] = {"clip_vision_model": CLIP, "siglip_vision_model": HALVES, "vit": HALVES}


@ENCODERS.register("hf_vision")
class HfVision(PretrainedEncoder, ElementEncoder):
    r"""A pretrained network of images: one image to one vector.

    .. math::
        F(x) = \mathrm{Pool}\bigl(h(\mathrm{Network}(\mathrm{Image}(x)))\bigr)

    For networks of transformers: CLIP, SigLIP, DINOv2 and DINOv3, ViT, Swin. Images are bytes, or floats from 0 to 1,
    of one or three channels and any size: they are resized with antialiasing, cropped and standardised as the network's
    processor says, on the device, so the network sees the size that it was trained on. No image depends on another.

    Args:
        in_shape: ``(channels, height, width)``.
        model: Name on the Hugging Face hub, or a folder with config.json. What was downloaded is used without asking.
        revision: Branch, tag or commit of a name; null for the main branch. A training writes the commit here.
        weights: ``pretrained``, ``none`` for random numbers, or a safetensors file: of the network, of a larger one
            that holds it, or of this encoder (``train.export``).
        layers: ``last``; the number of a layer whose output is taken, without those above it; ``weighted`` for a
            learned sum of all hidden states. Swin has ``last`` only.
        pool: Tokens to a vector: ``own`` as the network does (the class token of CLIP, DINO and ViT, attention of
            SigLIP, the mean of Swin; of inner layers the class token, or the mean where there is none), ``class`` or
            ``mean`` (of patches).
        architecture: The network's config and preparation as plain data. Leave it out: a training writes it into the
            run, which then needs neither hub nor folder.

    Raises:
        ShapeError: `in_shape` is no image.
        RecipeError: transformers is not installed, the model is not there, is no network for images, or has no such
            layer or class token.
        RunError: `weights` is missing, damaged, or lacks tensors.

    Source:
        Radford et al. 2021, https://arxiv.org/abs/2103.00020; Zhai et al. 2023, https://arxiv.org/abs/2303.15343; Oquab
        et al. 2023, https://arxiv.org/abs/2304.07193; Simeoni et al. 2025, https://arxiv.org/abs/2508.10104;
        Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929; Liu et al. 2021, https://arxiv.org/abs/2103.14030.
        Bytes are not rounded after resizing, so images differ from transformers' by a grey level at most.

    Example:
        >>> config = {"model_type": "vit", "hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2}
        >>> written = {"config": config}  # as a run holds it; transformers is imported here
        >>> HfVision((3, 96, 96), model="tiny", weights=None, architecture=written).out_shape
        (48,)
    """

    signal = "vision"
    whole_numbers = (torch.uint8,)
    suits_one_element = True

    def __init__(
        self,
        in_shape: tuple[int, ...],
        *,
        model: str,
        revision: str | None = None,
        weights: Weights = "pretrained",
        layers: Layers = "last",
        pool: Pool = "own",
        architecture: Annotated[dict[str, Any] | None, ANY_ORDER] = None,
    ) -> None:
        super().__init__()
        source = Source("hf_vision", model, revision)
        found = find_architecture(source, "vision", architecture)
        kind = str(found.config["model_type"])
        self.before = _count_before(found)
        self.pool = _choose_pool(pool, kind, layers, self.before)
        fixed = {"vision_use_head": self.pool == "own"} if kind == "siglip_vision_model" else {}
        # The mean is of patches as transformers gives them, which CLIP does not normalise.
        unused = ("post_layernorm",) if kind == "clip_vision_model" and self.pool != "own" else ()
        self.network = build_network(found, source, weights=weights, layers=layers, fixed=fixed, unused=unused)
        config = self.network.config
        with refuse_what_fails(source):
            self.images = Images(
                in_shape,
                found.preparation,
                size=224 if kind.startswith("dinov2") else int(config.image_size),
                normal=_NORMAL.get(kind, IMAGENET),
                channels=int(config.num_channels),
                source="hf_vision",
            )
        self.states = HiddenStates(layers, count_layers(self.network, found.family))
        self.out_shape = (int(config.hidden_size),)

    def encode(self, values: Tensor) -> Tensor:
        """Encodes every image."""
        tokens, output = self.states(self.network, self.images(values))
        if self.pool == "own":
            own: Tensor = output.pooler_output
            return own
        pooled: Tensor = tokens[:, 0] if self.pool == "class" else tokens[:, self.before :].mean(dim=1)
        return pooled


def _count_before(found: Architecture) -> int:
    """Counts the tokens before those of patches."""
    known = found.family.before
    return 1 + int(found.config.get("num_register_tokens", 0)) if known is None else known


def _choose_pool(pool: Pool, kind: str, layers: Layers, before: int) -> Pool:
    """Chooses how tokens become a vector; ``own`` stands for what the network itself gives."""
    if pool == "class" and not before:
        message, remedy = "the network has no class token", "take own or mean"
        raise RecipeError([Problem("pool", message, remedy)], source="hf_vision")
    if kind == "clip_vision_model" and pool == "class" and layers == "last":
        return "own"
    if pool != "own":
        return pool
    if layers == "last" and kind in ("clip_vision_model", "siglip_vision_model"):
        return "own"
    return "class" if before else "mean"
