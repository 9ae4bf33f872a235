"""One loop that resumes exactly where it was stopped."""

from fusionkit.training.interruption import Interrupted
from fusionkit.training.loop import fit
from fusionkit.training.profiling.profile import Profile
from fusionkit.training.trainer import train

__all__ = ["Interrupted", "Profile", "fit", "train"]
