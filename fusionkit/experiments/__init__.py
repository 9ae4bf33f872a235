"""Variants, folds and seeds; comparisons with equal tuning; what they cost and what follows from them."""

from fusionkit.experiments.comparison import estimate_comparison, run_comparison
from fusionkit.experiments.comparison_spec import ComparisonSpec, load_comparison
from fusionkit.experiments.experiment import estimate_experiment, run_experiment
from fusionkit.experiments.spec import Experiment, ExperimentSpec, load_experiment

__all__ = [
    "ComparisonSpec",
    "Experiment",
    "ExperimentSpec",
    "estimate_comparison",
    "estimate_experiment",
    "load_comparison",
    "load_experiment",
    "run_comparison",
    "run_experiment",
]
