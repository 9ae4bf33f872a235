"""Balancers: named loss terms to one total. Importing the package registers them."""

from fusionkit.balancers.agm import AGM
from fusionkit.balancers.cagrad import CAGrad
from fusionkit.balancers.dgl import DGL
from fusionkit.balancers.fused_only import FusedOnly
from fusionkit.balancers.g_blend import GBlend
from fusionkit.balancers.gradnorm import GradNorm
from fusionkit.balancers.mmpareto import MMPareto
from fusionkit.balancers.modality_dropout import ModalityDropout
from fusionkit.balancers.multi_term import MultiTerm
from fusionkit.balancers.ogm_ge import OgmGe
from fusionkit.balancers.opm import OPM
from fusionkit.balancers.pcgrad import PCGrad
from fusionkit.balancers.pmr import PMR
from fusionkit.balancers.umt import UniModalTeacher
from fusionkit.balancers.uncertainty import Uncertainty

__all__ = [
    "AGM",
    "DGL",
    "OPM",
    "PMR",
    "CAGrad",
    "FusedOnly",
    "GBlend",
    "GradNorm",
    "MMPareto",
    "ModalityDropout",
    "MultiTerm",
    "OgmGe",
    "PCGrad",
    "Uncertainty",
    "UniModalTeacher",
]
