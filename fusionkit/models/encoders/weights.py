"""Pretrained encoders: files of exactly a network's tensors, checked before any of them is taken."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from fusionkit.config.shipped_recipes import list_shipped_recipes
from fusionkit.errors import FusionKitError, RunError, ShapeError
from fusionkit.storage.tensor_files import read_tensors


def load_weights(network: nn.Module, given: str, *, source: str, adapt_channels: bool = False) -> None:
    r"""Gives a network the tensors of a file, which must be exactly its own.

    With `adapt_channels` the first convolution may see another number of channels, one of the two being 1:

    .. math::
        W'_{o,c} = W_{o,1} / C \quad (1 \to C), \qquad W'_{o,1} = \sum_{c=1}^{C} W_{o,c} \quad (C \to 1)

    so that a grey image, repeated over its channels or not, has the response that it had before.

    Args:
        network: The network.
        given: The safetensors file. Names may begin with ``network.``, as those of an exported encoder do.
        source: The encoder, for error messages.
        adapt_channels: Whether input channels may be adapted; otherwise another number of them is an error.

    Raises:
        RunError: The file is missing (the message says which command makes it, where a shipped recipe does), damaged,
            or lacks or adds tensors.
        ShapeError: A tensor has another shape.
    """
    path = Path(os.path.expanduser(given))
    if not os.path.isfile(path):
        raise RunError(f"{source}: weights {path} do not exist; {explain_origin(path)}")
    tensors: Mapping[str, Tensor] = read_weights(path, source=source)
    if tensors and all(name.startswith("network.") for name in tensors):
        tensors = {name.removeprefix("network."): tensor for name, tensor in tensors.items()}
    own = network.state_dict()
    _check_names(own, tensors, f"{source}: {path}")
    tensors = _adapt(own, tensors, f"{source}: {path}", adapt_channels)
    network.load_state_dict(dict(tensors))


def read_weights(path: Path, *, source: str) -> Mapping[str, Tensor]:
    """Reads the tensors of a file, checked against its hash where it carries one."""
    try:
        with safe_open(path, framework="pt") as file:
            sealed = "sha256" in (file.metadata() or {})
        tensors: Mapping[str, Tensor] = read_tensors(path)[0] if sealed else load_file(path)
    except (FusionKitError, MemoryError):
        raise
    except Exception as error:  # whatever safetensors raises of somebody's file
        raise RunError(f"{source}: {path} is not a safetensors file, or damaged ({error})") from error
    return tensors


def explain_origin(path: Path) -> str:
    """Names the command that leaves this file of weights, where the run folder is named as a shipped recipe."""
    for name in list_shipped_recipes():
        if name.rsplit("/", 1)[-1] == path.parent.name:
            return f"make it with `fusionkit train {name} --out {path.parent}`"
    return "an encoder is what `train.export: [modality]` leaves in the folder of a finished run"


def _check_names(own: Mapping[str, Tensor], given: Mapping[str, Tensor], place: str) -> None:
    differences = (("missing", sorted(own.keys() - given.keys())), ("unexpected", sorted(given.keys() - own.keys())))
    found = [f"{what}: {list_names(names)}" for what, names in differences if names]
    if found:
        raise RunError(
            f"{place} does not hold this network's tensors; {'; '.join(found)}. "
            "It needs the same model and no classifier"
        )


def _adapt(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], place: str, adapt_channels: bool
) -> Mapping[str, Tensor]:
    different = [name for name in own if own[name].shape != given[name].shape]
    if not different:
        return given
    first = different[0]
    wanted, there = own[first].shape, given[first].shape
    if len(different) == 1 and _differ_in_input_channels(wanted, there):
        if adapt_channels:
            return {**given, first: _convert_channels(given[first], wanted[1])}
        raise ShapeError(
            f"{place}: was trained on images of {there[1]} channels, these have {wanted[1]}; "
            "set adapt_channels: true to convert its first convolution"
        )
    raise ShapeError(f"{place}: {first} has shape {tuple(there)}, the network's is {tuple(wanted)}")


def _differ_in_input_channels(wanted: torch.Size, there: torch.Size) -> bool:
    same = len(wanted) == len(there) == 4 and wanted[0] == there[0] and wanted[2:] == there[2:]
    return same and 1 in (wanted[1], there[1])


def _convert_channels(kernel: Tensor, channels: int) -> Tensor:
    if channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    return kernel.expand(-1, channels, -1, -1) / channels


def list_names(names: list[str]) -> str:
    """Lists the first names, and says how many there are more."""
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"
