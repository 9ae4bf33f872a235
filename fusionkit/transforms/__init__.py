"""Transforms of one sample's modality, on the CPU."""

from fusionkit.transforms.noise import GaussianNoise
from fusionkit.transforms.standardize import Standardize
from fusionkit.transforms.time import TimeMask, TimeSlice

__all__ = ["GaussianNoise", "Standardize", "TimeMask", "TimeSlice"]
