"""Spectrograms of waves."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import ENCODERS
from fusionkit.models.encoders.stft import SegmentMode, WaveEncoder


@ENCODERS.register("spectrogram")
class Spectrogram(WaveEncoder):
    r"""A wave to the segments of its spectrogram, as images, or to its columns, as vectors.

    .. math::
        S_t(k) = |X_t(k)|, \quad |X_t(k)|^2 \quad\text{or}\quad \ln \max(|X_t(k)|^2, \mathrm{floor}),
        \qquad k = 0 \dots \lfloor w/2 \rfloor - 1

    :math:`X_t` is the Fourier transform of w samples under a Hann window, centred on sample ``t * hop`` of the clip,
    which is zero outside itself. The last bin (half the sample rate) is dropped, so the defaults make the paper's
    images: 256 bins by 250 columns for one second at 16 kHz, a new one every 0.2 s. A clip's segments are all that
    lie wholly inside it, ``1 + (n - segment) // segment_hop``; what is left at its end is dropped, and a clip shorter
    than one segment is padded with zeros to one. It has no parameters; training and evaluation are the same.

    Args:
        in_shape: Shape of an element of the wave, ``()`` or ``(1,)``.
        sample_rate: Samples per second of the wave, positive.
        window: Samples of the Hann window and of the Fourier transform, at least 2.
        hop: Samples from one column to the next, positive, at most the window.
        segment_seconds: Length of a segment in seconds, a whole number of hops; null for one column per element.
        segment_hop_seconds: Seconds from the start of one segment to the next, a whole number of hops; below
            `segment_seconds` they overlap (the paper's AO), equal to it they do not (its WO).
        mode: ``slice`` cuts the segments out of one transform of the clip, so that their edges see the clip's own
            neighbouring samples; ``per_segment`` transforms every segment alone with zeros around it, for comparison.
        scale: ``magnitude``, ``power``, or ``log`` (natural logarithm of the power).
        floor: Least power under the logarithm, positive; with standardised waves 1e-6 lies far below speech.
        standardize: Subtract each clip's mean and divide by its population standard deviation first (silence is
            only centred).

    Raises:
        ShapeError: `in_shape` is no mono wave.
        RecipeError: The hop exceeds the window, or a segment or its hop is no whole number of hops.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, section 5 (Hann 512, hop 64, 256 x 250). The paper
        does not say how 257 x 251 becomes 256 x 250, nor the scale; slices of one transform are our choice.

    Example:
        >>> from fusionkit.nn.jagged import Jagged
        >>> wave = Jagged(torch.randn(24_000), torch.tensor([24_000]))
        >>> Spectrogram(())(wave).values.shape
        torch.Size([3, 1, 256, 250])
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        *,
        sample_rate: Annotated[int, Field(gt=0)] = 16_000,
        window: Annotated[int, Field(ge=2)] = 512,
        hop: Annotated[int, Field(gt=0)] = 64,
        segment_seconds: Annotated[float, Field(gt=0)] | None = 1.0,
        segment_hop_seconds: Annotated[float, Field(gt=0)] = 0.2,
        mode: SegmentMode = "slice",
        scale: Literal["magnitude", "power", "log"] = "log",
        floor: Annotated[float, Field(gt=0)] = 1e-6,
        standardize: bool = True,
    ) -> None:
        super().__init__(
            in_shape,
            bins=window // 2,
            sample_rate=sample_rate,
            window=window,
            hop=hop,
            segment_seconds=segment_seconds,
            segment_hop_seconds=segment_hop_seconds,
            mode=mode,
            standardize=standardize,
        )
        self.bins, self.scale, self.floor = window // 2, scale, floor

    def describe(self, columns: Tensor) -> Tensor:
        """Takes magnitude, power or its logarithm of all bins but the last."""
        kept = columns[:, : self.bins]
        if self.scale == "magnitude":
            return kept.abs()
        return self.describe_power(kept.real.square() + kept.imag.square())

    def describe_power(self, power: Tensor) -> Tensor:
        """Returns what the scale makes of power, where it is ``power`` or ``log``."""
        return power if self.scale == "power" else torch.log(power.clamp(min=self.floor))
