"""The networks trained alone that a fused one is held against: which runs they are in, and whether they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fusionkit.data.assembly import Assembly
from fusionkit.data.sources import Datasets
from fusionkit.data.splits import hash_split
from fusionkit.errors import RunError
from fusionkit.evaluation.card import assemble_run, require_same_data
from fusionkit.inference.branches import trained_branches
from fusionkit.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Separate:
    """A run that trained modalities alone.

    Args:
        run: The run.
        assembly: Its recipe, with its data.
        modalities: The modalities that it trained alone.
    """

    run: RunFolder
    assembly: Assembly
    modalities: tuple[str, ...]


def open_separate(run: RunFolder, datasets: Datasets | None = None) -> Separate:
    """Opens a run of networks trained alone.

    Args:
        run: The run.
        datasets: Datasets that are open; when left out it opens its own.

    Raises:
        RunError: It has not finished, its data have changed since, or it trained no modality alone.
    """
    run.require_finished()
    alone = trained_branches(run.recipe).alone
    if not alone:
        strategy = run.recipe.train.strategy.type
        raise RunError(
            f"{run.path}: trained no modality alone (its strategy is {strategy}); --alone wants a run of the strategy "
            "late_fusion or unimodal"
        )
    assembly = assemble_run(run, datasets)
    require_same_data(run, assembly)
    return Separate(run, assembly, alone)


def find_matching(run: RunFolder, assembly: Assembly, given: Sequence[Separate]) -> dict[str, Separate]:
    """Finds by modality of a run the network trained alone on the same split; of several, that of the same seed.

    Raises:
        RunError: None of those that are given is of the same split, several of them train the same modality and not
            just one has the run's seed, or a target is another one there.
    """
    if not given:
        return {}
    own = hash_split(assembly.split)
    fitting = [each for each in given if hash_split(each.assembly.split) == own]
    if not fitting:
        folds = ", ".join(f"{each.run.path} (fold {each.assembly.split.name})" for each in given)
        raise RunError(
            f"{run.path}: is of fold {assembly.split.name}, split {own[:12]}; of the networks trained alone none has "
            f"that split: {folds}; give --alone a run of the same fold of the same data"
        )
    for each in fitting:
        _check_targets(assembly, each)
    found: dict[str, Separate] = {}
    for modality in assembly.recipe.model.modalities:
        able = [each for each in fitting if modality in each.modalities]
        if len(able) > 1:
            able = [each for each in able if each.assembly.recipe.train.seed == assembly.recipe.train.seed] or able
        if len(able) > 1:
            raise RunError(
                f"{able[1].run.path}: {modality} of fold {assembly.split.name} was trained alone in "
                f"{able[0].run.path} too; give --alone one of them"
            )
        if able:
            found[modality] = able[0]
    if not found:
        modalities = ", ".join(assembly.recipe.model.modalities)
        raise RunError(f"{fitting[0].run.path}: trained none of the modalities of {run.path} alone: {modalities}")
    return found


def _check_targets(assembly: Assembly, separate: Separate) -> None:
    here: Mapping[str, object] = assembly.recipe.model.targets
    there: Mapping[str, object] = separate.assembly.recipe.model.targets
    for target in here:
        if target not in there:
            raise RunError(f"{separate.run.path}: has no target {target!r}; --alone wants a run of the same targets")
        ours, theirs = assembly.recipe.model.targets[target], separate.assembly.recipe.model.targets[target]
        if any(ours.options.get(key) != theirs.options.get(key) for key in ("classes", "labels")) or (
            ours.type != theirs.type
        ):
            raise RunError(
                f"{separate.run.path}: its target {target!r} is another one ({theirs.type}, here {ours.type}, or other "
                "classes); --alone wants a run of the same targets"
            )
