"""The interfaces of loss heads of classes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from fusionkit.errors import suggest_names
from fusionkit.interfaces import LossHead, RawTarget
from fusionkit.interfaces.written_numbers import WrittenNumber, find_class
from fusionkit.models.loss_heads.class_metrics import (
    ACCURACY,
    CALIBRATION,
    ECE_BINS,
    F1,
    RECALL,
    accuracy,
    check_names,
    confusion_matrix,
    expected_calibration_error,
    log_frequencies,
    macro_f1,
    place_confidence,
    unweighted_average_recall,
)


class ClassHead(LossHead):
    """One class of several; a subclass states its `measures`, its scores, and what they say of the classes.

    Args:
        name: The head's name, for messages.
        classes: Names of the classes in order, at least two.

    Raises:
        RecipeError: There are fewer than two classes, or one stands twice.
    """

    kind = "classes"

    def __init__(self, name: str, classes: tuple[str, ...]) -> None:
        super().__init__()
        check_names(name, "classes", classes, least=2)
        self.classes = classes

    def encode(self, value: RawTarget | None) -> Tensor:
        """Returns the index of a class by its name, or by the whole number that is its name; -1 for a missing one."""
        if value is None:
            return torch.tensor(-1)
        name = find_class(value, self.classes)
        if name is None:
            given = value.text if isinstance(value, WrittenNumber) else value
            remedy = suggest_names(str(given), self.classes)
            raise ValueError(f"{given!r} is none of the {len(self.classes)} classes; {remedy}")
        return torch.tensor(self.classes.index(name))

    def confusion(self, distribution: Tensor, targets: Tensor) -> Int[Tensor, "classes classes"]:
        """Counts how often each class (row) is predicted as each class (column)."""
        return confusion_matrix(self.predict(distribution), targets, len(self.classes))

    def statistics(self, distribution: Tensor, targets: Tensor) -> Float[Tensor, "samples statistics"]:
        """Returns each sample's cell of the confusion matrix, and what it adds to the calibration error's bins."""
        classes = len(self.classes)
        cells = functional.one_hot(targets * classes + self.predict(distribution), classes * classes).double()
        place, surplus = place_confidence(distribution, targets)
        return torch.cat([cells, functional.one_hot(place, ECE_BINS) * surplus[:, None]], dim=1)

    def metrics_of_sums(self, sums: Float[Tensor, "resamples statistics"]) -> Mapping[str, Float[Tensor, " resamples"]]:
        """Computes the metrics of many sets of samples."""
        classes = len(self.classes)
        confusion = sums[:, :-ECE_BINS].reshape(-1, classes, classes)
        right, rows, columns = confusion.diagonal(dim1=1, dim2=2), confusion.sum(2), confusion.sum(1)
        total = rows.sum(1)
        distance = (torch.arange(classes)[:, None] - torch.arange(classes)).abs()
        # A class without samples gives 0/0, which the mean over classes leaves out, as the metrics do.
        every = {
            "accuracy": right.sum(1) / total,
            "uar": (right / rows).nanmean(1),
            "f1": (2 * right / (rows + columns)).nanmean(1),
            "ece": sums[:, -ECE_BINS:].abs().sum(1) / total,
            "mae": (confusion * distance).sum((1, 2)) / total,
        }
        return {each.name: every[each.name] for each in self.measures}


class SoftmaxHead(ClassHead):
    """One class of several by softmax: a score for each class. A subclass states the loss."""

    measures = (ACCURACY, RECALL, F1, CALIBRATION)
    score = "accuracy"

    def __init__(self, name: str, classes: tuple[str, ...]) -> None:
        super().__init__(name, classes)
        self.out_features = len(classes)

    def distribution(self, scores: Float[Tensor, "batch out_features"]) -> Float[Tensor, "batch _"]:
        """Returns the probabilities of the classes."""
        return scores.softmax(dim=1)

    def predict(self, distribution: Tensor) -> Int[Tensor, " batch"]:
        """Returns the most probable class."""
        return distribution.argmax(dim=1)

    def metrics(self, distribution: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Computes accuracy, unweighted average recall, macro F1 and expected calibration error."""
        confusion = self.confusion(distribution, targets)
        return {
            "accuracy": accuracy(confusion),
            "uar": unweighted_average_recall(confusion),
            "f1": macro_f1(confusion),
            "ece": expected_calibration_error(distribution, targets),
        }

    statistics = ClassHead.statistics  # `sums_suffice` asks for them beside the metrics, or below

    def constant(self, targets: Tensor) -> Float[Tensor, " out_features"]:
        """Returns the logarithms of the classes' frequencies: their prediction is the majority class."""
        return log_frequencies(targets, len(self.classes))
