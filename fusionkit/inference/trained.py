"""A run becomes the network that it trained, and what that is given."""

from __future__ import annotations

import os

import torch

from fusionkit.config.initial_weights import drop_weights
from fusionkit.config.schema import Recipe
from fusionkit.data.recordings import describe_inputs
from fusionkit.data.sources import Datasets
from fusionkit.errors import DataError, RecipeError, RunError
from fusionkit.models.build import FusionModel, build
from fusionkit.storage.records.document import load_document
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
