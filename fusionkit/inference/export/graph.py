"""The network as one module of padded tensors, from raw elements to probabilities and numbers in the user's unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fusionkit.inference.branches import ENSEMBLE, ENSEMBLE_LOG, FUSED
from fusionkit.inference.export.forms import Engine, Padded, find_form
from fusionkit.inference.export.trained import TrainedNetwork
from fusionkit.interfaces import LossHead, Transform
from fusionkit.models.branch import Branch
from fusionkit.models.network import FusionModel


class BranchGraph(nn.Module):
    """One modality, from its raw elements to its features.

    Args:
        branch: Its branch.
        transforms: Its transforms.
        engine: What runs the graph.

    Raises:
        ExportError: A transform, an encoder or the aggregator has no form.
    """

    def __init__(self, branch: Branch, transforms: Sequence[Transform], engine: Engine) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(find_form(each, engine) for each in transforms)
        self.encoders = nn.ModuleList(find_form(each, engine) for each in branch.encoders)
        self.aggregator, self.norm = find_form(branch.aggregator, engine), branch.norm

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Padded]:
        """Returns features ``(batch, features)``, which mean nothing where absent, and the encoded sequences."""
        sequence = Padded(values, lengths)
        for step in (*self.transforms, *self.encoders):
            sequence = step(sequence)
        return self.norm(self.aggregator(sequence.keep_one())), sequence


class MemberGraph(nn.Module):
    """One network: all modalities, the fusion, and what every trained branch says of every target.

    Args:
        network: What is exported.
        model: The network.
        engine: What runs the graph.

    Raises:
        ExportError: A component has no form.
    """

    def __init__(self, network: TrainedNetwork, model: FusionModel, engine: Engine) -> None:
        super().__init__()
        self.network, self.modalities = network, model.modalities
        self.branches = nn.ModuleList(
            BranchGraph(model.branch(name), network.transforms.get(name, ()), engine) for name in self.modalities
        )
        self.own = nn.ModuleList(model.branches[name] for name in self.modalities)
        self.placeholders = nn.ParameterList(model.placeholders[f"of_{name}"] for name in self.modalities)
        self.fusion = find_form(model.fusion, engine) if network.fused else None
        self.heads = model.heads

    def forward(self, *arrays: Tensor) -> dict[tuple[str, str], Tensor]:
        """Returns distributions by branch and target."""
        features, sequences, present = {}, {}, {}
        for place, (name, branch) in enumerate(zip(self.modalities, self.branches, strict=True)):
            values, lengths = arrays[2 * place], arrays[2 * place + 1]
            features[name], sequences[name] = branch(values, lengths)
            present[name] = lengths > 0
        said: dict[tuple[str, str], Tensor] = {}
        if self.fusion is not None:
            pairs = zip(self.modalities, self.placeholders, strict=True)
            filled = {name: torch.where(present[name][:, None], features[name], of) for name, of in pairs}
            vector = self.fusion(filled, present, sequences)
            said |= {(FUSED, target): _distribute(head, vector) for target, head in self.heads.items()}
        for name, branch in zip(self.modalities, self.own, strict=True):
            if name in self.network.unimodal:
                assert isinstance(branch, Branch)
                for target, head in branch.heads.items():
                    spoken = _distribute(head, features[name])
                    said[name, target] = torch.where(present[name][:, None], spoken, torch.nan)
        if self.network.ensemble:
            said |= pool_answers(said, present, self.network)
        return said


class NetworkGraph(nn.Module):
    """The whole graph: what one network says, or the mean of what several say, and what is predicted by it.

    Inputs are, by modality in order, elements ``(batch, time, *element)`` and lengths ``(batch,)``. Outputs are, in the
    order of `outputs`, probabilities or numbers, and then, in the same order, predictions. What a branch says of a
    sample without its modality is NaN.

    Args:
        network: What is exported.
        engine: What runs the graph.

    Raises:
        ExportError: A component has no form.
    """

    def __init__(self, network: TrainedNetwork, engine: Engine) -> None:
        super().__init__()
        self.members = nn.ModuleList(MemberGraph(network, model, engine) for model in network.models)
        self.heads, self.outputs = network.model.heads, network.outputs

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Returns distributions, and then predictions."""
        each = [member(*arrays) for member in self.members]
        said = each[0] if len(each) == 1 else average_members(each)
        chosen = [said[key] for key in self.outputs]
        predicted = [self._predict(target, said[branch, target]) for branch, target in self.outputs]
        return (*chosen, *predicted)

    def _predict(self, target: str, distribution: Tensor) -> Tensor:
        head = self.heads[target]
        assert isinstance(head, LossHead)
        return head.predict(distribution)


def average_members(each: Sequence[Mapping[tuple[str, str], Tensor]]) -> dict[tuple[str, str], Tensor]:
    """Returns the mean of what several networks say, by branch and target."""
    return {key: torch.stack([said[key] for said in each]).mean(dim=0) for key in each[0]}


def pool_answers(
    said: Mapping[tuple[str, str], Tensor], present: Mapping[str, Tensor], network: TrainedNetwork
) -> dict[tuple[str, str], Tensor]:
    """Returns the ensembles: the means of what the modalities of a sample say, and of the logarithms of that.

    Args:
        said: By modality and target, probabilities or numbers.
        present: By modality, which samples have it.
        network: The network.
    """
    found = {}
    masks = torch.stack([present[name] for name in network.unimodal])[..., None]
    for target, head in network.model.heads.items():
        assert isinstance(head, LossHead)
        each = torch.stack([said[name, target] for name in network.unimodal])
        found[ENSEMBLE, target] = found[ENSEMBLE_LOG, target] = _average(each, masks)
        tiny = torch.finfo(each.dtype).tiny
        if head.kind == "classes":
            found[ENSEMBLE_LOG, target] = _average(each.clamp(min=tiny).log(), masks).softmax(dim=1)
        elif head.kind == "labels":
            odds = each.clamp(min=tiny).log() - (1 - each).clamp(min=tiny).log()
            found[ENSEMBLE_LOG, target] = _average(odds, masks).sigmoid()
    return found


def _distribute(head: nn.Module, features: Tensor) -> Tensor:
    assert isinstance(head, LossHead)
    distribution: Tensor = head.distribution(head(features))
    return distribution


def _average(each: Tensor, masks: Tensor) -> Tensor:
    """Returns the mean over modalities that a sample has; NaN where it has none."""
    return torch.where(masks, each, 0.0).sum(dim=0) / masks.sum(dim=0)
