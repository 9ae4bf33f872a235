"""Weights of 8 bits, and the price of them: size, time, and the metrics of the test part."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from fusionkit.data.loading.collation import Sample
from fusionkit.inference.export.onnx_file import OnnxSession, quantize_onnx
from fusionkit.inference.export.proof import pad_for
from fusionkit.inference.export.trained import TrainedNetwork
from fusionkit.inference.export.trials import Trial, draw_trials
from fusionkit.storage.records.export import Quantization, QuantizedMetrics

_ROUNDS, _BATCH = 15, 8
_SMALL = "They save little here: few weights of this graph can have 8 bits."
_NO_TEST_PART = "The test part is not at hand, so the loss of accuracy was not measured."


def quantize(network: TrainedNetwork, exact: Path, file: Path) -> Quantization:
    """Writes the graph of 8 bits, and measures it against the exact one.

    Args:
        network: The frozen network.
        exact: The file of the exact graph.
        file: Where the graph of 8 bits goes.

    Raises:
        ExportError: onnxruntime cannot quantize it.
    """
    quantize_onnx(exact, file)
    sessions = OnnxSession(exact, threads=1), OnnxSession(file, threads=1)
    metrics, samples = _measure_metrics(network, sessions)
    sizes = exact.stat().st_size, file.stat().st_size
    notes = [*([_SMALL] if sizes[1] > 0.6 * sizes[0] else []), *([] if samples else [_NO_TEST_PART])]
    return Quantization(
        bytes_exact=sizes[0],
        bytes_quantized=sizes[1],
        speed_ratio=_compare_speed(network, sessions),
        samples=samples,
        metrics=metrics,
        note=" ".join(notes),
    )


def _compare_speed(network: TrainedNetwork, sessions: tuple[OnnxSession, OnnxSession]) -> float:
    """Returns the time of the second over that of the first, in turns, on a batch with every modality."""
    trial = _largest_trial(network)
    arrays = pad_for(network, trial.samples[:1])
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for session, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session(arrays)
            taken.append(time.perf_counter() - start)
    return median(times[1]) / median(times[0])


def _largest_trial(network: TrainedNetwork) -> Trial:
    *_, last = draw_trials(network)
    return last


def _measure_metrics(
    network: TrainedNetwork, sessions: tuple[OnnxSession, OnnxSession]
) -> tuple[dict[str, QuantizedMetrics], int]:
    if network.test_part is None:
        return {}, 0
    main, model = network.branches[0], network.model
    said: dict[str, tuple[list[Tensor], list[Tensor]]] = {target: ([], []) for target in model.targets}
    wanted: dict[str, list[Tensor]] = {target: [] for target in model.targets}
    count = 0
    for batch in _group(network.test_part()):
        arrays = pad_for(network, [sample.inputs for sample in batch])
        for side, session in enumerate(sessions):
            outputs = session(arrays)
            for place, (branch, target) in enumerate(network.outputs):
                if branch == main:
                    said[target][side].append(torch.from_numpy(np.asarray(outputs[place])))
        for target in model.targets:
            wanted[target].append(torch.stack([sample.targets[target] for sample in batch]))
        count += len(batch)
    found = {}
    for target in model.targets if count else ():
        head = model.head(target, main if main in network.unimodal else None)
        targets = torch.cat(wanted[target])
        exact, rough = (torch.cat(of) for of in said[target])
        counted = head.find_known(targets) & ~exact.isnan().any(dim=1)
        if counted.any():
            each = [_keep_finite(head.metrics(of[counted], targets[counted])) for of in (exact, rough)]
            found[target] = QuantizedMetrics(exact=each[0], quantized=each[1])
    return found, count


def _keep_finite(metrics: object) -> dict[str, float | None]:
    assert hasattr(metrics, "items")
    return {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}


def _group(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
