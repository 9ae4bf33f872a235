"""From folders to runs, and from a run to the network that it trained and what that is given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from fusionkit.config.initial_weights import drop_weights
from fusionkit.config.schema import Recipe
from fusionkit.data.recordings import describe_inputs
from fusionkit.data.sources import Datasets
from fusionkit.errors import DataError, FusionKitError, RecipeError, RunError, suggest_names
from fusionkit.inference.branches import CONSTANT, trained_branches
from fusionkit.inference.publication.folder import is_publication, open_publication
from fusionkit.models.build import FusionModel, build
from fusionkit.storage.experiment_folder import ExperimentFolder
from fusionkit.storage.records.document import load_document
from fusionkit.storage.records.export import NO_RUN, is_export
from fusionkit.storage.records.inputs import Inputs
from fusionkit.storage.run_folder import RunFolder


def load_network(run: RunFolder, recipe: Recipe) -> FusionModel:
    """Builds the network of a run with its final weights.

    Args:
        run: The run.
        recipe: Its recipe, with shapes and classes.

    Raises:
        RunError: There are no weights, or they are of another network.
    """
    # The weights that are drawn here are replaced at once, and so would be those that the training started from.
    with torch.random.fork_rng(devices=[]):
        model = build(drop_weights(recipe))
    if recipe.train.precision == "64-true":
        model = model.double()
    weights, _ = run.load_weights()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{run.path}: the weights are of another network ({error})") from None
    return model


def find_inputs(run: RunFolder) -> Inputs:
    """Finds what the network of a run is given; of a run that did not note it, its dataset says it.

    Raises:
        RunError: The run did not note it, and its dataset cannot be opened.
    """
    if os.path.exists(run.inputs_file):
        return load_document(Inputs, run.inputs_file)
    try:
        dataset = Datasets("listed").open(run.recipe.data)
    except (DataError, RecipeError) as error:
        message = "was trained before runs noted their inputs, and its dataset cannot be opened to look"
        raise RunError(f"{run.path}: {message}: {error}") from error
    return describe_inputs(dataset, run.recipe.model.modalities)


def find_runs(
    folder: Path, variant: str | None, fold: str | None, seed: int | None
) -> tuple[list[RunFolder], str | None]:
    """Finds the runs that a folder holds, and the branch that answers where the folder says it.

    Args:
        folder: A run, an experiment or a shared folder.
        variant: Which variant of an experiment, or which column of its table.
        fold: Which fold of it; all when left out.
        seed: Which seed of it; all when left out.

    Raises:
        RunError: The folder holds none, or none of that variant, fold or seed.
    """
    if is_publication(folder):
        if variant is not None or fold is not None or seed is not None:
            raise FusionKitError(f"{folder}: is a shared network, not an experiment; leave out variant, fold and seed")
        return open_publication(folder)
    if RunFolder(folder).begun:
        if named := [name for name, of in (("variant", variant), ("fold", fold), ("seed", seed)) if of is not None]:
            raise FusionKitError(f"{folder}: is one run, not an experiment; leave out {' and '.join(named)}")
        return [RunFolder.open(folder)], None
    if is_export(folder):
        raise RunError(f"{folder}: {NO_RUN}")
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


def refuse_other_networks(runs: Sequence[RunFolder]) -> None:
    """Refuses runs whose networks cannot answer together.

    Raises:
        RunError: They are of different networks.
    """
    for run in runs[1:]:
        if _describe_network(run.recipe) != _describe_network(runs[0].recipe):
            raise RunError(f"{run.path}: is of another network than {runs[0].path}; load one of them by itself")


def refuse_untrained(run: RunFolder, branch: str) -> None:
    """Refuses a branch that a run has not trained.

    Raises:
        RunError: It has not.
    """
    known = [name for name in trained_branches(run.recipe).names if name != CONSTANT]
    if branch not in known:
        raise RunError(f"{run.path}: the branch {branch!r} is not trained; {suggest_names(branch, known)}")


def _describe_network(recipe: Recipe) -> object:
    return recipe.model.model_dump(mode="json"), recipe.train.precision == "64-true"
