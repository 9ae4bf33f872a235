"""The features that a training knows, from its samples and from those of a calibration."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fusionkit.evaluation.calibration.coverage import average_over_groups
from fusionkit.evaluation.features import FEATURE_ROWS
from fusionkit.evaluation.predictions import Predictions
from fusionkit.inference.calibration.novelty import Familiar, fit_familiar
from fusionkit.storage.records.document import Figure


def learn_familiar(training: Predictions, aside: Predictions) -> dict[str, Familiar]:
    """Learns by modality what features of the training are like, and how far those of the calibration lie."""
    found = {}
    for name in training.present:
        known, others = (_take_features(each, name)[0] for each in (training, aside))
        familiar = fit_familiar(known, others)
        if familiar is not None:
            found[name] = familiar
    return found


def count_unfamiliar(familiar: Mapping[str, Familiar], test: Predictions) -> dict[str, Figure]:
    """Counts by modality the share of test samples farther than every one of the calibration; the mean over groups."""
    found = {}
    for name, of in familiar.items():
        features, groups = _take_features(test, name)
        if len(features):
            found[name] = average_over_groups((of.measure(features) > of.farthest).double(), groups)
    return found


def _take_features(predictions: Predictions, name: str) -> tuple[Tensor, list[str]]:
    """Takes the features of the samples that have a modality, and the groups of these."""
    rows = predictions.features[FEATURE_ROWS]
    kept = predictions.features.get(f"feature/{name}")
    if kept is None:
        return rows.new_zeros(0, 1).half(), []
    having = predictions.present[name][rows]
    return kept[having], [predictions.groups[row] for row in rows[having].tolist()]
