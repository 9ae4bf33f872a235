"""Transforms of one sample's modality: on the CPU, or drawn there and computed on the device."""

from fusionkit.data.transforms.noise import GaussianNoise
from fusionkit.data.transforms.spatial import Spatial
from fusionkit.data.transforms.standardize import Standardize
from fusionkit.data.transforms.time import Subsample, TimeMask, TimeSlice

__all__ = ["GaussianNoise", "Spatial", "Standardize", "Subsample", "TimeMask", "TimeSlice"]
