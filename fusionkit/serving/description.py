"""A network in plain data, as its card tells the page and other clients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusionkit.errors import FusionKitError
from fusionkit.inference.predictor import Predictor
from fusionkit.serving.settings import Settings
from fusionkit.storage.records.card import Card
from fusionkit.storage.records.document import load_document
from fusionkit.storage.records.inputs import InputModality
from fusionkit.version import __version__


def describe_network(predictor: Predictor, settings: Settings, where: Path | None = None) -> dict[str, Any]:
    """Describes a network for its clients: no path, name of a machine, or sample of its training is told.

    Args:
        predictor: The network.
        settings: The settings of the server, for its limits.
        where: The run that it is of, whose figures are told; none where it has no card.
    """
    inputs, prepare = predictor.inputs, predictor.steps.prepare
    return {
        "name": where.name if where is not None else "network",
        "fusionkit": __version__,
        "films": inputs.films,
        "modalities": {
            name: {
                "shape": list(of.shape),
                "rate": of.rate,
                "live": _is_live(predictor, name),
                **describe_columns(of),
            }
            for name, of in ((name, inputs.modalities[name]) for name in predictor.modalities)
        },
        "targets": {target: {"kind": of.kind, "classes": list(of.classes)} for target, of in predictor.targets.items()},
        "fusion": predictor.backend.fusion,
        "networks": predictor.backend.count,
        "answers": predictor.main,
        "branches": [name for name in predictor.branches.names if name != "constant"],
        "calibration": describe_calibration(predictor),
        "faces": None if not inputs.films or prepare is None else prepare.face.detector.type,
        "window": settings.window,
        "limits": {
            "bytes": settings.most_bytes,
            "json_bytes": settings.most_json_bytes,
            "seconds": settings.most_seconds,
            "pixels": settings.most_pixels,
            "samples": settings.most_samples,
        },
        "card": None if where is None else describe_card(where),
    }


def describe_columns(of: InputModality) -> Mapping[str, Any]:
    """Describes the columns of a vector, in order, and which may be empty; nothing of other modalities."""
    if not of.of_numbers:
        return {}
    return {"columns": list(of.columns), "may_be_empty": list(of.marked)}


def describe_calibration(predictor: Predictor) -> Mapping[str, Any] | None:
    """Describes what sets and intervals are learned on, and up to which level; None where there is no calibration."""
    calibrator = predictor.calibrator
    if calibrator.calibration is None:
        return None
    return {"learned_on": calibrator.origin, "highest_level": calibrator.highest_level}


def describe_card(where: Path) -> Mapping[str, Any] | None:
    """Describes the figures of a run; None where it has no card."""
    file = where / "metrics.json"
    if not os.path.exists(file):
        return None
    try:
        card = load_document(Card, file)
    except FusionKitError:
        return None
    targets = {}
    for name, target in card.targets.items():
        metric = target.main_metric
        targets[name] = {
            "metric": metric.name,
            "branches": {
                branch: of.metrics[metric.name].model_dump(mode="json")
                for branch, of in target.branches.items()
                if metric.name in of.metrics
            },
        }
    return {
        "protocol": card.protocol.label,
        "fold": card.protocol.fold,
        "split_hash": card.protocol.split_hash,
        "samples": {"train": card.protocol.train, "test": card.protocol.test},
        "selection": card.selection.label,
        "commit": card.commit,
        "targets": targets,
    }


def _is_live(predictor: Predictor, name: str) -> str | None:
    """Names what of a browser can give a modality: its camera or its microphone."""
    stated = predictor.inputs.modalities[name]
    if predictor.inputs.films and name == "video":
        return "camera"
    return "microphone" if not stated.shape and (stated.rate or 0) >= 4000 else None
