"""A trained network's answers to the reported samples, branch by branch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.failures import name_batch
from fusionkit.evaluation.features import record_fusion, select_stored_features
from fusionkit.inference.branches import CONSTANT, ENSEMBLE, ENSEMBLE_LOG, FUSED, TrainedBranches
from fusionkit.inference.scoring import collect_scores, distribute, find_spoken, score_batch
from fusionkit.interfaces import Batch, ModelOutput
from fusionkit.models.build import FusionModel

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
        return find_spoken(branch, self.present)

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
    model: FusionModel,
    assembly: Assembly,
    branches: TrainedBranches,
    device: torch.device,
    trained_on: Mapping[str, Tensor] | None = None,
) -> Predictions:
    """Runs the network over the test part, see `predict_samples`."""
    return predict_samples(model, assembly, assembly.test_ids, branches, device, trained_on=trained_on)


def predict_samples(
    model: FusionModel,
    assembly: Assembly,
    ids: Sequence[str],
    branches: TrainedBranches,
    device: torch.device,
    *,
    trained_on: Mapping[str, Tensor] | None = None,
) -> Predictions:
    """Runs the network over some samples, every one once, in evaluation mode.

    Args:
        model: The network.
        assembly: The recipe and its data.
        ids: The samples.
        branches: The branches that are trained.
        device: Where to compute.
        trained_on: Encoded targets of the training, for the constant answer; those of the assembly when left out.
    """
    model = model.to(device).channels_last().eval()
    outputs: list[ModelOutput] = []
    batches: list[Batch] = []
    with torch.inference_mode(), record_fusion(model.fusion) as heard:
        for batch in assembly.loader(ids, training=False):
            batches.append(replace(batch, inputs={}))  # the films of a whole test part do not fit into memory
            with name_batch("evaluation", batch, device):
                outputs.append(score_batch(model, branches, batch.to(device).inputs))
        predictions = gather_predictions(model, assembly, branches, outputs, batches, trained_on=trained_on)
    features = select_stored_features(
        {name: torch.cat([output.features[name] for output in outputs]).cpu() for name in predictions.present},
        {name: torch.cat(parts) for name, parts in heard.items()},
        predictions.present,
    )
    return replace(predictions, features=features)


def gather_predictions(
    model: FusionModel,
    assembly: Assembly,
    branches: TrainedBranches,
    outputs: Sequence[ModelOutput],
    batches: Sequence[Batch],
    *,
    trained_on: Mapping[str, Tensor] | None = None,
) -> Predictions:
    """Predictions, without features, from what was said of all batches; the network is on the CPU afterwards.

    Args:
        model: The network.
        assembly: The recipe and its data.
        branches: The branches that the outputs hold.
        outputs: What was said, of the samples of `batches` in their order.
        batches: The batches; their inputs are not read.
        trained_on: Encoded targets of the training, for the constant answer, none where they are not known; those of
            the assembly when left out.
    """
    sample_ids = tuple(name for batch in batches for name in batch.sample_ids)
    group_of = {row.id: row.group if row.group is not None else row.id for row in assembly.dataset.rows}
    labels = {**LABELS, **branches.unimodal}
    scores = collect_scores(branches, outputs)
    present = {name: torch.cat([output.present[name] for output in outputs]).cpu() for name in model.modalities}
    model = model.cpu()
    if trained_on is None:
        trained_on = assembly.training_targets
    if trained_on:
        constant = constant_scores(model, trained_on)
        scores[CONSTANT] = {target: constant[target].expand(len(sample_ids), -1) for target in model.targets}
    return Predictions(
        sample_ids=sample_ids,
        groups=tuple(group_of[name] for name in sample_ids),
        present=present,
        targets={name: torch.cat([batch.targets[name] for batch in batches]) for name in model.targets},
        scores=scores,
        distributions=distribute(model.head, branches, scores, present),
        trained={name: labels[name] for name in branches.names if name != CONSTANT or trained_on},
        features={},
    )


def constant_scores(model: FusionModel, trained_on: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns by target the scores of the best answer that looks at no sample, from the training part alone."""
    heads = {target: model.head(target) for target in model.targets}
    dtype = next(model.parameters()).dtype
    return {
        target: head.constant(wanted[head.find_known(wanted)]).to(dtype)
        for target, head in heads.items()
        for wanted in (trained_on[target],)
    }
