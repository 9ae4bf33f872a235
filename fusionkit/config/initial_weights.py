"""The start of a recipe's encoders: weights of a file, weights that timm brings, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOTHING = "nothing"


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


def describe_starts(starts: Mapping[str, str]) -> str:
    """Says what encoders start from, for a reader of results; empty where none could start from anything."""
    return "; ".join(f"{modality} from {start}" for modality, start in starts.items())


def _find_start(encoder: Mapping[str, Any]) -> str:
    if encoder["weights"] is not None:
        return str(encoder["weights"])
    return f"timm's weights of {encoder['model']}" if encoder.get("pretrained") else NOTHING
