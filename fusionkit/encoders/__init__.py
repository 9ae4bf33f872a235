"""Encoders: elements to elements, `F_m` of the paper. Importing the package registers them."""

from fusionkit.encoders.conv1d import Conv1d
from fusionkit.encoders.conv2d import Conv2d
from fusionkit.encoders.identity import FeatureNormEncoder, Identity
from fusionkit.encoders.log_mel import LogMel
from fusionkit.encoders.mlp import Mlp
from fusionkit.encoders.spectrogram import Spectrogram
from fusionkit.encoders.timm_image import TimmImage

__all__ = ["Conv1d", "Conv2d", "FeatureNormEncoder", "Identity", "LogMel", "Mlp", "Spectrogram", "TimmImage"]
