"""Variants, folds and seeds; comparisons with equal tuning; what they cost and what follows from them."""

from fusionkit.experiments.comparison import open_comparison
from fusionkit.experiments.experiment import Experiment, load_experiment
from fusionkit.experiments.specs.comparison import ComparisonSpec, load_comparison
from fusionkit.experiments.specs.experiment import ExperimentSpec
from fusionkit.experiments.study import Study, open_experiment

__all__ = [
    "ComparisonSpec",
    "Experiment",
    "ExperimentSpec",
    "Study",
    "load_comparison",
    "load_experiment",
    "open_comparison",
    "open_experiment",
]
