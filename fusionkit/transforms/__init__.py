"""Transforms of one sample's modality: on the CPU, or drawn there and computed on the device."""

from fusionkit.transforms.noise import GaussianNoise
from fusionkit.transforms.spatial import Spatial
from fusionkit.transforms.standardize import Standardize
from fusionkit.transforms.time import Subsample, TimeMask, TimeSlice

__all__ = ["GaussianNoise", "Spatial", "Standardize", "Subsample", "TimeMask", "TimeSlice"]
