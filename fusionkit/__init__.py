"""fusionkit: fuse several kinds of signal, and measure whether fusing helps."""

__version__ = "0.1.0"
