"""The one way from a batch to probabilities and numbers: a trained network's answers, branch by branch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from fusionkit.inference.branches import CONSTANT, ENSEMBLE, ENSEMBLE_LOG, ENSEMBLES, FUSED, TrainedBranches
from fusionkit.interfaces import LossHead, ModelOutput, TargetKind
from fusionkit.models.network import FusionModel
from fusionkit.nn.jagged import Jagged

HeadOf = Callable[[str, str | None], LossHead]
"""The loss head of a target, and of a modality or the fused branch; `FusionModel.head` is one."""

ByBranch = dict[str, dict[str, Tensor]]
"""By branch and target, a row per sample."""


def score_batch(model: FusionModel, branches: TrainedBranches, inputs: Mapping[str, Jagged]) -> ModelOutput:
    """Runs the trained branches of a network in evaluation mode on a batch that is on its device."""
    dtype = next(model.parameters()).dtype
    output: ModelOutput = model(
        {name: fit_precision(value, dtype) for name, value in inputs.items()},
        unimodal=bool(branches.unimodal),
        fused=branches.fused,
        modalities=None if branches.fused else tuple(branches.unimodal),
    )
    return output


def fit_precision(value: Jagged, dtype: torch.dtype) -> Jagged:
    """Fits inputs to a network in double precision; whole numbers are the encoders' business."""
    if dtype != torch.float64 or not value.values.is_floating_point():
        return value
    return Jagged.from_sizes(value.values.to(dtype), value.sizes)


def collect_scores(branches: TrainedBranches, outputs: Iterable[ModelOutput]) -> ByBranch:
    """Collects the scores of all branches that have some, of all batches, on the CPU, in single precision at least."""
    given = list(outputs)
    return {
        branch: {target: _join([_of_branch(output, branch)[target] for output in given]) for target in first}
        for branch in branches.names
        if branch not in (*ENSEMBLES, CONSTANT)
        for first in (_of_branch(given[0], branch),)
    }


def distribute(head_of: HeadOf, branches: TrainedBranches, scores: ByBranch, present: Mapping[str, Tensor]) -> ByBranch:
    """Makes distributions of scores, and of those of networks trained alone the ensembles.

    Args:
        head_of: The loss heads, on the device of the scores.
        branches: The branches that are trained.
        scores: As `collect_scores` gives them.
        present: By modality, which samples have it.
    """
    said: ByBranch = {
        branch: {
            target: head_of(target, branch if branch in branches.unimodal else None).distribution(values)
            for target, values in of.items()
        }
        for branch, of in scores.items()
    }
    if branches.ensemble:
        for target in next(iter(said.values())):
            alone, kind = {name: said[name][target] for name in branches.alone}, head_of(target, None).kind
            said.setdefault(ENSEMBLE, {})[target] = average_present(alone, present)
            said.setdefault(ENSEMBLE_LOG, {})[target] = multiply_present(alone, present, kind)
    return said


def find_spoken(branch: str, present: Mapping[str, Tensor]) -> Tensor:
    """Tells which samples a branch speaks of: those with its modality, ensembles of any, all others of all."""
    if branch in (FUSED, CONSTANT):
        return torch.ones(len(next(iter(present.values()))), dtype=torch.bool)
    if branch in ENSEMBLES:
        return torch.stack(list(present.values())).any(dim=0)
    return present[branch]


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


class HeadCopies:
    """Copies of a network's loss heads on the CPU, where distributions are computed as in evaluation."""

    def __init__(self, network: FusionModel, branches: TrainedBranches) -> None:
        self.targets = network.targets
        self._copies = {
            (target, owner): copy.deepcopy(network.head(target, owner)).cpu()
            for target in network.targets
            for owner in (None, *branches.unimodal)
        }

    def find(self, target: str, owner: str | None) -> LossHead:
        """Returns the head of a target, and of a modality or the fused branch."""
        return self._copies[target, owner]


def average_networks(each: Sequence[ByBranch]) -> ByBranch:
    """Returns the mean of what several networks say."""
    return {
        branch: {target: torch.stack([of[branch][target] for of in each]).mean(dim=0) for target in targets}
        for branch, targets in each[0].items()
    }


def _join(scores: Sequence[Tensor]) -> Tensor:
    """Joins scores; probabilities of half precision would have three digits, and not add up to one."""
    joined = torch.cat(list(scores)).cpu()
    return joined.float() if joined.dtype in (torch.bfloat16, torch.float16) else joined


def _of_branch(output: ModelOutput, branch: str) -> Mapping[str, Tensor]:
    return output.fused if branch == FUSED else output.unimodal[branch]
