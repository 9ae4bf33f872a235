"""Forms of components for graphs. Importing the package registers those of fusionkit's own."""

from fusionkit.inference.export.forms import aggregators, encoders, fusions, pretrained, recurrent, transforms, waves
from fusionkit.inference.export.forms.padded import Padded
from fusionkit.inference.export.forms.registry import REFUSED, Engine, find_form, register_form

__all__ = [
    "REFUSED",
    "Engine",
    "Padded",
    "aggregators",
    "encoders",
    "find_form",
    "fusions",
    "pretrained",
    "recurrent",
    "register_form",
    "transforms",
    "waves",
]
