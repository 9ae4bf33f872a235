"""Pretrained networks of text as encoders of token ids."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import ENCODERS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.errors import Problem, RecipeError, ShapeError
from fusionkit.models.encoders.pretrained.architecture import find_architecture
from fusionkit.models.encoders.pretrained.hub import Source
from fusionkit.models.encoders.pretrained.network import HiddenStates, Layers, Weights, build_network, count_layers
from fusionkit.models.encoders.pretrained.windows import WindowEncoder

_SHIFTED = ("roberta", "xlm-roberta", "mpnet")
"""Families whose positions begin behind the id of padding."""


@ENCODERS.register("hf_text")
class HfText(WindowEncoder):
    r"""A pretrained network of text: token ids to a vector each.

    .. math::
        F(x)_t = h\bigl(\mathrm{Network}(x)\bigr)_t

    For networks of transformers: BERT, RoBERTa, XLM-R, MPNet, DistilBERT, ModernBERT, and sentence models made of them,
    whose vector of a sentence is the mean over tokens (aggregator ``mean``). Ids are whole numbers of the network's own
    tokenizer, special tokens among them. A text of more tokens than a window is cut into several, one behind the other,
    which are encoded one by one. A text's vectors do not depend on the other texts of its batch.

    Args:
        in_shape: Shape of an id, ``()``.
        model: Name on the Hugging Face hub, or a folder with config.json. What was downloaded is used without asking.
        revision: Branch, tag or commit of a name; null for the main branch. A training writes the commit here.
        weights: ``pretrained``, ``none`` for random numbers, or a safetensors file: of the network, of a larger one
            that holds it, or of this encoder (``train.export``).
        layers: ``last``; the number of a layer whose output is taken, without those above it; ``weighted`` for a
            learned sum of all hidden states.
        window: Tokens of the longest window, at least 2; null for as many as the network has positions.
        architecture: The network's config as plain data. Leave it out: a training writes it into the run, which then
            needs neither hub nor folder.

    Raises:
        ShapeError: `in_shape` is no id.
        RecipeError: transformers is not installed, the model is not there, is no network for text, or has no such layer
            or window.
        RunError: `weights` is missing, damaged, or lacks tensors.

    Source:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805; Liu et al. 2019, https://arxiv.org/abs/1907.11692; Conneau
        et al. 2020, https://arxiv.org/abs/1911.02116; Song et al. 2020, https://arxiv.org/abs/2004.09297; Warner et al.
        2024, https://arxiv.org/abs/2412.13663; sentences: Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084.

    Example:
        >>> config = {"model_type": "bert", "hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2}
        >>> written = {"config": config}  # as a run holds it; transformers is imported here
        >>> HfText((), model="tiny", weights=None, architecture=written).out_shape
        (48,)
    """

    signal = "text"
    whole_numbers = (torch.int64, torch.int32)

    def __init__(
        self,
        in_shape: tuple[int, ...],
        *,
        model: str,
        revision: str | None = None,
        weights: Weights = "pretrained",
        layers: Layers = "last",
        window: Annotated[int, Field(ge=2)] | None = None,
        architecture: Annotated[dict[str, Any] | None, ANY_ORDER] = None,
    ) -> None:
        super().__init__()
        if tuple(in_shape) != ():
            raise ShapeError(f"hf_text: an element of shape {tuple(in_shape)} is not the id of a token, ()")
        source = Source("hf_text", model, revision)
        found = find_architecture(source, "text", architecture)
        self.network = build_network(found, source, weights=weights, layers=layers)
        config = self.network.config
        self.first = config.pad_token_id + 1 if found.config["model_type"] in _SHIFTED else 0
        positions = config.max_position_embeddings - self.first
        if window is not None and window > positions:
            message = f"{model} has {positions} positions, too few for windows of {window}"
            raise RecipeError([Problem("window", message)], source="hf_text")
        self.window, self.least = window or positions, 1
        self.states = HiddenStates(layers, count_layers(self.network, found.family))
        self.out_shape = (int(config.hidden_size),)

    def encode_windows(self, windows: Tensor, sizes: Tensor | None) -> Tensor:
        """Encodes windows of ids."""
        options: dict[str, Tensor] = {}
        place = torch.arange(windows.shape[1], device=windows.device)
        if self.first:  # the network would count from the ids, and miss those that are padding's
            options["position_ids"] = (place + self.first)[None]
        if sizes is not None:
            options["attention_mask"] = place < sizes.clamp(min=1)[:, None]
        return self.states.take(self.network, windows, **options)

    def count_encoded(self, sizes: Tensor) -> Tensor:
        """Counts the vectors of windows, as many as there are ids."""
        return sizes
