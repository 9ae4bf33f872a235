"""Face detectors."""

from fusionkit.faces.center import Center
from fusionkit.faces.dlib_cnn import DlibCnn
from fusionkit.faces.dlib_hog import DlibHog

__all__ = ["Center", "DlibCnn", "DlibHog"]
