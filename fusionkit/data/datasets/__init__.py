"""Datasets: samples with named modalities, targets and a group."""

from fusionkit.data.datasets.crema_d import CremaD
from fusionkit.data.datasets.fer2013 import Fer2013
from fusionkit.data.datasets.gaussian_views import GaussianViews
from fusionkit.data.datasets.manifest import Manifest
from fusionkit.data.datasets.ravdess import Ravdess
from fusionkit.data.datasets.ravdess_action_units import RavdessActionUnits
from fusionkit.data.datasets.ravdess_fer2013 import RavdessFer2013
from fusionkit.data.datasets.ravdess_sound import RavdessSound
from fusionkit.data.datasets.synthetic import Synthetic
from fusionkit.data.datasets.ts import Ts
from fusionkit.data.datasets.voxceleb import VoxCeleb

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
