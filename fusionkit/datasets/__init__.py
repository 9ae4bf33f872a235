"""Datasets: samples with named modalities, targets and a group."""

from fusionkit.datasets.manifest import Manifest
from fusionkit.datasets.ravdess import RavdessActionUnits
from fusionkit.datasets.synthetic import Synthetic
from fusionkit.datasets.ts import Ts

__all__ = ["Manifest", "RavdessActionUnits", "Synthetic", "Ts"]
