"""Targets that are classes: names, weights and figures of merit."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fusionkit.errors import Problem, RecipeError, suggest_names
from fusionkit.interfaces import share

ECE_BINS = 15

ACCURACY, RECALL, F1 = share("accuracy", of_samples=True), share("uar"), share("f1")
CALIBRATION = share("ece", higher_is_better=False)


def check_names(kind: str, option: str, names: tuple[str, ...], least: int) -> None:
    """Refuses too few and repeated names.

    Raises:
        RecipeError: There are fewer than `least` names, or one stands twice.
    """
    if len(names) < least:
        remedy = f"list at least {least}; they may be left out only where the dataset states them"
        given = f"{len(names)} given ({', '.join(names)})" if names else "0 given"
        raise RecipeError([Problem(option, given, remedy)], source=kind)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise RecipeError(
            [Problem(option, f"{', '.join(repeated)} given more than once", "list each once")], source=kind
        )


def order_weights(kind: str, option: str, weights: Mapping[str, float], names: tuple[str, ...]) -> tuple[float, ...]:
    """Returns the weights in the order of the names; one where none is given.

    Raises:
        RecipeError: A weight belongs to no name.
    """
    unknown = [name for name in weights if name not in names]
    if unknown:
        problems = [Problem(f"{option}.{name}", "no such class", suggest_names(name, names)) for name in unknown]
        raise RecipeError(problems, source=kind)
    return tuple(weights.get(name, 1.0) for name in names)


def confusion_matrix(
    predicted: Int[Tensor, " samples"], targets: Int[Tensor, " samples"], classes: int
) -> Int[Tensor, "classes classes"]:
    """Counts how often each class (row) is predicted as each class (column)."""
    pairs = (targets * classes + predicted).cpu()
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusion: Tensor) -> float:
    """Returns the share of samples that are predicted right; NaN without samples."""
    total = int(confusion.sum())
    return float(confusion.diagonal().sum()) / total if total else math.nan


def unweighted_average_recall(confusion: Tensor) -> float:
    """Returns the mean recall of the classes that occur in the targets; NaN without samples."""
    counts = confusion.sum(dim=1).double()
    occurs = counts > 0
    return float((confusion.diagonal().double()[occurs] / counts[occurs]).mean())


def macro_f1(confusion: Tensor) -> float:
    """Returns the mean F1 of the classes that occur in the targets or in the predictions; NaN without samples."""
    named = (confusion.sum(dim=0) + confusion.sum(dim=1)).double()
    occurs = named > 0
    return float((2 * confusion.diagonal().double()[occurs] / named[occurs]).mean())


def expected_calibration_error(
    probabilities: Float[Tensor, "samples classes"], targets: Int[Tensor, " samples"]
) -> float:
    r"""Returns the mean distance between confidence and accuracy over 15 equal bins; NaN without samples.

    .. math::
        \mathrm{ECE} = \sum_b \frac{|B_b|}{n} |\mathrm{acc}(B_b) - \mathrm{conf}(B_b)|, \qquad
        B_b = \{i : \tfrac{b-1}{15} < p_i \le \tfrac{b}{15}\}

    Source:
        Guo et al. 2017, arXiv:1706.04599, eqs. (2), (3).
    """
    if not len(targets):
        return math.nan
    place, surplus = place_confidence(probabilities, targets)
    per_bin = surplus.new_zeros(ECE_BINS).index_add(0, place, surplus)
    return float(per_bin.abs().sum()) / len(targets)


def log_frequencies(targets: Int[Tensor, " samples"], classes: int) -> Float[Tensor, " classes"]:
    """Returns the logarithms of the classes' frequencies, which are the scores of the best constant answer.

    A class that does not occur has the logarithm of the least number above zero, so that softmax gives it nothing.

    Example:
        >>> log_frequencies(torch.tensor([0, 0, 0, 1]), 2).softmax(dim=0)
        tensor([0.7500, 0.2500])
    """
    counts = torch.bincount(targets.cpu(), minlength=classes)
    share_of = counts.to(torch.get_default_dtype()) / max(1, len(targets))
    return share_of.clamp(min=torch.finfo(share_of.dtype).tiny).log().to(targets.device)


def place_confidence(
    distribution: Float[Tensor, "samples classes"], targets: Int[Tensor, " samples"]
) -> tuple[Int[Tensor, " samples"], Float[Tensor, " samples"]]:
    """Returns the bin of each sample's confidence, and by how much the confidence exceeds being right, 1 or 0."""
    confidence, likeliest = distribution.detach().double().max(dim=1)
    edges = torch.linspace(0, 1, ECE_BINS + 1, dtype=torch.float64, device=confidence.device)[1:-1]
    return torch.bucketize(confidence, edges), confidence - (likeliest == targets).double()
