"""From a recipe to a finished run."""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric

from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import Recipe
from fusionkit.data.assembly import Assembly, assemble
from fusionkit.data.recordings import describe_inputs
from fusionkit.data.sources import Datasets
from fusionkit.errors import Problem, RecipeError
from fusionkit.execution.doctor.machine import find_compiler, list_compilers
from fusionkit.models.build import FusionModel, build
from fusionkit.storage.environment import DEVICE, choose_device
from fusionkit.storage.locks import lock_folder
from fusionkit.storage.records.document import save_document
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training.export import check_exports, export_encoders
from fusionkit.training.loop import fit

if TYPE_CHECKING:
    from fusionkit.training.profiling.profile import Profile


def train(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    out: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    resume: bool | str | os.PathLike[str] = True,
    progress: bool = False,
    accelerator: str = "auto",
    profile: Profile | None = None,
    datasets: Datasets | None = None,
) -> RunFolder:
    """Trains what a recipe describes, or goes on where a stopped training of it left off.

    Weights, log and checkpoints of a resumed training are bit for bit those of one that was not stopped. A run that
    is finished returns at once. Under ``torchrun`` or ``fabric run`` every process calls this, and their gradients are
    those of one process on the union of their batches.

    A training goes on from its last checkpoint, and from the one before, with a `FusionKitWarning`, where the last is
    damaged. What results do not depend on may differ from the training that was stopped: ``data.workers`` and
    ``cache``, ``data.prepare.cache``, ``train.checkpoint_seconds`` and ``export``, the device, the bar.

    Args:
        recipe: The recipe.
        out: The run folder.
        overrides: ``key.path=value``.
        resume: Go on from the last checkpoint that is whole, or start from the beginning again; or the checkpoint file
            of the run to go on from, which must be whole.
        progress: Show a bar with losses and remaining time.
        accelerator: ``auto``, ``cpu``, ``cuda`` or another of Fabric's.
        profile: Watches some steps of every stage that is left, and says where their time goes; no number of the
            training differs for it.
        datasets: Datasets that are open; when left out it opens its own.

    Raises:
        RecipeError: The recipe is wrong.
        DataError: The data are missing, damaged or contradict the recipe.
        RunError: The folder is of another recipe or of other data, is damaged, cannot be written, or another process
            is training in it.
        TrainingError: A loss or a gradient is not finite.
        Interrupted: A signal came; the checkpoint is written, and the process ends with 128 and the signal's number.
    """
    assembly = assemble(load_recipe(recipe, overrides), datasets)
    fabric = make_fabric(assembly.recipe, accelerator)
    run = RunFolder(out, plugins=assembly.recipe.plugins)
    # What is wrong with the network is said before there is a run of it.
    model = None if run.begun else _draw_network(assembly)
    if fabric.is_global_zero:
        RunFolder.create(out, assembly.recipe, data=assembly.data_hash, device=_device_name(fabric.device))
    fabric.barrier()
    if run.finished:
        if fabric.is_global_zero:
            run.note_as_own()
            export_encoders(run, assembly.recipe)
        return run
    check_exports(assembly.recipe)
    with lock_folder(run.path) if fabric.is_global_zero else nullcontext():
        if fabric.is_global_zero and not run.finished:
            run.rewrite_recipe(assembly.recipe)
            save_document(run.inputs_file, describe_inputs(assembly.dataset, assembly.recipe.model.modalities))
            run.note_as_own()
            if resume is False:
                run.checkpoints.discard()
        fabric.barrier()
        if not run.finished:  # by a process that held the folder a moment ago
            file = None if isinstance(resume, bool) else resume
            model = _draw_network(assembly) if model is None else model
            _train(fabric, model, assembly, run, file, progress=progress, profile=profile)
    fabric.barrier()
    return run


def _draw_network(assembly: Assembly) -> FusionModel:
    """Builds the network; from here on every number is drawn from the recipe's seed."""
    seed = assembly.recipe.train.seed
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - for components that draw from NumPy's global generator
    torch.manual_seed(seed)
    return build(assembly.recipe, assembly.dataset)


def _train(
    fabric: Fabric,
    model: FusionModel,
    assembly: Assembly,
    run: RunFolder,
    resume: str | os.PathLike[str] | None,
    *,
    progress: bool,
    profile: Profile | None,
) -> None:
    """Trains the network, and writes its weights."""
    if assembly.recipe.train.compile:
        refuse_without_compiler()
        model.compile_encoders()
    stages = fit(fabric, model, assembly, run, resume=resume, progress=progress, profile=profile)
    if fabric.is_global_zero:
        run.save_weights(model.state_dict(), {"selection": assembly.selection_label, "stages": json.dumps(stages)})
        export_encoders(run, assembly.recipe)


def refuse_without_compiler() -> None:
    """Says at once, and not in the first step, that this machine has nothing to compile with.

    Raises:
        RecipeError: There is no C++ compiler, which PyTorch writes kernels for a CPU and their launchers with.
    """
    if find_compiler() is None:
        message = f"no C++ compiler is on PATH ({', '.join(list_compilers())}), and PyTorch compiles with one"
        raise RecipeError([Problem("train.compile", message, "install one, such as g++, or take compile: false")])


def make_fabric(recipe: Recipe, accelerator: str = "auto", number: int | None = None) -> Fabric:
    """Launches a Fabric: one device, or those of the processes that ``torchrun`` or ``fabric run`` started.

    ``auto`` is the device of `use_device` where there is one, or else what Fabric finds.

    Args:
        recipe: The recipe, for its precision.
        accelerator: ``auto``, ``cpu``, ``cuda`` or another of Fabric's.
        number: Which of several devices, where one process has one.

    Raises:
        RecipeError: The precision needs a GPU and there is none.
    """
    if accelerator == "auto" and os.environ.get(DEVICE):
        chosen = choose_device(None)
        accelerator, number = chosen.type, chosen.index
    precision = recipe.train.precision
    if precision == "16-mixed" and (accelerator == "cpu" or not torch.cuda.is_available()):
        raise RecipeError("train.precision: '16-mixed' needs a CUDA device; on a CPU take bf16-mixed or 32-true")
    with _no_word_of_precision():
        if "LT_CLI_USED" in os.environ:
            fabric = Fabric(precision=precision)
        elif torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
            local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
            strategy = "ddp" if world > 1 else "auto"
            fabric = Fabric(
                accelerator=accelerator, strategy=strategy, devices=local, num_nodes=world // local, precision=precision
            )
        else:
            fabric = Fabric(accelerator=accelerator, devices=1 if number is None else [number], precision=precision)
    fabric.launch()
    return fabric


@contextmanager
def _no_word_of_precision() -> Iterator[None]:
    """Keeps Fabric from telling the terminal which precision it was given: the recipe says that."""

    def is_other(record: logging.LogRecord) -> bool:
        return "Automatic Mixed Precision" not in record.getMessage()

    logger = logging.getLogger("lightning_fabric.utilities.rank_zero")
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def _device_name(device: torch.device) -> str:
    return f"{device}: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)
