"""The metric that an experiment compares: one of the target's loss head."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fusionkit.config.model_completion import complete_model
from fusionkit.config.recipe import build_head
from fusionkit.data.sources import Datasets
from fusionkit.errors import Problem, RecipeError, suggest_names
from fusionkit.experiments.experiment import Experiment
from fusionkit.interfaces import LOSS, Metric, TargetKind


@dataclass(frozen=True)
class Compared:
    """The compared metric, and what the target's loss head declares beside it.

    Args:
        metric: The metric that is compared.
        kind: What the target is.
        measures: All metrics of the target.
    """

    metric: Metric
    kind: TargetKind
    measures: tuple[Metric, ...]


def find_compared_metric(experiment: Experiment, datasets: Datasets) -> Compared:
    """Returns the metric that is compared, and what else the target's loss head declares.

    Raises:
        RecipeError: The target's loss head has no such metric.
    """
    recipe = experiment.first_recipe
    spec = complete_model(recipe.model, datasets.open(recipe.data)).targets[experiment.target]
    with torch.random.fork_rng(devices=[]):  # the weights of this head are drawn in vain
        head = build_head(spec)
    name = experiment.spec.metric or head.score
    known = [each.name for each in (*head.measures, LOSS)]
    if name not in known:
        raise RecipeError([Problem("metric", f"{spec.type} has no {name!r}", suggest_names(name, known))])
    return Compared(head.measure(name), head.kind, head.measures)
