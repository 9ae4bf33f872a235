"""Pretrained networks of films as encoders of frames in windows."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from einops import rearrange, reduce
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import ENCODERS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.errors import Problem, RecipeError
from fusionkit.models.encoders.pretrained.architecture import find_architecture
from fusionkit.models.encoders.pretrained.hub import Source
from fusionkit.models.encoders.pretrained.images import IMAGENET, Images
from fusionkit.models.encoders.pretrained.network import (
    HiddenStates,
    Layers,
    Weights,
    build_network,
    count_layers,
    refuse_what_fails,
)
from fusionkit.models.encoders.pretrained.windows import WindowEncoder


@ENCODERS.register("hf_video")
class HfVideo(WindowEncoder):
    r"""A pretrained network of films: frames to a sequence of vectors, one for every two frames or every one.

    .. math::
        F(x)_t = \frac{1}{|P|} \sum_{p \in P} h\bigl(\mathrm{Network}(\mathrm{Image}(x))\bigr)_{t,p}

    For networks of transformers: VideoMAE, TimeSformer (with attention divided into time and space), V-JEPA 2. A film
    is cut into windows of as many frames as the network takes, one behind the other; behind the last frame of a film
    its copies fill the window, and what they become is cut off. The tokens P of one time are averaged over space:
    VideoMAE and V-JEPA 2 leave a vector for every two frames, TimeSformer for every frame. Frames are prepared as by
    `hf_vision`. The networks were trained on frames that are some apart (VideoMAE: every fourth of 30 a second);
    `subsample` brings them there.

    Args:
        in_shape: ``(channels, height, width)`` of a frame.
        model: Name on the Hugging Face hub, or a folder with config.json. What was downloaded is used without asking.
        revision: Branch, tag or commit of a name; null for the main branch. A training writes the commit here.
        weights: ``pretrained``, ``none`` for random numbers, or a safetensors file: of the network, of a larger one
            that holds it, or of this encoder (``train.export``).
        layers: ``last``; the number of a layer whose output is taken, without those above it; ``weighted`` for a
            learned sum of all hidden states.
        frames: Frames of a window, positive; null for the network's own. Only V-JEPA 2, whose positions are computed,
            takes others: fewer cost less.
        architecture: The network's config and preparation as plain data. Leave it out: a training writes it into the
            run, which then needs neither hub nor folder.

    Raises:
        ShapeError: `in_shape` is no image.
        RecipeError: transformers is not installed, the model is not there, is no network for films, or has no such
            layer or window.
        RunError: `weights` is missing, damaged, or lacks tensors.

    Source:
        Tong et al. 2022, https://arxiv.org/abs/2203.12602; Bertasius et al. 2021, https://arxiv.org/abs/2102.05095;
        Assran et al. 2025, https://arxiv.org/abs/2506.09985.

    Example:
        >>> config = {"model_type": "videomae", "hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2}
        >>> written = {"config": config}  # as a run holds it; transformers is imported here
        >>> HfVideo((3, 96, 96), model="tiny", weights=None, architecture=written).out_shape
        (48,)
    """

    signal = "video"
    whole_numbers = (torch.uint8,)

    def __init__(
        self,
        in_shape: tuple[int, ...],
        *,
        model: str,
        revision: str | None = None,
        weights: Weights = "pretrained",
        layers: Layers = "last",
        frames: Annotated[int, Field(gt=0)] | None = None,
        architecture: Annotated[dict[str, Any] | None, ANY_ORDER] = None,
    ) -> None:
        super().__init__()
        source = Source("hf_video", model, revision)
        found = find_architecture(source, "video", architecture)
        self.kind = str(found.config["model_type"])
        if self.kind == "timesformer" and found.config.get("attention_type", "divided_space_time") != (
            "divided_space_time"
        ):
            raise source.refuse(f"{model} does not divide its attention into time and space")
        self.network = build_network(found, source, weights=weights, layers=layers)
        config = self.network.config
        jepa = self.kind == "vjepa2"
        own, size = (config.frames_per_clip, config.crop_size) if jepa else (config.num_frames, config.image_size)
        self.tubelet = int(getattr(config, "tubelet_size", 1))
        self.window = own if frames is None else frames
        if self.window % self.tubelet or not (jepa or self.window == own):
            fits = f"multiples of {self.tubelet}" if jepa else str(own)
            message = f"{model} takes windows of {fits} frames, not of {frames}"
            raise RecipeError([Problem("frames", message)], source="hf_video")
        self.least = self.window
        with refuse_what_fails(source):
            self.images = Images(
                in_shape,
                found.preparation,
                size=size,
                normal=IMAGENET,
                channels=int(config.in_chans if jepa else config.num_channels),
                source="hf_video",
            )
        self.states = HiddenStates(layers, count_layers(self.network, found.family))
        self.out_shape = (int(config.hidden_size),)

    def encode_windows(self, windows: Tensor, sizes: Tensor | None) -> Tensor:
        """Encodes windows of frames."""
        rows = windows.shape[0]
        if sizes is not None:  # copies of the last frame fill a window
            last = (sizes.clamp(min=1) - 1)[:, None]
            place = torch.minimum(torch.arange(windows.shape[1], device=windows.device), last)
            windows = windows[torch.arange(rows, device=windows.device)[:, None], place]
        images = self.images(windows.flatten(0, 1))
        films = rearrange(images, "(rows time) ... -> rows time ...", time=self.window)
        if self.kind == "vjepa2":
            tokens = self.states.take(self.network, films, skip_predictor=True)
        else:
            tokens = self.states.take(self.network, films)
        times = self.window // self.tubelet
        if self.kind == "timesformer":  # a class token, then the times of the first patch, and so on
            over: Tensor = reduce(tokens[:, 1:], "rows (space times) width -> rows times width", "mean", times=times)
        else:
            over = reduce(tokens, "rows (times space) width -> rows times width", "mean", times=times)
        return over

    def count_encoded(self, sizes: Tensor) -> Tensor:
        """Counts the vectors of windows."""
        return (sizes + (self.tubelet - 1)) // self.tubelet
