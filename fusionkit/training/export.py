"""Trained encoders as files of their own, from which other networks start."""

from __future__ import annotations

import hashlib
import json

from fusionkit.config.components.registry import ENCODERS
from fusionkit.config.schema import Recipe
from fusionkit.errors import Problem, RecipeError
from fusionkit.storage.run_folder import RunFolder


def export_encoders(run: RunFolder, recipe: Recipe) -> None:
    """Writes the last encoder of every modality of ``train.export`` of a finished run, where it is not there yet.

    A file holds the encoder's tensors under its own names and says what it is: modality, encoder and its options, shape
    of its input, hash of the recipe, and the commit that trained it. It is read by ``weights`` of `timm` and `conv2d`.

    Args:
        run: The run.
        recipe: Its recipe, or one that exports others.

    Raises:
        RunError: The weights are damaged, or a file cannot be written.
    """
    wanted = [modality for modality in recipe.train.export if not run.encoder_file(modality).is_file()]
    if not wanted:
        return
    state, _ = run.load_weights()
    plain = json.dumps(run.recipe.plain(), sort_keys=True, separators=(",", ":"))
    for modality in wanted:
        spec = recipe.model.modalities[modality]
        prefix = f"branches.{modality}.encoders.{len(spec.encoder) - 1}."
        tensors = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        about = {
            "modality": modality,
            "encoder": json.dumps({"type": spec.encoder[-1].type, **spec.encoder[-1].options}),
            "shape": json.dumps(spec.shape),
            "recipe_sha256": hashlib.sha256(plain.encode()).hexdigest(),
            "commit": str(run.environment.commit),
        }
        run.save_encoder(modality, tensors, about)


def check_exports(recipe: Recipe) -> None:
    """Refuses to export an encoder that no other can start from, before anything is trained.

    Raises:
        RecipeError: The last encoder of a modality takes no weights.
    """
    problems = []
    for modality in recipe.train.export:
        last = recipe.model.modalities[modality].encoder[-1].type
        if "weights" not in ENCODERS.get(last).options.model_fields:
            takers = ", ".join(each.name for each in ENCODERS if "weights" in each.options.model_fields)
            message = f"the last encoder of {modality} is {last}, which takes no weights"
            problems.append(Problem("train.export", message, f"leave it out, or end the chain with one of: {takers}"))
    if problems:
        raise RecipeError(problems)
