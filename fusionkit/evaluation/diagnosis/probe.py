"""The uni-modal probe: what a linear head can read in a frozen encoder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusionkit.evaluation.diagnosis.scores import Judge
from fusionkit.models.loss_heads.number_metrics import as_columns

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse strengths of the regularisation; the best one is chosen inside the training part."""

INNER_FOLDS = 3

Array = NDArray[np.float64]
Reader = Callable[[Array], Array]
"""From features to a distribution."""


def probe(
    judge: Judge, features: Tensor, targets: Tensor, groups: Sequence[str], test_features: Tensor
) -> Tensor | None:
    r"""Trains a linear head on frozen features, and returns its answers to test samples.

    .. math::
        \hat W = \arg\min_W \sum_i \ell(W \hat f_{m,i}, y_i) + \frac{1}{2 C} \lVert W \rVert^2

    with the cross-entropy for classes and labels and half the squared error for numbers, on features that are
    standardised over the training samples. C is the one of `STRENGTHS` with the least loss when groups of the
    training part are held out in turn, errors of numbers being in units of the spread of each output; where there is
    one group only, 0.1.

    Args:
        judge: The target.
        features: Of training samples that have the modality, ``(samples, features)``.
        targets: Their encoded targets; samples without one are left out.
        groups: Their groups.
        test_features: Of the test samples.

    Returns:
        A distribution per test sample; None where the training samples are none or of a single class, or where a
        distribution of numbers holds more than the numbers.

    Source:
        Alain and Bengio 2016, arXiv:1610.01644, for linear probes; scikit-learn's L-BFGS and ridge.
    """
    rows = judge.head.find_known(targets).nonzero().flatten()
    wanted = _columns(judge, targets[rows])
    if judge.says_more or not len(rows) or (judge.kind == "classes" and len(np.unique(wanted)) < 2):
        return None
    given = features[rows].double().numpy()
    mean, spread = given.mean(axis=0), given.std(axis=0)
    spread[spread == 0] = 1.0

    def scaled(values: Array) -> Array:
        standardised: Array = (values - mean) / spread
        return standardised

    strength = _chosen(judge, scaled(given), wanted, np.asarray([groups[row] for row in rows.tolist()]))
    reader = _fitted(judge, scaled(given), wanted, strength)
    return torch.from_numpy(reader(scaled(test_features.double().numpy())))


def _columns(judge: Judge, targets: Tensor) -> Array:
    return targets.numpy() if judge.kind == "classes" else as_columns(targets).double().numpy()


def _chosen(judge: Judge, features: Array, wanted: Array, groups: NDArray[np.str_]) -> float:
    from sklearn.model_selection import GroupKFold

    folds = min(INNER_FOLDS, len(np.unique(groups)))
    if folds < 2:
        return 0.1
    if judge.kind == "numbers":  # one strength serves all outputs, so none may count more for its unit
        wanted = wanted / _spreads(wanted)
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for train, held in GroupKFold(folds).split(features, wanted, groups):
        if judge.kind == "classes" and len(np.unique(wanted[train])) < 2:
            continue
        for strength in STRENGTHS:
            said = _fitted(judge, features[train], wanted[train], strength)(features[held])
            losses[strength] += _loss(judge, said, wanted[held])
    return min(losses, key=lambda strength: losses[strength])


def _spreads(numbers: Array) -> Array:
    """Returns the standard deviation of each output over the samples that state it; 1 where it has none."""
    stated = [column[~np.isnan(column)] for column in numbers.T]
    return np.asarray([column.std() or 1.0 if len(column) else 1.0 for column in stated])


def _loss(judge: Judge, said: Array, wanted: Array) -> float:
    """Sums over samples the loss that chooses the regularisation."""
    least = 1e-6
    if judge.kind == "classes":
        return float(-np.log(np.clip(said[np.arange(len(wanted)), wanted.astype(int)], least, None)).sum())
    if judge.kind == "labels":
        right = np.where(wanted == 1, said, 1 - said)
        return float(-np.nansum(np.where(np.isnan(wanted), np.nan, np.log(np.clip(right, least, None)))))
    return float(np.nansum((said - wanted) ** 2))


def _fitted(judge: Judge, features: Array, wanted: Array, strength: float) -> Reader:
    if judge.kind == "classes":
        read = _logistic(features, wanted.astype(int), strength)
        return lambda values: _of_all(*read(values), len(judge.head.classes))
    columns = [_column(judge, features, column, strength) for column in wanted.T]
    return lambda values: np.stack([column(values) for column in columns], axis=1)


def _column(judge: Judge, features: Array, wanted: Array, strength: float) -> Reader:
    """Trains the reader of one label or number on the samples that state it."""
    from sklearn.linear_model import Ridge

    stated = ~np.isnan(wanted)
    if not stated.any() or len(np.unique(wanted[stated])) < 2:
        constant = wanted[stated].mean() if stated.any() else 0.0
        return lambda values: np.full(len(values), constant)
    if judge.kind == "labels":
        read = _logistic(features[stated], wanted[stated].astype(int), strength)
        return lambda values: read(values)[0][:, 1]
    ridge = Ridge(alpha=1 / strength).fit(features[stated], wanted[stated])
    return lambda values: np.asarray(ridge.predict(values), dtype=np.float64)


def _logistic(features: Array, wanted: NDArray[np.int64], strength: float) -> Callable[[Array], tuple[Array, Array]]:
    """Probabilities and the classes that their columns are of."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # two hundred iterations place it well enough
        fitted = LogisticRegression(C=strength, max_iter=200).fit(features, wanted)
    return lambda values: (fitted.predict_proba(values), fitted.classes_)


def _of_all(said: Array, classes: Array, count: int) -> Array:
    """Probabilities of all classes, zero for those that no training sample has."""
    spread = np.zeros((len(said), count))
    spread[:, classes.astype(int)] = said
    return spread
