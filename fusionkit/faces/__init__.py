"""Face detectors."""

from fusionkit.faces.center import Center

__all__ = ["Center"]
