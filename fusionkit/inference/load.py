"""From a folder to a predictor: one run, or all runs of an experiment's variant together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fusionkit.config.schema import Recipe
from fusionkit.config.trust import allow
from fusionkit.data.readers.files import expand_path
from fusionkit.errors import FusionKitError, RunError, suggest_names
from fusionkit.inference.backend import Precision, TrainedBackend
from fusionkit.inference.branches import trained_branches
from fusionkit.inference.calibration.calibrator import find_calibrator
from fusionkit.inference.input_steps import describe_steps
from fusionkit.inference.predictor import Predictor
from fusionkit.inference.publication.folder import is_publication, open_publication
from fusionkit.inference.publication.hub import SCHEME, download
from fusionkit.inference.trained import find_inputs, load_network
from fusionkit.storage.experiment_folder import ExperimentFolder
from fusionkit.storage.run_folder import RunFolder


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
        where: A run folder, the folder of an experiment, a shared folder, or ``hf://owner/name@revision``.
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
        PluginError: The recipe lists plugins that are not allowed, since somebody else may have trained the run.

    Example:
        >>> predictor = fusionkit.load("runs/first")  # doctest: +SKIP
        >>> predictor.predict({"motion": array, "sound": "clip.wav"})[0].targets["act"].prediction  # doctest: +SKIP
        'walking'
    """
    allow(*plugins)
    folder = download(str(where)) if str(where).startswith(SCHEME) else expand_path(where)
    runs, own = _find_runs(folder, variant, fold, seed)
    recipe, inputs = runs[0].recipe, find_inputs(runs[0])
    for run in runs[1:]:
        if _describe_network(run.recipe) != _describe_network(recipe):
            raise RunError(f"{run.path}: is of another network than {runs[0].path}; load one of them by itself")
    branches = trained_branches(recipe)
    main = branch or own
    if main is not None and main not in branches.names:
        raise RunError(f"{runs[0].path}: the branch {main!r} is not trained; {suggest_names(main, branches.names)}")
    calibrator = find_calibrator(runs)
    networks = [load_network(run, run.recipe) for run in runs]
    backend = TrainedBackend(networks, branches, recipe, device=device, precision=precision)
    return Predictor(backend, describe_steps(recipe, inputs), main=main, calibrator=calibrator, runs=runs)


def _find_runs(
    folder: Path, variant: str | None, fold: str | None, seed: int | None
) -> tuple[list[RunFolder], str | None]:
    """Finds the runs that are meant, and the branch of them where a column of the experiment says it."""
    if is_publication(folder):
        if variant is not None or fold is not None or seed is not None:
            raise FusionKitError(f"{folder}: is a shared network, not an experiment; leave out variant, fold and seed")
        return open_publication(folder)
    if RunFolder(folder).begun:
        if named := [name for name, of in (("variant", variant), ("fold", fold), ("seed", seed)) if of is not None]:
            raise FusionKitError(f"{folder}: is one run, not an experiment; leave out {' and '.join(named)}")
        return [RunFolder.open(folder)], None
    if not os.path.isdir(folder):
        raise RunError(f"{folder}: is no folder; name a run or an experiment")
    if not os.path.exists(folder / "results.json"):
        if RunFolder(folder).finished:
            RunFolder.open(folder)  # which says what of the run is lost
        both = "a run (recipe.yaml and environment.json) nor an experiment (results.json)"
        raise RunError(f"{folder}: holds neither {both}")
    experiment = ExperimentFolder.open(folder)
    columns = {column.name: column for column in experiment.results.columns}
    if variant not in columns:
        asked = f"no variant {variant!r}" if variant is not None else "is an experiment; name a variant"
        raise RunError(f"{folder}: {asked}; {suggest_names(variant or '', columns)}")
    chosen = experiment.rows(variant)
    for name, wanted in (("fold", fold), ("seed", seed)):
        known = list(dict.fromkeys(str(getattr(row, name)) for row in chosen))
        chosen = [row for row in chosen if wanted is None or str(getattr(row, name)) == str(wanted)]
        if not chosen:
            raise RunError(f"{folder}: no run of {name} {wanted!r}; {suggest_names(str(wanted), known)}")
    return [experiment.run(row.run) for row in chosen], columns[variant].branch


def _describe_network(recipe: Recipe) -> object:
    return recipe.model.model_dump(mode="json"), recipe.train.precision == "64-true"
