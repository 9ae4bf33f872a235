"""Datasets: samples with named modalities, targets and a group."""

from fusionkit.datasets.crema_d import CremaD
from fusionkit.datasets.fer2013 import Fer2013
from fusionkit.datasets.gaussian_views import GaussianViews
from fusionkit.datasets.manifest import Manifest
from fusionkit.datasets.ravdess import Ravdess
from fusionkit.datasets.ravdess_action_units import RavdessActionUnits
from fusionkit.datasets.ravdess_fer2013 import RavdessFer2013
from fusionkit.datasets.ravdess_sound import RavdessSound
from fusionkit.datasets.synthetic import Synthetic
from fusionkit.datasets.ts import Ts
from fusionkit.datasets.voxceleb import VoxCeleb

__all__ = [
    "CremaD",
    "Fer2013",
    "GaussianViews",
    "Manifest",
    "Ravdess",
    "RavdessActionUnits",
    "RavdessFer2013",
    "RavdessSound",
    "Synthetic",
    "Ts",
    "VoxCeleb",
]
