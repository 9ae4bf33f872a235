"""Fusions: one vector per modality to one vector. Importing the package registers them."""

from fusionkit.fusions.attention import Attention
from fusionkit.fusions.bilinear import Bilinear
from fusionkit.fusions.bottleneck import Bottleneck
from fusionkit.fusions.concat import Concat
from fusionkit.fusions.cross_attention import CrossAttention
from fusionkit.fusions.film import Film
from fusionkit.fusions.gated import Gated
from fusionkit.fusions.low_rank import LowRank
from fusionkit.fusions.mixture import Mixture
from fusionkit.fusions.mrpn import Mrpn
from fusionkit.fusions.sum import Sum
from fusionkit.fusions.tensor import TensorFusion
from fusionkit.fusions.weighted_sum import WeightedSum

__all__ = [
    "Attention",
    "Bilinear",
    "Bottleneck",
    "Concat",
    "CrossAttention",
    "Film",
    "Gated",
    "LowRank",
    "Mixture",
    "Mrpn",
    "Sum",
    "TensorFusion",
    "WeightedSum",
]
