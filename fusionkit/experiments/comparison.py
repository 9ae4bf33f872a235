"""A comparison from its file to its verdict: tune every variant alike, run what was chosen, and say what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.data.loading.lengths import measure_lengths
from fusionkit.data.sources import datasets_foreseen, datasets_shared
from fusionkit.evaluation.branches import CONSTANT, FUSED
from fusionkit.evaluation.ranking import Pair as ComparedPair
from fusionkit.evaluation.ranking import compare_all_pairs, compare_with_first, correct_p_values, rank
from fusionkit.execution.workers import use_one_thread
from fusionkit.experiments.agenda import Agenda, Failure, is_finished, make_agenda
from fusionkit.experiments.budget import with_budget
from fusionkit.experiments.comparison_spec import ComparisonSpec, load_comparison
from fusionkit.experiments.cost import ExperimentCost, estimate_cost
from fusionkit.experiments.experiment import (
    begin,
    check_beginnings,
    run_waiting,
    runs_at_a_time,
    sole_experiment,
    write_results,
)
from fusionkit.experiments.prerequisites import films_that_wait, prepare_films
from fusionkit.experiments.results import make_results
from fusionkit.experiments.tuning import Choice, choose, describe_choices, plan_trials
from fusionkit.models.build import build
from fusionkit.models.cost import measure
from fusionkit.models.encoders.weights import without_pretrained_weights
from fusionkit.storage.comparison import Budget, Comparison, Pair, Ranks, Tuning, VariantCost
from fusionkit.storage.results import Results


def run_comparison(
    path: str | Path,
    out: str | Path,
    *,
    processes: int | None = None,
    progress: bool = False,
    overrides: Sequence[str] = (),
) -> Results:
    """Compares variants under equal conditions: the same data, budget and number of trials.

    In every fold each variant is tuned by a seeded random search whose trials train and are judged inside the training
    part alone; what is best there is trained on all of it, once per seed, and tested. Trials and runs are run folders,
    ``out/trials/<variant>/<fold>/<trial>`` and ``out/runs/<variant>/<fold>/<seed>``, so that a comparison that was
    stopped goes on where it was, and one that gains variants runs those alone.

    Args:
        path: The comparison file.
        out: The folder of the runs; ``results.json``, ``table.md`` and ``figures`` are left in it.
        processes: Runs at a time, as for `run_experiment`.
        progress: Show a bar with the remaining time.
        overrides: ``key.path=value``; a first key of the comparison format changes the comparison, any other the
            recipe of every variant.

    Returns:
        What `run_experiment` returns, and under ``comparison`` budget, tuning, ranks, corrected tests and costs.

    Raises:
        RecipeError: Every problem of the comparison file, of its recipes and of its search.
        RunError: The folder cannot be written or holds runs of other recipes, another process works in it, or the
            results cannot be written.
    """
    out = Path(out)
    with datasets_shared():
        experiment, spec = load_comparison(path, overrides)
        check_beginnings(experiment, out, tuned=None)
        with sole_experiment(out):
            prepare_films(experiment.recipes.values(), processes=processes, progress=progress)
            experiment = with_budget(experiment, spec, out)
            untuned = make_agenda(experiment, out, tuned=None)
            begin(untuned, untuned.jobs, progress=progress)
            choices, lost = _tune(untuned, spec, processes, progress=progress)
            agenda = make_agenda(experiment, out, tuned={cell: choice.overrides for cell, choice in choices.items()})
            failures = run_waiting("runs", agenda.jobs, processes, progress=progress)
            results = make_results(agenda, [*lost, *failures])
            comparison = Comparison(
                budget=Budget(**spec.budget.model_dump(mode="json", exclude_none=True)),
                epochs={variant: recipe.train.epochs for variant, recipe in experiment.recipes.items()},
                tuning=None if spec.tuning is None else Tuning(**spec.tuning.model_dump(mode="json")),
                choices=describe_choices(choices),
                **compare_columns(results),
                cost=measure_costs(untuned),
            )
            return write_results(results.model_copy(update={"comparison": comparison}), out)


def estimate_comparison(
    path: str | Path, out: str | Path, *, processes: int | None = None, overrides: Sequence[str] = ()
) -> ExperimentCost:
    """What is left of a comparison will cost, trials included, from timed steps; nothing is written.

    Args:
        path: The comparison file.
        out: The folder of the runs.
        processes: Runs at a time.
        overrides: ``key.path=value``.

    Raises:
        RecipeError: Every problem of the comparison file, of its recipes and of its search.
        DataError: The data are missing, damaged, or not prepared.
        RunError: The folder holds runs of other recipes.
    """
    out = Path(out)
    with datasets_shared(), datasets_foreseen():
        experiment, spec = load_comparison(path, overrides)
        check_beginnings(experiment, out, tuned=None, pretraining=False)
        experiment = with_budget(experiment, spec, out, write=False)
        waiting = bool(films_that_wait(experiment.recipes.values(), timed=0))
        agenda = make_agenda(experiment, out, listed=waiting, tuned=None)
        trials = plan_trials(agenda, spec.tuning) if spec.tuning else ()
        jobs = [*(job for trial in trials for job in trial.jobs), *agenda.jobs]
        return estimate_cost(agenda, [job for job in jobs if not is_finished(job)], processes or runs_at_a_time())


def compare_columns(results: Results) -> dict[str, Any]:
    """Ranks the networks, and compares each with the first and every other, corrected for the number of tests."""
    ratio = fmean(fold.test / fold.train for fold in results.folds if fold.test is not None and fold.train)
    networks = [column.name for column in results.columns if column.branch != CONSTANT]
    values = {name: by_fold for name in networks if (by_fold := results.summary[name].by_fold)}
    first = results.columns[0].name
    pairs = compare_all_pairs(values, ratio)
    return {
        "ranks": Ranks(**asdict(rank(values, results.higher_is_better))),
        "against_first": _describe_pairs(compare_with_first(values, first, ratio)) if first in values else [],
        "pairs": _describe_pairs(pairs),
        "pairs_compared": len(pairs),
        "over_alone": _holm_over_alone(results),
    }


def _describe_pairs(pairs: Sequence[ComparedPair]) -> list[Pair]:
    return [Pair(**asdict(pair)) for pair in pairs]


def _holm_over_alone(results: Results) -> dict[str, float]:
    """Returns by fused column the p of its difference from the best single modality, corrected for their number."""
    p = {
        column.name: of.corrected_t_p
        for column in results.columns
        if column.branch == FUSED and (of := results.summary[column.name].over_alone)
    }
    known = {name: value for name, value in p.items() if value is not None}
    return dict(zip(known, correct_p_values(list(known.values())), strict=True))


def measure_costs(agenda: Agenda) -> dict[str, VariantCost]:
    """By variant: parameters, FLOPs, bytes of memory in training, seconds of an epoch, and of a whole run.

    An epoch is one of every stage, those of a balancer's teachers among them. Seconds are timed one after the other on
    one thread, on the first fold.

    Args:
        agenda: The comparison before it is tuned, so that costs are those of the recipes as they stand.
    """
    from fusionkit.training.profiling.stage_timing import time_stages

    costs = {}
    first = {job.variant: job for job in reversed(agenda.jobs)}
    with use_one_thread(), without_pretrained_weights(), torch.random.fork_rng(devices=[]):
        for variant, job in reversed(first.items()):
            assembly = assemble(load_recipe(job.recipe))
            measured = measure_lengths(assembly.samples(assembly.train_ids, training=True))
            lengths = {name: of.median for name, of in measured.items()}
            cost = measure(assembly.recipe, build(assembly.recipe, assembly.dataset), lengths)
            seconds = sum(stage.seconds for stage in time_stages(assembly))
            costs[variant] = VariantCost(
                parameters=cost.parameters,
                flops=cost.flops,
                memory=cost.memory.total,
                epoch_seconds=seconds / assembly.recipe.train.epochs,
                run_seconds=seconds,
            )
    return costs


def _tune(
    agenda: Agenda, spec: ComparisonSpec, processes: int | None, *, progress: bool
) -> tuple[dict[tuple[str, str], Choice], list[Failure]]:
    if spec.tuning is None:
        return {}, []
    trials = plan_trials(agenda, spec.tuning)
    failures = run_waiting("trials", [job for trial in trials for job in trial.jobs], processes, progress=progress)
    return choose(agenda, trials, failures), failures
