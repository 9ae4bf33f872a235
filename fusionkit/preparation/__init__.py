"""Films and sounds to what training reads: prepared once, loaded as often as wanted."""

from fusionkit.preparation.prepared import Prepared

__all__ = ["Prepared"]
