"""Face detectors."""

from fusionkit.data.films.detectors.center import Center
from fusionkit.data.films.detectors.dlib_cnn import DlibCnn
from fusionkit.data.films.detectors.dlib_hog import DlibHog

__all__ = ["Center", "DlibCnn", "DlibHog"]
