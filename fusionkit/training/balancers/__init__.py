"""Balancers: named loss terms to one total. Importing the package registers them."""

from fusionkit.training.balancers.agm import AGM
from fusionkit.training.balancers.cagrad import CAGrad
from fusionkit.training.balancers.cml import CML
from fusionkit.training.balancers.dgl import DGL
from fusionkit.training.balancers.fused_only import FusedOnly
from fusionkit.training.balancers.g_blend import GBlend
from fusionkit.training.balancers.g_blend_online import GBlendOnline
from fusionkit.training.balancers.gradnorm import GradNorm
from fusionkit.training.balancers.jacobian_descent import JacobianDescent
from fusionkit.training.balancers.lfm import LFM
from fusionkit.training.balancers.mcr import MCR
from fusionkit.training.balancers.mmpareto import MMPareto
from fusionkit.training.balancers.modality_dropout import ModalityDropout
from fusionkit.training.balancers.multi_term import MultiTerm
from fusionkit.training.balancers.ogm_ge import OgmGe
from fusionkit.training.balancers.opm import OPM
from fusionkit.training.balancers.pcgrad import PCGrad
from fusionkit.training.balancers.pmr import PMR
from fusionkit.training.balancers.relearning import Relearning
from fusionkit.training.balancers.sample_valuation import SampleValuation
from fusionkit.training.balancers.umt import UniModalTeacher
from fusionkit.training.balancers.uncertainty import Uncertainty

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
