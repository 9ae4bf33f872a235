"""From a folder to a predictor: one run, all runs of an experiment's variant together, or an exported graph."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fusionkit.config.trust import allow
from fusionkit.data.readers.files import expand_path
from fusionkit.errors import FusionKitError
from fusionkit.inference.backend import Precision, TrainedBackend
from fusionkit.inference.branches import trained_branches
from fusionkit.inference.calibration.calibrator import find_calibrator
from fusionkit.inference.input_steps import describe_steps
from fusionkit.inference.predictor import Predictor
from fusionkit.inference.publication.hub import SCHEME, download
from fusionkit.inference.trained import find_inputs, find_runs, load_network, refuse_other_networks, refuse_untrained
from fusionkit.storage.records.export import is_export


def load(
    where: str | os.PathLike[str],
    *,
    variant: str | None = None,
    fold: str | None = None,
    seed: int | None = None,
    branch: str | None = None,
    device: str | None = None,
    precision: Precision = "32",
    plugins: Sequence[str] = (),
) -> Predictor:
    """Loads trained networks for use.

    Args:
        where: A run folder, the folder of an experiment, a shared folder, ``hf://owner/name@revision``, or an exported
            folder with a graph of ONNX, which runs on the CPU.
        variant: Which variant of an experiment, or which column of its table, such as ``ensemble (log)``.
        fold: Which fold of it; those of all folds answer together when left out.
        seed: Which seed of it; those of all seeds answer together when left out.
        branch: Which trained branch answers: ``fused``, a modality, ``ensemble`` or ``ensemble (log)``; the one that
            stands for the run when left out.
        device: Where to compute; a GPU where there is one, when left out.
        precision: ``32``, or ``bf16`` for products of bfloat16.
        plugins: Modules of the recipe that may be imported, whoever trained the run.

    Raises:
        RunError: The folder holds no run, none of that variant, fold or seed, or one that has not finished or is
            damaged, or that branch is not trained.
        ExportError: The exported graph is missing, damaged or another than stated, cannot be loaded safely, or
            onnxruntime is not installed.
        PluginError: The recipe lists plugins that are not allowed, since somebody else may have trained the run.

    Example:
        >>> predictor = fusionkit.load("runs/first")  # doctest: +SKIP
        >>> predictor.predict({"motion": array, "sound": "clip.wav"})[0].targets["act"].prediction  # doctest: +SKIP
        'walking'
    """
    allow(*plugins)
    folder = download(str(where)) if str(where).startswith(SCHEME) else expand_path(where)
    if is_export(folder):
        given = {"variant": variant, "fold": fold, "seed": seed}
        if named := [name for name, of in given.items() if of is not None]:
            raise FusionKitError(f"{folder}: is an exported network; leave out {' and '.join(named)}")
        from fusionkit.inference.export.reader import open_export  # which imports the exporters of torch

        return open_export(folder, branch=branch, device=device, precision=precision)
    runs, own = find_runs(folder, variant, fold, seed)
    refuse_other_networks(runs)
    recipe, main = runs[0].recipe, branch or own
    if main is not None:
        refuse_untrained(runs[0], main)
    steps, calibrator = describe_steps(recipe, find_inputs(runs[0])), find_calibrator(runs)
    networks = [load_network(run, run.recipe) for run in runs]
    backend = TrainedBackend(networks, trained_branches(recipe), recipe, device=device, precision=precision)
    return Predictor(backend, steps, main=main, calibrator=calibrator, runs=runs)
