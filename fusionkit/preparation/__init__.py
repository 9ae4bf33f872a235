"""Films and sounds to what training reads: prepared once, loaded as often as wanted."""

from fusionkit.preparation.prepared import Prepared
from fusionkit.preparation.preparing import PreparationCost, estimate_preparation, prepare
from fusionkit.preparation.report import Preparation

__all__ = ["Preparation", "PreparationCost", "Prepared", "estimate_preparation", "prepare"]
