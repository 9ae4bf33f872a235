"""Films and sounds to what training reads: prepared once, loaded as often as wanted."""

from fusionkit.preparation.prepared import Prepared
from fusionkit.preparation.preparing import prepare
from fusionkit.preparation.report import Preparation

__all__ = ["Preparation", "Prepared", "prepare"]
