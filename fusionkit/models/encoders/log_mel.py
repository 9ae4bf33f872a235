"""Log-mel spectrograms of waves."""

from __future__ import annotations

import warnings
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import ENCODERS
from fusionkit.errors import Problem, RecipeError
from fusionkit.models.encoders.stft import SegmentMode, WaveEncoder


@ENCODERS.register("log_mel")
class LogMel(WaveEncoder):
    r"""A wave to its log-mel spectrogram: segments as images, or columns as vectors.

    .. math::
        M_t(b) = \ln \max\Bigl(\sum_k m_{bk} |X_t(k)|^2, \mathrm{floor}\Bigr)

    :math:`X_t` is the centred Fourier transform under a Hann window as in `spectrogram`, :math:`m_b` the b-th of
    triangular filters that are evenly spaced on the mel scale :math:`2595 \log_{10}(1 + f / 700)`. Choose it for
    small networks and little data: tens of bands instead of hundreds of bins. It has no parameters; training and
    evaluation are the same.

    Args:
        in_shape: Shape of an element of the wave, ``()`` or ``(1,)``.
        bands: Number of mel bands, positive.
        sample_rate: Samples per second of the wave, positive.
        window: Samples of the Hann window and of the Fourier transform, at least 2.
        hop: Samples from one column to the next, positive, at most the window.
        segment_seconds: Length of a segment in seconds, a whole number of hops; null for one column per element.
        segment_hop_seconds: Seconds from the start of one segment to the next, a whole number of hops.
        mode: ``slice`` cuts the segments out of one transform of the clip; ``per_segment`` transforms every segment
            alone with zeros around it, for comparison.
        low: Lower edge of the lowest band in hertz, at least 0.
        high: Upper edge of the highest band in hertz; null for half the sample rate.
        floor: Least power under the logarithm, positive.
        standardize: Subtract each clip's mean and divide by its population standard deviation first (silence is
            only centred).

    Raises:
        ShapeError: `in_shape` is no mono wave.
        RecipeError: The hop exceeds the window, a segment or its hop is no whole number of hops, the band edges are
            out of order, or a band is so narrow that no bin of the transform falls into it.

    Source:
        Davis and Mermelstein 1980, https://doi.org/10.1109/TASSP.1980.1163420 (mel bands); the filters are
        torchaudio's ``melscale_fbanks`` with the HTK scale and no area normalisation.

    Example:
        >>> from fusionkit.nn.jagged import Jagged
        >>> wave = Jagged(torch.randn(16_000), torch.tensor([16_000]))
        >>> LogMel((), bands=40, hop=512)(wave).values.shape
        torch.Size([32, 40])
    """

    filters: Tensor

    def __init__(
        self,
        in_shape: tuple[int, ...],
        *,
        bands: Annotated[int, Field(gt=0)] = 64,
        sample_rate: Annotated[int, Field(gt=0)] = 16_000,
        window: Annotated[int, Field(ge=2)] = 512,
        hop: Annotated[int, Field(gt=0)] = 160,
        segment_seconds: Annotated[float, Field(gt=0)] | None = None,
        segment_hop_seconds: Annotated[float, Field(gt=0)] = 0.2,
        mode: SegmentMode = "slice",
        low: Annotated[float, Field(ge=0)] = 0.0,
        high: Annotated[float, Field(gt=0)] | None = None,
        floor: Annotated[float, Field(gt=0)] = 1e-6,
        standardize: bool = True,
    ) -> None:
        super().__init__(
            in_shape,
            bins=bands,
            sample_rate=sample_rate,
            window=window,
            hop=hop,
            segment_seconds=segment_seconds,
            segment_hop_seconds=segment_hop_seconds,
            mode=mode,
            standardize=standardize,
        )
        self.floor = floor
        self.register_buffer("filters", _mel_filters(bands, sample_rate, window, low, high), persistent=False)

    def describe(self, columns: Tensor) -> Tensor:
        """Takes the logarithm of the power in every mel band."""
        return self.describe_power(columns.real.square() + columns.imag.square())

    def describe_power(self, power: Tensor) -> Tensor:
        """Returns the bands of columns whose power is given, ``(..., bins)``."""
        return torch.log((power @ self.filters).clamp(min=self.floor))


def _mel_filters(bands: int, sample_rate: int, window: int, low: float, high: float | None) -> Tensor:
    from torchaudio.functional import melscale_fbanks

    top = sample_rate / 2 if high is None else high
    if not low < top <= sample_rate / 2:
        problem = Problem("high", f"bands from {low} to {top} Hz", f"low < high <= {sample_rate / 2} Hz")
        raise RecipeError([problem], source="log_mel")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
        filters: Tensor = melscale_fbanks(window // 2 + 1, low, top, bands, sample_rate)
    empty = int((filters.amax(dim=0) == 0).sum())
    if empty:
        problem = Problem("bands", f"{empty} of {bands} bands contain no bin", "fewer bands or a longer window")
        raise RecipeError([problem], source="log_mel")
    return filters
