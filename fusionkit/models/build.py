"""From a spec to the network: the only place that wires widths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusionkit.config.components.registry import REGISTRIES
from fusionkit.config.documents import read_document
from fusionkit.config.model_completion import complete_model, is_complete
from fusionkit.config.recipe import build_component, build_head, check_document, load_recipe
from fusionkit.config.schema import ModalitySpec, ModelSpec, Recipe
from fusionkit.errors import FusionKitError, Problem, RecipeError, ShapeError
from fusionkit.interfaces import Aggregator, Dataset, Encoder, Fusion, LossHead
from fusionkit.models.branch import Branch
from fusionkit.models.network import FusionModel
from fusionkit.nn.memory import explain_full_memory

__all__ = ["FusionModel", "build"]


def build(spec: ModelSpec | Recipe | Mapping[str, Any] | str | Path, dataset: Dataset | None = None) -> FusionModel:
    """Builds the network of a model spec or of a recipe.

    Args:
        spec: A `ModelSpec` or `Recipe`, a mapping of either, or a recipe's path or shipped name.
        dataset: What says shapes of elements and classes of targets where the spec leaves them out; a recipe's own
            dataset is opened where they are needed and none is given.

    Raises:
        RecipeError: Every problem of the spec, with place, value and remedy.

    Example:
        >>> model = build({
        ...     "modalities": {"audio": {"shape": [8], "encoder": "mlp"}, "video": {"shape": [4], "encoder": "mlp"}},
        ...     "targets": {"emotion": {"type": "classification", "classes": ["calm", "happy", "sad"]}},
        ... })
        >>> model.eval()({"audio": torch.zeros(2, 8), "video": torch.zeros(2, 5, 4)}).fused["emotion"].shape
        torch.Size([2, 3])
    """
    if isinstance(spec, ModelSpec):
        spec = spec.model_dump(mode="json")
    if isinstance(spec, Mapping) and "model" not in spec:
        model = check_document(ModelSpec, read_document(spec)[0])
        return _wire(complete_model(model, dataset) if dataset else model)
    recipe = load_recipe(spec)
    if dataset is None and not is_complete(recipe.model):
        dataset = build_component(recipe.data.dataset)
    return _wire(complete_model(recipe.model, dataset) if dataset else recipe.model)


def _wire(spec: ModelSpec) -> FusionModel:
    # Parts draw their initial weights as they are built, so their order belongs to what a seed means.
    problems: list[Problem] = []
    branches: dict[str, Branch] = {}
    for name, modality in spec.modalities.items():
        try:
            with explain_full_memory(_make_width_error):
                branches[name] = _wire_branch(spec, modality, problems)
        except (FusionKitError, ValueError) as error:
            problems.append(Problem(f"model.modalities.{name}", str(error)))
    fusion, heads = None, {}
    # The fusion is wired by the widths of all branches, so a wrong one hides what is wrong with it.
    if len(branches) == len(spec.modalities):
        try:
            with explain_full_memory(_make_width_error):
                fusion = _wire_fusion(spec, branches)
                heads = _wire_heads(spec, fusion.out_features, spec.fused_hidden, fusion.blocks, problems)
        except (FusionKitError, ValueError) as error:
            problems.append(Problem("model.fusion", str(error)))
    if problems or fusion is None:
        raise RecipeError(list(dict.fromkeys(problems)))  # a head is built once per branch: one mistake, one problem
    return FusionModel(branches, fusion, heads)


def _make_width_error() -> ShapeError:
    return ShapeError("its weights do not fit into this machine's memory; make its layers narrower")


def _wire_fusion(spec: ModelSpec, branches: Mapping[str, Branch]) -> Fusion:
    wired = [{name: branch.out_features for name, branch in branches.items()}]
    if REGISTRIES["fusion"].get(spec.fusion.type).cls.reads_sequences:
        wired.append({name: branch.encoded_shape[0] for name, branch in branches.items()})
    fusion: Fusion = build_component(spec.fusion, *wired)
    return fusion


def _wire_branch(spec: ModelSpec, modality: ModalitySpec, problems: list[Problem]) -> Branch:
    if modality.shape is None:
        raise ShapeError("the shape of an element is not known; state `shape:` or give the dataset")
    shape, encoders = modality.shape, []
    for encoder_spec in modality.encoder:
        encoder: Encoder = build_component(encoder_spec, shape)
        if modality.recompute:
            encoder.recompute_activations()
        encoders.append(encoder)
        shape = tuple(encoder.out_shape)
    if len(shape) != 1:
        raise ShapeError(
            f"the encoder {modality.encoder[-1].type!r} gives elements of shape {shape}, an aggregator reads vectors; "
            "add an encoder that gives vectors, such as mlp or timm"
        )
    aggregator: Aggregator = build_component(modality.aggregator, shape[0])
    heads: dict[str, LossHead] = {}
    if spec.unimodal_heads:
        width = aggregator.out_features
        heads = _wire_heads(spec, width, spec.unimodal_hidden, (width,), problems)
    return Branch(modality.shape, encoders, aggregator, heads, dropout=spec.dropout, chunk=modality.chunk)


def _wire_heads(
    spec: ModelSpec, in_features: int, hidden: int | None, blocks: tuple[int, ...] | None, problems: list[Problem]
) -> dict[str, LossHead]:
    heads = {}
    for name, target in spec.targets.items():
        if blocks is None and REGISTRIES["loss_head"].get(target.type).cls.reads_blocks:
            message = f"{target.type} reads each modality by itself, and the fusion {spec.fusion.type} mixes them"
            remedy = "take a fusion that puts them side by side, such as concat, or another loss head"
            problems.append(Problem(f"model.targets.{name}", message, remedy))
            continue
        try:
            heads[name] = build_head(target, in_features, hidden, *(blocks or ()))
        except (FusionKitError, ValueError) as error:
            problems.append(Problem(f"model.targets.{name}", str(error)))
    return heads
