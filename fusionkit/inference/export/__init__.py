"""Exports of trained networks to graphs that run without fusionkit, each proven against its network."""

from fusionkit.inference.export.folder import export_onnx, export_torch
from fusionkit.inference.export.forms import REFUSED, Padded, find_form, register_form
from fusionkit.inference.export.run import describe_network
from fusionkit.inference.export.trained import TrainedNetwork

__all__ = [
    "REFUSED",
    "Padded",
    "TrainedNetwork",
    "describe_network",
    "export_onnx",
    "export_torch",
    "find_form",
    "register_form",
]
