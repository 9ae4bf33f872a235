"""Fusions: one vector per modality to one vector. Importing the package registers them."""

from fusionkit.models.fusions.attention import Attention
from fusionkit.models.fusions.bilinear import Bilinear
from fusionkit.models.fusions.bottleneck import Bottleneck
from fusionkit.models.fusions.concat import Concat
from fusionkit.models.fusions.cross_attention import CrossAttention
from fusionkit.models.fusions.film import Film
from fusionkit.models.fusions.gated import Gated
from fusionkit.models.fusions.low_rank import LowRank
from fusionkit.models.fusions.mixture import Mixture
from fusionkit.models.fusions.mrpn import Mrpn
from fusionkit.models.fusions.sum import Sum
from fusionkit.models.fusions.tensor import TensorFusion
from fusionkit.models.fusions.weighted_sum import WeightedSum

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
