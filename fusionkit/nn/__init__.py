"""What networks are made of: ragged batches, layers that respect them, and what several processes share."""

from fusionkit.nn.jagged import Jagged
from fusionkit.nn.layers import FeatureNorm, ResidualPerceptron, Scoring

__all__ = ["FeatureNorm", "Jagged", "ResidualPerceptron", "Scoring"]
