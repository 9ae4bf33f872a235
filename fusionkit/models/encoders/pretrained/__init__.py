"""Pretrained networks of transformers as encoders. Importing the package imports no transformers."""

from fusionkit.models.encoders.pretrained.audio import HfAudio
from fusionkit.models.encoders.pretrained.text import HfText
from fusionkit.models.encoders.pretrained.video import HfVideo
from fusionkit.models.encoders.pretrained.vision import HfVision
from fusionkit.models.encoders.pretrained.windows import WindowEncoder

__all__ = ["HfAudio", "HfText", "HfVideo", "HfVision", "WindowEncoder"]
