"""A comparison from its file to its verdict: tune every variant alike, run what was chosen, and say what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from fusionkit.config.initial_weights import drop_weights
from fusionkit.data.assembly import assemble
from fusionkit.data.loading.lengths import measure_lengths
from fusionkit.data.sources import Datasets
from fusionkit.evaluation.ranking import Pair as ComparedPair
from fusionkit.evaluation.ranking import compare_all_pairs, compare_with_first, correct_p_values, rank
from fusionkit.execution.workers import use_one_thread
from fusionkit.experiments.agenda import Agenda, plan_jobs
from fusionkit.experiments.budget import apply_budget
from fusionkit.experiments.experiment import Experiment
from fusionkit.experiments.job import Failure, Job
from fusionkit.experiments.result_files import write_results
from fusionkit.experiments.results import make_results
from fusionkit.experiments.specs.comparison import ComparisonSpec, load_comparison
from fusionkit.experiments.study import Study, begin, run_waiting
from fusionkit.experiments.tuning import Choice, choose, describe_choices, plan_trials
from fusionkit.inference.branches import CONSTANT, FUSED
from fusionkit.models.build import build
from fusionkit.models.cost import measure
from fusionkit.storage.records.comparison import Budget, Comparison, Pair, Ranks, Tuning, VariantCost
from fusionkit.storage.records.results import Results


class _OpenComparison(Study):
    """A comparison that is open.

    Args:
        experiment: The comparison.
        spec: What its file says.
        out: The folder of the runs.
    """

    def __init__(self, experiment: Experiment, spec: ComparisonSpec, out: Path) -> None:
        super().__init__(experiment, out, tuned=None)
        self._spec = spec

    def _with_budget(self, agenda: Agenda, datasets: Datasets, *, write: bool) -> Agenda:
        experiment = apply_budget(self.experiment, self._spec, self.out, datasets, write=write)
        jobs = plan_jobs(experiment, agenda.folds, self.out, datasets, tuned=None)
        return replace(agenda, experiment=experiment, jobs=jobs)

    def _foresee(self, agenda: Agenda, datasets: Datasets) -> tuple[Agenda, Sequence[Job]]:
        agenda = self._with_budget(agenda, datasets, write=False)
        trials = plan_trials(agenda, self._spec.tuning, datasets) if self._spec.tuning else ()
        return agenda, [*(job for trial in trials for job in trial.jobs), *agenda.jobs]

    def _run(self, processes: int | None, *, progress: bool) -> Results:
        spec, untuned = self._spec, self._with_budget(self.agenda, self.datasets, write=True)
        begin(untuned, self.datasets, progress=progress)
        choices, lost = self._tune(untuned, processes, progress=progress)
        tuned = {cell: choice.overrides for cell, choice in choices.items()}
        jobs = plan_jobs(untuned.experiment, untuned.folds, self.out, self.datasets, tuned=tuned)
        failures = run_waiting("runs", jobs, self.datasets, processes, progress=progress)
        results = make_results(replace(untuned, jobs=jobs), [*lost, *failures])
        comparison = Comparison(
            budget=Budget(**spec.budget.model_dump(mode="json", exclude_none=True)),
            epochs={variant: recipe.train.epochs for variant, recipe in untuned.experiment.recipes.items()},
            tuning=None if spec.tuning is None else Tuning(**spec.tuning.model_dump(mode="json")),
            choices=describe_choices(choices),
            **compare_columns(results),
            cost=measure_costs(untuned, self.datasets),
        )
        return write_results(results.model_copy(update={"comparison": comparison}), self.out)

    def _tune(
        self, agenda: Agenda, processes: int | None, *, progress: bool
    ) -> tuple[dict[tuple[str, str], Choice], list[Failure]]:
        if self._spec.tuning is None:
            return {}, []
        trials = plan_trials(agenda, self._spec.tuning, self.datasets)
        jobs = [job for trial in trials for job in trial.jobs]
        failures = run_waiting("trials", jobs, self.datasets, processes, progress=progress)
        return choose(agenda, trials, failures), failures


def open_comparison(path: str | Path, out: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Opens a comparison of variants under equal conditions: the same data, budget and number of trials.

    In every fold each variant is tuned by a seeded random search whose trials train and are judged inside the training
    part alone; what is best there is trained on all of it, once per seed, and tested. Trials and runs are run folders,
    ``out/trials/<variant>/<fold>/<trial>`` and ``out/runs/<variant>/<fold>/<seed>``, so that a comparison that was
    stopped goes on where it was, and one that gains variants runs those alone.

    Args:
        path: The comparison file.
        out: The folder of the runs.
        overrides: ``key.path=value``; a first key of the comparison format changes the comparison, any other the
            recipe of every variant.

    Raises:
        RecipeError: Every problem of the comparison file, of its recipes and of its search.
        RunError: The folder of the runs is none, or cannot be made or written.
    """
    return _OpenComparison(*load_comparison(path, overrides), Path(out))


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


def measure_costs(agenda: Agenda, datasets: Datasets) -> dict[str, VariantCost]:
    """Measures by variant parameters, FLOPs, bytes of memory in training, seconds of an epoch, and of a whole run.

    An epoch is one of every stage, those of a balancer's teachers among them. Seconds are timed one after the other on
    one thread, on the first fold.

    Args:
        agenda: The comparison before it is tuned, so that costs are those of the recipes as they stand.
        datasets: Datasets that are open.
    """
    from fusionkit.training.profiling.stage_timing import time_stages

    costs = {}
    first = {job.variant: job for job in reversed(agenda.jobs)}
    with use_one_thread(), torch.random.fork_rng(devices=[]):
        for variant, job in reversed(first.items()):
            assembly = assemble(drop_weights(job.recipe), datasets)
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
