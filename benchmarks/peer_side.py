"""The peer's side of `peers.py`: loads weights and inputs into a public implementation and writes what it gives.

Usage: python benchmarks/peer_side.py CASE GIVEN.npz SAID.npz, with the peer's package on PYTHONPATH
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Arrays = Mapping[str, NDArray[np.float64]]


def pykale_low_rank(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`kale.embed.multimodal_fusion.LowRankTensorFusion` on ``feature0``, ``feature1``, ... ."""
    fusion = importlib.import_module("kale.embed.multimodal_fusion").LowRankTensorFusion
    features = _numbered(given, "feature")
    factors = _numbered(given, "factor")
    rank, _, width = factors[0].shape
    module = fusion([feature.shape[1] for feature in features], width, rank)
    module.factors = factors
    module.fusion_weights, module.fusion_bias = nn.Parameter(given["weights"]), nn.Parameter(given["bias"])
    return {"fused": module(features)}


def mmsa_tensor(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`MMSA.models.singleTask.TFN.TFN`: its features before fusion, and their outer product."""
    said = _mmsa("TFN", text_out=3, post_fusion_dim=4)(*_numbered(given, "input"))
    return {**_mmsa_features(said), "fused": said["Feature_f"]}


def mmsa_low_rank(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`MMSA.models.singleTask.LMF.LMF`: its features before fusion, its weights, and what it fuses them to."""
    model = _mmsa("LMF", rank=4)
    model.fusion_bias.data.normal_()
    said = model(*_numbered(given, "input"))
    factors = {f"factor{place}": getattr(model, f"{name}_factor") for place, name in enumerate(ORDER)}
    weights = {"weights": model.fusion_weights, "bias": model.fusion_bias}
    return {**_mmsa_features(said), **factors, **weights, "fused": said["M"]}


ORDER = ("audio", "video", "text")


def _mmsa_features(said: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"feature{place}": said[f"Feature_{name[0]}"] for place, name in enumerate(ORDER)}


def _mmsa(name: str, **options: Any) -> Any:
    """A network of MMSA in evaluation mode and double precision, its weights drawn.

    Only the files of the network are run: the package itself imports what its data sets and text models need.
    """
    root = next(Path(place) for place in sys.path if (Path(place) / "MMSA").is_dir()) / "MMSA"
    for package in ("MMSA", "MMSA.models", "MMSA.models.singleTask", "MMSA.models.subNets"):
        module = sys.modules[package] = ModuleType(package)
        module.__path__ = [str(root.joinpath(*package.split(".")[1:]))]
    nets = importlib.import_module("MMSA.models.subNets.FeatureNets")
    subnets: Any = sys.modules["MMSA.models.subNets"]
    subnets.SubNet, subnets.TextSubNet = nets.SubNet, nets.TextSubNet
    whole = SimpleNamespace(
        feature_dims=(5, 6, 7),
        hidden_dims=(8, 4, 3),
        num_classes=5,
        train_mode="classification",
        dropouts=(0.1, 0.1, 0.1, 0.1),
        **options,
    )
    torch.manual_seed(0)
    return getattr(importlib.import_module(f"MMSA.models.singleTask.{name}"), name)(whole).double().eval()


def _numbered(given: Mapping[str, Tensor], name: str) -> list[Tensor]:
    return [given[f"{name}{place}"] for place in range(sum(each.startswith(name) for each in given))]


CASES: Mapping[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    "pykale_low_rank": pykale_low_rank,
    "mmsa_low_rank": mmsa_low_rank,
    "mmsa_tensor": mmsa_tensor,
}


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    case, source, target = sys.argv[1:]
    arrays: Arrays = dict(np.load(source))
    with torch.no_grad():
        found = CASES[case]({name: torch.from_numpy(array) for name, array in arrays.items()})
    np.savez(target, **{name: tensor.detach().numpy() for name, tensor in found.items()})
