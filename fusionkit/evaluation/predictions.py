"""A trained network's answers to the reported samples, branch by branch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.failures import name_batch
from fusionkit.evaluation.branches import CONSTANT, ENSEMBLE, ENSEMBLE_LOG, ENSEMBLES, FUSED, TrainedBranches
from fusionkit.evaluation.features import record_fusion, select_stored_features
from fusionkit.interfaces import Batch, ModelOutput, TargetKind
from fusionkit.models.build import FusionModel
from fusionkit.nn.jagged import Jagged

LABELS: Mapping[str, str] = {
    FUSED: "fused",
    ENSEMBLE: "average of networks trained alone",
    ENSEMBLE_LOG: "product of networks trained alone",
    CONSTANT: "constant answer of the training part",
}
"""Origin of every branch that is not a single modality."""


@dataclass(frozen=True)
class Predictions:
    """The answers to every test sample.

    Args:
        sample_ids: The samples, in the order of all rows.
        groups: The group of every sample; its id where it has none.
        present: By modality, which samples have it.
        targets: Encoded targets.
        scores: By branch and target, ``(samples, out_features)``; for branches that have scores.
        distributions: By branch and target; a row of a branch that is not `spoken` means nothing.
        trained: By branch, how it was trained.
        features: What figures of features are drawn from, as `select_stored_features` names it.
    """

    sample_ids: tuple[str, ...]
    groups: tuple[str, ...]
    present: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    scores: Mapping[str, Mapping[str, Tensor]]
    distributions: Mapping[str, Mapping[str, Tensor]]
    trained: Mapping[str, str]
    features: Mapping[str, Tensor]

    def spoken(self, branch: str) -> Tensor:
        """Tells which samples a branch speaks of: those with its modality, ensembles of any, all others of all."""
        if branch in (FUSED, CONSTANT):
            return torch.ones(len(self.sample_ids), dtype=torch.bool)
        if branch in ENSEMBLES:
            return torch.stack(list(self.present.values())).any(dim=0)
        return self.present[branch]

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors for the run folder.

        ``distribution/<target>/<branch>``, ``target/<target>``, ``present/<modality>``, and the features that
        `select_stored_features` names.
        """
        stored = {f"target/{name}": values for name, values in self.targets.items()} | dict(self.features)
        stored |= {f"present/{name}": mask for name, mask in self.present.items()}
        for branch, of in self.distributions.items():
            unspoken = ~self.spoken(branch)[:, None]
            for target, values in of.items():
                stored[f"distribution/{target}/{branch}"] = values.masked_fill(unspoken, torch.nan)
        return stored

    def metadata(self) -> dict[str, str]:
        """Returns sample ids and groups, as JSON lists."""
        return {"samples": json.dumps(self.sample_ids), "groups": json.dumps(self.groups)}


def predict_test_part(
    model: FusionModel, assembly: Assembly, branches: TrainedBranches, device: torch.device
) -> Predictions:
    """Runs the network over the test part, every sample once, in evaluation mode."""
    model = model.to(device).channels_last().eval()
    outputs: list[ModelOutput] = []
    batches: list[Batch] = []
    with torch.inference_mode(), record_fusion(model.fusion) as heard:
        for batch in assembly.loader(assembly.test_ids, training=False):
            batches.append(replace(batch, inputs={}))  # the films of a whole test part do not fit into memory
            with name_batch("evaluation", batch, device):
                outputs.append(run_branches(model, branches, batch.to(device).inputs))
        predictions = gather_predictions(model, assembly, branches, outputs, batches)
    features = select_stored_features(
        {name: torch.cat([output.features[name] for output in outputs]).cpu() for name in predictions.present},
        {name: torch.cat(parts) for name, parts in heard.items()},
        predictions.present,
    )
    return replace(predictions, features=features)


def run_branches(model: FusionModel, branches: TrainedBranches, inputs: Mapping[str, Jagged]) -> ModelOutput:
    """Runs the trained branches of a network in evaluation mode on a batch that is on its device."""
    dtype = next(model.parameters()).dtype
    said: ModelOutput = model(
        {name: convert_inputs(value, dtype) for name, value in inputs.items()},
        unimodal=bool(branches.unimodal),
        fused=branches.fused,
        modalities=None if branches.fused else tuple(branches.unimodal),
    )
    return said


def gather_predictions(
    model: FusionModel,
    assembly: Assembly,
    branches: TrainedBranches,
    outputs: Sequence[ModelOutput],
    batches: Sequence[Batch],
) -> Predictions:
    """Predictions, without features, from what was said of all batches; the network is on the CPU afterwards.

    Args:
        model: The network.
        assembly: The recipe and its data.
        branches: The branches that the outputs hold.
        outputs: What was said, of the samples of `batches` in their order.
        batches: The batches; their inputs are not read.
    """
    sample_ids = tuple(name for batch in batches for name in batch.sample_ids)
    group_of = {row.id: row.group if row.group is not None else row.id for row in assembly.dataset.rows}
    labels = {**LABELS, **branches.unimodal}
    scores = {
        branch: {
            target: torch.cat([_of_branch(output, branch)[target] for output in outputs]).cpu()
            for target in model.targets
        }
        for branch in branches.names
        if branch not in (*ENSEMBLES, CONSTANT)
    }
    present = {name: torch.cat([output.present[name] for output in outputs]).cpu() for name in model.modalities}
    model = model.cpu()
    constant = constant_scores(model, assembly)
    scores[CONSTANT] = {target: constant[target].expand(len(sample_ids), -1) for target in model.targets}
    distributions = {
        branch: {
            target: model.head(target, branch if branch in branches.unimodal else None).distribution(values)
            for target, values in of.items()
        }
        for branch, of in scores.items()
    }
    if branches.ensemble:
        for target in model.targets:
            said, kind = {name: distributions[name][target] for name in branches.alone}, model.head(target).kind
            distributions.setdefault(ENSEMBLE, {})[target] = average_present(said, present)
            distributions.setdefault(ENSEMBLE_LOG, {})[target] = multiply_present(said, present, kind)
    return Predictions(
        sample_ids=sample_ids,
        groups=tuple(group_of[name] for name in sample_ids),
        present=present,
        targets={name: torch.cat([batch.targets[name] for batch in batches]) for name in model.targets},
        scores=scores,
        distributions=distributions,
        trained={name: labels[name] for name in branches.names},
        features={},
    )


def constant_scores(model: FusionModel, assembly: Assembly) -> dict[str, Tensor]:
    """Returns by target the scores of the best answer that looks at no sample, from the training part alone."""
    heads = {target: model.head(target) for target in model.targets}
    dtype = next(model.parameters()).dtype
    return {
        target: head.constant(wanted[head.find_known(wanted)]).to(dtype)
        for target, head in heads.items()
        for wanted in (assembly.training_targets[target],)
    }


def average_present(distributions: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
    r"""Returns the ensemble: the mean of the distributions of the modalities that a sample has; zero where it has none.

    .. math::
        p_i = \frac{\sum_{m \in M_i} p_{m,i}}{|M_i|}

    Example:
        >>> said = {"a": torch.tensor([[1.0], [3.0]]), "b": torch.tensor([[3.0], [0.0]])}
        >>> average_present(said, {"a": torch.tensor([True, True]), "b": torch.tensor([True, False])})
        tensor([[2.],
                [3.]])
    """
    masks = torch.stack([present[name] for name in distributions])[..., None]
    said = torch.stack(list(distributions.values())).masked_fill(~masks, 0.0)
    return said.sum(dim=0) / masks.sum(dim=0).clamp(min=1)


def multiply_present(distributions: Mapping[str, Tensor], present: Mapping[str, Tensor], kind: TargetKind) -> Tensor:
    r"""Returns the ensemble by logarithms: the geometric mean of probabilities, renormalised.

    .. math::
        p_{i,c} = \frac{\exp \frac{1}{|M_i|} \sum_{m \in M_i} \ln p_{m,i,c}}
        {\sum_{c'} \exp \frac{1}{|M_i|} \sum_{m \in M_i} \ln p_{m,i,c'}}

    over the modalities M that a sample has; zero where it has none. Where modalities are nearly independent evidence of
    the class, logarithms of what they say add up, and their mean is too timid. Of labels each is renormalised against
    its absence; of numbers the geometric mean means nothing, and this is their mean.

    Args:
        distributions: By modality, as loss heads give them.
        present: By modality, which samples have it.
        kind: What the target is.

    Source:
        Hinton 2002, https://doi.org/10.1162/089976602760128018 (products of experts); Kittler et al. 1998,
        https://doi.org/10.1109/34.667881, section 2 (the product rule; there without the root).

    Example:
        >>> said = {"a": torch.tensor([[0.9, 0.1]]), "b": torch.tensor([[0.5, 0.5]])}
        >>> multiply_present(said, dict.fromkeys(said, torch.tensor([True])), "classes")
        tensor([[0.7500, 0.2500]])
    """
    if kind == "numbers":
        return average_present(distributions, present)
    least = {name: torch.finfo(said.dtype).tiny for name, said in distributions.items()}
    logs = {name: said.clamp(min=least[name]).log() for name, said in distributions.items()}
    if kind == "classes":
        pooled = average_present(logs, present).softmax(dim=1)
    else:
        absent = {name: (1 - said).clamp(min=least[name]).log() for name, said in distributions.items()}
        pooled = (average_present(logs, present) - average_present(absent, present)).sigmoid()
    anyone = torch.stack([present[name] for name in distributions]).any(dim=0)
    return pooled.masked_fill(~anyone[:, None], 0.0)


def _of_branch(output: ModelOutput, branch: str) -> Mapping[str, Tensor]:
    return output.fused if branch == FUSED else output.unimodal[branch]


def convert_inputs(value: Jagged, dtype: torch.dtype) -> Jagged:
    """Inputs in double precision for a network in double precision; whole numbers are the encoders' business."""
    if dtype != torch.float64 or not value.values.is_floating_point():
        return value
    return Jagged.from_sizes(value.values.to(dtype), value.sizes)
