"""Films and sounds to what training reads: prepared once, loaded as often as wanted."""

from fusionkit.preparation.foreseen import Foreseen
from fusionkit.preparation.prepared import Prepared
from fusionkit.preparation.preparing import PreparationCost, estimate_preparation, prepare
from fusionkit.preparation.report import Preparation

__all__ = ["Foreseen", "Preparation", "PreparationCost", "Prepared", "estimate_preparation", "prepare"]
