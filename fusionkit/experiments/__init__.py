"""Experiments: variants of a recipe over folds and seeds, and what may be concluded from them."""

from fusionkit.experiments.running import estimate_experiment, run_experiment
from fusionkit.experiments.spec import Experiment, ExperimentSpec, load_experiment

__all__ = ["Experiment", "ExperimentSpec", "estimate_experiment", "load_experiment", "run_experiment"]
