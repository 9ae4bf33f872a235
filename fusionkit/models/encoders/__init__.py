"""Encoders: elements to elements, `F_m` of the paper. Importing the package registers them."""

from fusionkit.models.encoders.conv1d import Conv1d
from fusionkit.models.encoders.conv2d import Conv2d
from fusionkit.models.encoders.identity import FeatureNormEncoder, Identity
from fusionkit.models.encoders.log_mel import LogMel
from fusionkit.models.encoders.mlp import Mlp
from fusionkit.models.encoders.pretrained import HfAudio, HfText, HfVideo, HfVision
from fusionkit.models.encoders.scale import Scale
from fusionkit.models.encoders.spectrogram import Spectrogram
from fusionkit.models.encoders.timm_image import TimmImage

__all__ = [
    "Conv1d",
    "Conv2d",
    "FeatureNormEncoder",
    "HfAudio",
    "HfText",
    "HfVideo",
    "HfVision",
    "Identity",
    "LogMel",
    "Mlp",
    "Scale",
    "Spectrogram",
    "TimmImage",
]
