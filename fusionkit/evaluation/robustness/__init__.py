"""Robustness: what is left of a result as a modality goes missing, is noisy, late or of someone else."""

from fusionkit.evaluation.robustness.levels import CORRUPTIONS, Levels
from fusionkit.evaluation.robustness.stress import stress

__all__ = ["CORRUPTIONS", "Levels", "stress"]
