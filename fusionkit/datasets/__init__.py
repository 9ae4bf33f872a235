"""Datasets: samples with named modalities, targets and a group."""

from fusionkit.datasets.fer2013 import Fer2013
from fusionkit.datasets.manifest import Manifest
from fusionkit.datasets.ravdess import RavdessActionUnits
from fusionkit.datasets.synthetic import Synthetic
from fusionkit.datasets.ts import Ts

__all__ = ["Fer2013", "Manifest", "RavdessActionUnits", "Synthetic", "Ts"]
