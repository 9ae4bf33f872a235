"""The start of a recipe's encoders: weights of a file, pretrained weights of a library, or nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from fusionkit.config.schema import Recipe

NOTHING = "nothing"

PRETRAINED = "pretrained"
"""The ``weights`` of an encoder that starts from those of its model, and from no file."""


def find_starts(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Returns by modality what its encoder starts from, of modalities whose encoders could start from something.

    Args:
        recipe: A complete recipe as plain data.

    Example:
        >>> timm = {"type": "timm", "model": "resnet18", "weights": None, "pretrained": True}
        >>> audio = {"encoder": [{"type": "spectrogram"}, timm]}
        >>> find_starts({"model": {"modalities": {"audio": audio, "units": {"encoder": [{"type": "mlp"}]}}}})
        {'audio': "timm's weights of resnet18"}
    """
    found = {}
    for modality, of in recipe.get("model", {}).get("modalities", {}).items():
        able = [encoder for encoder in of.get("encoder", ()) if "weights" in encoder]
        if able:
            starts = [_find_start(encoder) for encoder in able]
            found[modality] = ", ".join(start for start in starts if start != NOTHING) or NOTHING
    return found


def list_weight_files(recipe: Recipe) -> Iterator[Path]:
    """Yields the files that the encoders of a recipe start from."""
    for modality in recipe.model.modalities.values():
        for encoder in modality.encoder:
            if isinstance(weights := encoder.options.get("weights"), str) and weights != PRETRAINED:
                yield Path(os.path.expanduser(weights))


def drop_weights(recipe: Recipe, files: Collection[Path] | None = None) -> Recipe:
    """Returns a recipe whose encoders start from nothing.

    For a network whose own weights are loaded at once, and for a look at its size: neither needs the files.

    Args:
        recipe: The recipe.
        files: Only encoders that start from one of these files; when left out all, those of pretrained weights too.
    """
    modalities = {}
    for name, modality in recipe.model.modalities.items():
        encoders = []
        for encoder in modality.encoder:
            weights = encoder.options.get("weights")
            if files is None:
                off = {"weights": None, "pretrained": False}
                encoders.append(encoder.model_copy(update={key: off[key] for key in off if key in encoder.options}))
            elif isinstance(weights, str) and Path(os.path.expanduser(weights)) in files:
                encoders.append(encoder.model_copy(update={"weights": None}))
            else:
                encoders.append(encoder)
        modalities[name] = modality.model_copy(update={"encoder": tuple(encoders)})
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"modalities": modalities})})


def describe_starts(starts: Mapping[str, str]) -> str:
    """Says what encoders start from, for a reader of results; empty where none could start from anything."""
    return "; ".join(f"{modality} from {start}" for modality, start in starts.items())


def _find_start(encoder: Mapping[str, Any]) -> str:
    if encoder["weights"] == PRETRAINED:
        return f"the weights of {encoder['model']}"
    if encoder["weights"] is not None:
        return str(encoder["weights"])
    return f"timm's weights of {encoder['model']}" if encoder.get("pretrained") else NOTHING
