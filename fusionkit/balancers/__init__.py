"""Balancers: named loss terms to one total. Importing the package registers them."""

from fusionkit.balancers.agm import AGM
from fusionkit.balancers.cagrad import CAGrad
from fusionkit.balancers.cml import CML
from fusionkit.balancers.dgl import DGL
from fusionkit.balancers.fused_only import FusedOnly
from fusionkit.balancers.g_blend import GBlend
from fusionkit.balancers.g_blend_online import GBlendOnline
from fusionkit.balancers.gradnorm import GradNorm
from fusionkit.balancers.jacobian_descent import JacobianDescent
from fusionkit.balancers.lfm import LFM
from fusionkit.balancers.mcr import MCR
from fusionkit.balancers.mmpareto import MMPareto
from fusionkit.balancers.modality_dropout import ModalityDropout
from fusionkit.balancers.multi_term import MultiTerm
from fusionkit.balancers.ogm_ge import OgmGe
from fusionkit.balancers.opm import OPM
from fusionkit.balancers.pcgrad import PCGrad
from fusionkit.balancers.pmr import PMR
from fusionkit.balancers.relearning import Relearning
from fusionkit.balancers.sample_valuation import SampleValuation
from fusionkit.balancers.umt import UniModalTeacher
from fusionkit.balancers.uncertainty import Uncertainty

__all__ = [
    "AGM",
    "CML",
    "DGL",
    "LFM",
    "MCR",
    "OPM",
    "PMR",
    "CAGrad",
    "FusedOnly",
    "GBlend",
    "GBlendOnline",
    "GradNorm",
    "JacobianDescent",
    "MMPareto",
    "ModalityDropout",
    "MultiTerm",
    "OgmGe",
    "PCGrad",
    "Relearning",
    "SampleValuation",
    "Uncertainty",
    "UniModalTeacher",
]
