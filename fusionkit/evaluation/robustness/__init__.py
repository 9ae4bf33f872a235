"""Robustness: what is left of a result as a modality goes missing, is noisy, late or of someone else."""

from fusionkit.evaluation.robustness.curves import stress
from fusionkit.evaluation.robustness.levels import CORRUPTIONS, OPTIONS, Levels

__all__ = ["CORRUPTIONS", "OPTIONS", "Levels", "stress"]
