"""The parts of networks: ragged batches, layers that respect them, sums over processes."""

from fusionkit.nn.jagged import Jagged
from fusionkit.nn.layers import FeatureNorm, ResidualPerceptron, Scoring

__all__ = ["FeatureNorm", "Jagged", "ResidualPerceptron", "Scoring"]
