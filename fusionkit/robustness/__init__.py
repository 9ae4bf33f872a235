"""Robustness: what is left of a result as a modality goes missing, is noisy, late or of someone else."""

from fusionkit.robustness.curves import stress
from fusionkit.robustness.levels import CORRUPTIONS, Levels

__all__ = ["CORRUPTIONS", "Levels", "stress"]
