"""A finished run to its diagnosis: what its encoders, its fusion and its modalities are worth."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import torch

from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.failures import name_batch
from fusionkit.data.sources import Datasets
from fusionkit.errors import RunError
from fusionkit.evaluation.bootstrap import FEW_GROUPS, RESAMPLES
from fusionkit.evaluation.card import assemble_run, describe_protocol, require_same_data
from fusionkit.evaluation.diagnosis.gradients import cosines_over_training
from fusionkit.evaluation.diagnosis.latency import time_subsets
from fusionkit.evaluation.diagnosis.outputs import inputs_of, observe
from fusionkit.evaluation.diagnosis.separate import Separate, find_matching
from fusionkit.evaluation.diagnosis.subsets import MOST_MODALITIES, Subset, subsets_of, without
from fusionkit.evaluation.diagnosis.target import Seen, describe_target
from fusionkit.inference.branches import trained_branches
from fusionkit.inference.trained import load_network
from fusionkit.models.build import FusionModel
from fusionkit.storage.environment import choose_device, describe_environment
from fusionkit.storage.records.diagnosis import Cost, DiagnosedProtocol, Diagnosis
from fusionkit.storage.records.document import figure
from fusionkit.storage.run_folder import RunFolder

OF_FEW_GROUPS = (
    f"The test part has fewer than {FEW_GROUPS} groups: intervals that resample them are coarse and too narrow, so "
    "nothing is called larger than noise."
)


def diagnose(
    run: RunFolder,
    alone: Sequence[Separate] = (),
    *,
    device: str | None = None,
    resamples: int = RESAMPLES,
    datasets: Datasets | None = None,
) -> Diagnosis:
    """Looks into a finished run; nothing is trained but linear heads, and nothing is written.

    Args:
        run: The run.
        alone: Runs that trained modalities alone; the one with the same split is taken.
        device: Where to compute; a GPU where there is one, when left out.
        resamples: Resamples of the bootstrap intervals.
        datasets: Datasets that are open; when left out it opens its own.

    Raises:
        RunError: The run has not finished or has no fused branch, its data have changed since it was trained, or no
            network trained alone is of its split.
        FusionKitError: There is no such device.
    """
    run.require_finished()
    branches = trained_branches(run.recipe)
    if not branches.fused:
        raise RunError(
            f"{run.path}: has no fused branch (its strategy is {run.recipe.train.strategy.type}); diagnosed are runs "
            "that fuse, and this one may be given to one of them by --alone"
        )
    assembly = assemble_run(run, datasets)
    require_same_data(run, assembly)
    chosen = choose_device(device)
    own = Separate(run, assembly, branches.alone)
    separate = find_matching(run, assembly, alone) or dict.fromkeys(branches.alone, own)
    model = load_network(run, assembly.recipe)
    subsets = subsets_of(model.modalities)
    seen = _see(model, assembly, chosen, subsets, tuple(branches.unimodal))
    elsewhere = {
        each.run.path: _see(load_network(each.run, each.assembly.recipe), each.assembly, chosen, (), each.modalities)
        for each in separate.values()
        if each is not own
    }
    there = {name: elsewhere.get(each.run.path, seen) for name, each in separate.items()}
    environment = describe_environment(str(chosen))
    return Diagnosis(
        format=Diagnosis.formats[-1],
        run=str(run.path),
        alone={name: str(each.run.path) for name, each in separate.items()},
        protocol=DiagnosedProtocol(**describe_protocol(assembly).plain()),
        selection=assembly.selection_label,
        seed=assembly.recipe.train.seed,
        recipe=run.recipe.plain(),
        modalities=list(model.modalities),
        weights_sha256=run.sha256_of_weights(),
        **{name: environment[name] for name in ("commit", "device", "platform", "command")},
        versions={name: environment[name] for name in ("fusionkit", "torch", "python")},
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=_notes(model, assembly),
        gradients=cosines_over_training(run.log.read()),
        cost=_cost(model, assembly, chosen),
        targets={target: describe_target(model.cpu(), target, seen, there, resamples) for target in model.targets},
    )


def _see(
    model: FusionModel, assembly: Assembly, device: torch.device, subsets: Sequence[Subset], heads: Sequence[str]
) -> Seen:
    train = observe(model, assembly, assembly.train_ids, device)
    test = observe(model, assembly, assembly.test_ids, device, subsets=subsets, heads=heads)
    model.cpu()
    group_of = {row.id: row.id if row.group is None else row.group for row in assembly.dataset.rows}
    groups = (tuple(group_of[name] for name in part.sample_ids) for part in (train, test))
    return Seen(train, test, *groups)


def _notes(model: FusionModel, assembly: Assembly) -> list[str]:
    """Says what limits the figures."""
    notes = list(assembly.notes)
    trained_with = assembly.recipe.train.balancer.type
    rows = {row.id: row for row in assembly.dataset.rows}
    if trained_with != "modality_dropout" and len(model.modalities) > 1:
        notes.append(
            "Subsets, Shapley shares and what dropping a modality costs ask the network about samples that lack it. "
            "The network was not trained with modalities left out (modality_dropout), so these figures are of this "
            "network outside of what it knows, not of a network trained for fewer modalities."
        )
    if len(model.modalities) > MOST_MODALITIES:
        notes.append(
            f"{len(model.modalities)} modalities have too many subsets: only each one, all but one, and all were "
            f"asked about, and Shapley shares, which need all, are left out above {MOST_MODALITIES}."
        )
    if len({name if rows[name].group is None else rows[name].group for name in assembly.test_ids}) < FEW_GROUPS:
        notes.append(OF_FEW_GROUPS)
    return notes


def _cost(model: FusionModel, assembly: Assembly, device: torch.device) -> Cost:
    model.to(device).channels_last().eval()
    everything = model.modalities
    batch = next(assembly.loader(assembly.test_ids, training=False))
    fewer = {name: without(everything, name) for name in everything if len(everything) > 1}
    with name_batch("diagnosis", batch, device):
        timing = time_subsets(model, inputs_of(batch, model, device), (everything, *fewer.values()))
    spared = {name: timing.spared(everything, subset) for name, subset in fewer.items()}
    return Cost(
        batch=figure(timing.samples),
        all=figure(timing.milliseconds[everything]),
        without={name: figure(timing.milliseconds[subset]) for name, subset in fewer.items()},
        spared={name: figure(value, (low, high)) for name, (value, low, high) in spared.items()},
    )
