"""Robustness: what is left of a result as a modality goes missing, is noisy, late or of someone else."""

from fusionkit.evaluation.robustness.curves import stress
from fusionkit.evaluation.robustness.levels import CORRUPTIONS, Levels

__all__ = ["CORRUPTIONS", "Levels", "stress"]
