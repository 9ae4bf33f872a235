"""Activations and normalisations by name, the layers of encoders."""

from __future__ import annotations

from typing import Literal

from torch import nn

from fusionkit.nn.layers import FeatureNorm

ActivationName = Literal["relu", "gelu", "silu", "elu", "tanh"]
NormName = Literal["none", "batch", "layer"]

_ACTIVATIONS: dict[ActivationName, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
}


def make_activation(name: ActivationName) -> nn.Module:
    """Makes the activation of a name."""
    return _ACTIVATIONS[name]()


def make_norm(name: NormName, features: int) -> nn.Module:
    """Makes the normalisation of a name: over the packed elements of the batch, over each vector, or none."""
    if name == "batch":
        return FeatureNorm(features)
    return nn.LayerNorm(features) if name == "layer" else nn.Identity()
