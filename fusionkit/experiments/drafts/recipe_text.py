"""The text of a drafted recipe and of its experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fusionkit.config.schema import Recipe
from fusionkit.experiments.drafts.network import Branch, Schedule
from fusionkit.experiments.drafts.roles import Protocol
from fusionkit.experiments.drafts.targets import DraftTarget
from fusionkit.experiments.drafts.yaml_text import write_comment, write_entry, write_flow
from fusionkit.experiments.specs.usual_variants import make_usual_variants

_MOST_CLASSES = 30
"""Classes that are listed at most; of more the dataset says them."""


@dataclass(frozen=True)
class Plan:
    """All that a recipe says.

    Args:
        source: The table or folder, as the user named it.
        remarks: What was seen and assumed.
        dataset: The options of the dataset.
        prepare: How films are prepared; None where there are none.
        protocol: How samples are divided.
        branches: The modalities.
        targets: The targets.
        schedule: Batches and epochs.
        cache: Whether samples are kept in memory.
    """

    source: str
    remarks: Sequence[str]
    dataset: Mapping[str, Any]
    prepare: Mapping[str, Any] | None
    protocol: Protocol
    branches: Sequence[Branch]
    targets: Sequence[DraftTarget]
    schedule: Schedule
    cache: bool


def write_recipe(plan: Plan) -> str:
    """Writes the recipe, with what was assumed above it and the reasons beside what it says."""
    lines = [
        write_comment(
            f"Drafted from {plan.source} by fusionkit. What was seen and assumed, to be changed where it is wrong:"
        ),
        *(write_comment(remark, mark="- ") for remark in plan.remarks),
        "schema: 1",
        "",
        "data:",
        "  dataset:",
        "    # The path starts from where you call fusionkit, those in the table from its own folder, or from root.",
        *(write_entry(key, value, 4) for key, value in plan.dataset.items()),
        *([write_entry("prepare", plan.prepare, 2)] if plan.prepare is not None else []),
        write_comment(plan.protocol.comment, 2),
        write_entry("folds", plan.protocol.folds, 2),
        write_entry("batch_size", plan.schedule.batch_size, 2),
        *(["  cache: true  # all samples fit into memory"] if plan.cache else []),
        "",
        "model:",
        "  modalities:",
    ]
    said = set[str]()
    for branch in plan.branches:
        comment = [] if branch.comment in said else [write_comment(branch.comment, 6)]
        said.add(branch.comment)
        lines += [f"    {branch.name}:", *comment]
        lines += [write_entry(key, value, 6) for key, value in branch.keys.items()]
    if len(plan.branches) > 1:
        lines += [
            "  fusion: mrpn  # N2; `concat` makes it N1, and with unimodal_heads: false N0",
            "  unimodal_heads: true",
        ]
    else:
        lines += ["  fusion: concat  # of one modality there is nothing to fuse", "  unimodal_heads: false"]
    lines += [
        "  dropout: 0.2  # more of it overfits less, and learns more slowly",
        "  targets:",
        *(write_entry(target.name, _write_head(target), 4) for target in plan.targets),
        "",
        "train:",
        "  optimizer: {type: adamw, lr: 2.0e-3, weight_decay: 0.01}",
        "  scheduler: one_cycle  # rises, then falls to nothing, so that the last epoch is a good one",
        f"  epochs: {plan.schedule.epochs}  # some {plan.schedule.steps} steps; more if the training loss still falls",
        "  clip_norm: 1.0",
        "  select: last  # no sample of the test part chooses the epoch",
        "  seed: 0",
    ]
    return "\n".join(lines) + "\n"


def write_experiment(recipe: Recipe, recipe_name: str, samples: int) -> str:
    """Writes the experiment with the usual variants of a recipe."""
    variants = {
        name: {"of": of.of, "branch": of.branch} if of.of is not None else {"overrides": list(of.overrides)}
        for name, of in make_usual_variants(recipe).items()
    }
    seeds = [0, 1] if samples < 2000 else [0]
    lines = [
        "# Does fusing help? Each modality alone, their ensemble, late fusion, N0, N1 and N2, over all folds.",
        "schema: 1",
        f"recipe: {write_flow(recipe_name)}",
        "# Columns of the table; the first is what the others are compared with. Those with `of` are read from another",
        "# variant's runs: late fusion trains each modality alone first. The usual ones need not be listed.",
        "variants:",
        *(write_entry(name, value, 2) for name, value in variants.items()),
        "folds: all",
        f"seeds: {seeds}  # more of them take longer, and tell luck from merit",
    ]
    return "\n".join(lines) + "\n"


def _write_head(target: DraftTarget) -> Mapping[str, Any] | str:
    key = "labels" if target.head == "multilabel" else "classes"
    listed = 0 < len(target.classes) <= _MOST_CLASSES or target.head in ("multilabel", "ordinal")
    return {"type": target.head, key: list(target.classes)} if listed else target.head
