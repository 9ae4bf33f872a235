"""Training: one loop of our own on Lightning Fabric, which resumes exactly where it was stopped."""

from fusionkit.training.interruption import Interrupted
from fusionkit.training.loop import fit
from fusionkit.training.profiling import Profile
from fusionkit.training.start import train

__all__ = ["Interrupted", "Profile", "fit", "train"]
