"""Face detectors."""

from fusionkit.faces.center import Center
from fusionkit.faces.dlib_hog import DlibHog

__all__ = ["Center", "DlibHog"]
