"""A component of your own: an encoder of a sensor's stream by its differences in time.

`custom_encoder.yaml` beside this file lists it under ``plugins:`` and uses it by name. From this folder:

    PYTHONPATH=. fusionkit check custom_encoder.yaml
    PYTHONPATH=. fusionkit train custom_encoder.yaml --out runs/custom
"""

import torch

from fusionkit import ENCODERS, Jagged
from fusionkit.interfaces import Encoder


@ENCODERS.register("differences")
class Differences(Encoder):
    """Every element beside its difference from the one before it.

    Args:
        in_shape: ``(channels,)``.
        scale: What the differences are multiplied by.
    """

    def __init__(self, in_shape: tuple[int, ...], *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.out_shape = (2 * in_shape[0],)

    def forward(self, elements: Jagged) -> Jagged:
        """Doubles the channels; the first element of a sample has no difference."""
        differences = torch.diff(elements.values, dim=0, prepend=elements.values[:1])
        firsts = elements.offsets[:-1][elements.present]
        differences[firsts] = 0.0  # no sample sees the end of the one before it
        return elements.with_values(torch.cat([elements.values, self.scale * differences], dim=1))
