"""One short-time Fourier transform per clip, cut into segments: what `spectrogram` and `log_mel` share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from fusionkit.errors import Problem, RecipeError, ShapeError
from fusionkit.interfaces import Encoder, count_at_once
from fusionkit.models.encoders.gaps import lay_out
from fusionkit.nn.jagged import Jagged, make_indices

SegmentMode = Literal["slice", "per_segment"]


class WaveEncoder(Encoder):
    r"""Waves to columns of a centred short-time Fourier transform, or to segments of such columns.

    .. math::
        X_t(k) = \sum_{j=0}^{w-1} h_j\, x_{t \cdot \mathrm{hop} + j - \lfloor w/2 \rfloor}\, e^{-2 \pi i j k / w},
        \qquad t = 0 \dots \lceil n / \mathrm{hop} \rceil - 1

    h is the periodic Hann window of w samples, n the length of the clip; x is zero outside the clip. So every column
    is centred on a sample of the clip: a second has sample_rate / hop columns. A clip's segments are all that lie
    wholly inside it; a clip shorter than one segment is padded with zeros to one. A subclass says what stands in a
    column.

    Args:
        in_shape: Shape of an element of the wave, ``()`` or ``(1,)``.
        bins: Numbers per column that `describe` makes.
        sample_rate: Samples per second.
        window: Samples of the window.
        hop: Samples from one column to the next.
        segment_seconds: Length of a segment; None for no segments.
        segment_hop_seconds: From the start of one segment to the start of the next.
        mode: ``slice`` one transform per clip, ``per_segment`` one transform per segment.
        standardize: Make every clip's mean zero and population standard deviation one first.

    Raises:
        ShapeError: `in_shape` is no wave.
        RecipeError: The hop exceeds the window, or a segment or its hop is no whole number of columns.
    """

    whole_numbers = ()

    def __init__(
        self,
        in_shape: tuple[int, ...],
        *,
        bins: int,
        sample_rate: int,
        window: int,
        hop: int,
        segment_seconds: float | None,
        segment_hop_seconds: float,
        mode: SegmentMode,
        standardize: bool,
    ) -> None:
        super().__init__()
        if tuple(in_shape) not in ((), (1,)):
            raise ShapeError(f"an element of shape {tuple(in_shape)} is not a sample of a mono wave, () or (1,)")
        if hop > window:
            raise RecipeError([Problem("hop", f"{hop} exceeds the window {window}, so samples are skipped")])
        self.window, self.hop, self.mode, self.standardize = window, hop, mode, standardize
        self.columns: int | None = None
        if segment_seconds is not None:
            self.columns = _count_columns("segment_seconds", segment_seconds, sample_rate, hop)
            self.columns_hop = _count_columns("segment_hop_seconds", segment_hop_seconds, sample_rate, hop)
        self.out_shape = (bins,) if self.columns is None else (1, bins, self.columns)

    @abstractmethod
    def describe(self, columns: Tensor) -> Tensor:
        """Makes complex columns ``(columns, window // 2 + 1)`` real ones ``(columns, bins)``."""

    def forward(self, elements: Jagged) -> Jagged:
        """Transforms every clip to columns ``(bins,)`` or segments ``(1, bins, columns)``."""
        # There is nothing to learn here, so no graph is kept unless somebody wants the gradient of the wave; and
        # powers span more digits than the half precision that autocast would put filters into.
        graph = torch.set_grad_enabled(torch.is_grad_enabled() and elements.values.requires_grad)
        with graph, torch.autocast(elements.device.type, enabled=False):
            return self._encode_clips(self._prepare_clips(elements))

    def encode_pieces(self, elements: Jagged, most: int | None) -> Iterator[Jagged]:
        """Yields the output, without a graph, in parts of at most so many segments, or columns if there are none."""
        most = count_at_once(self.out_shape) if most is None else most
        with torch.no_grad(), torch.autocast(elements.device.type, enabled=False):
            clips = self._prepare_clips(elements)
            for first, last in self._group_clips(clips.sizes, most):
                if last - first > 1 or self._count_segments(clips.sizes[first]) <= most:
                    sizes = [size if first <= row < last else 0 for row, size in enumerate(clips.sizes)]
                    start = sum(clips.sizes[:first])
                    values = clips.values[start : start + sum(sizes)]
                    if len(values):
                        yield self._encode_clips(Jagged.from_sizes(values, sizes))
                    continue
                for values in self._encode_parts(clips[first], most):
                    yield Jagged.from_sizes(values, [len(values) if row == first else 0 for row in range(len(clips))])

    def _prepare_clips(self, waves: Jagged) -> Jagged:
        """Prepares clips for the transform: standardised, and none shorter than a segment."""
        clips = waves.with_values(waves.values.reshape(-1))
        if self.standardize:
            clips = _standardize(clips)
        return clips if self.columns is None else _lengthen(clips, self.columns * self.hop)

    def _encode_clips(self, clips: Jagged) -> Jagged:
        if self.columns is None:
            return self._transform(clips)
        segments = self._slice_segments if self.mode == "slice" else self._transform_segments
        return segments(clips, self.columns)

    def _count_segments(self, size: int) -> int:
        """Counts the elements that a clip of so many samples becomes: segments, or columns."""
        if self.columns is None or not size:
            return -(-size // self.hop)
        return 1 + (size - self.columns * self.hop) // (self.columns_hop * self.hop)

    def _group_clips(self, sizes: tuple[int, ...], most: int) -> Iterator[tuple[int, int]]:
        """Yields runs of clips that become at most so many elements together; a clip that exceeds it stands alone."""
        first, held = 0, 0
        for row, size in enumerate(sizes):
            count = self._count_segments(size)
            if row > first and held + count > most:
                yield first, row
                first, held = row, 0
            held += count
        yield first, len(sizes)

    def _encode_parts(self, clip: Tensor, most: int) -> Iterator[Tensor]:
        """Encodes a long clip, at most so many elements at a time, each with the samples around it."""
        count = self._count_segments(len(clip))
        step, width = (1, 1) if self.columns is None else (self.columns_hop, self.columns)
        around = self.mode == "slice" or self.columns is None  # a segment by itself sees zeros around it
        hann = torch.hann_window(self.window, dtype=clip.dtype, device=clip.device)
        for start in range(0, count, most):
            some = min(most, count - start)
            begin, columns = start * step * self.hop, (some - 1) * step + width
            if not around:
                piece = Jagged.from_sizes(clip[begin : begin + columns * self.hop], [columns * self.hop])
                yield self._encode_clips(piece).values
                continue
            low, high = begin - self.window // 2, begin + (columns - 1) * self.hop + self.window - self.window // 2
            samples = nn.functional.pad(clip[max(0, low) : high], (max(0, -low), max(0, high - len(clip))))
            values = self.describe(
                torch.stft(samples, self.window, self.hop, window=hann, center=False, return_complex=True).T
            )
            if self.columns is None:
                yield values
                continue
            yield _cut_images(values.T.contiguous(), width, step)

    def _transform(self, clips: Jagged) -> Jagged:
        layout = lay_out(clips.sizes, self.window, self.window // 2, self.hop)
        hann = torch.hann_window(self.window, dtype=clips.dtype, device=clips.device)
        spectrum = torch.stft(
            layout.spread(clips), self.window, self.hop, window=hann, center=False, return_complex=True
        )
        return Jagged.from_sizes(self.describe(layout.keep(spectrum.T)), layout.windows)

    def _slice_segments(self, clips: Jagged, width: int) -> Jagged:
        columns = self._transform(clips)
        described = columns.values.T.contiguous()  # windows of rows are copied faster than of columns
        parts = [
            _cut_images(part[:, : size // self.hop], width, self.columns_hop)
            for part, size in zip(torch.split(described, list(columns.sizes), dim=1), clips.sizes, strict=True)
            if size
        ]
        return Jagged.from_sizes(torch.cat(parts), [self._count_segments(size) for size in clips.sizes])

    def _transform_segments(self, clips: Jagged, width: int) -> Jagged:
        starts, counts = self._find_starts(clips.sizes, width)
        samples = width * self.hop
        index = make_indices(starts, clips.device)[:, None] + torch.arange(samples, device=clips.device)
        packed = rearrange(clips.values[index], "segments samples -> (segments samples)")
        columns = self._transform(Jagged.from_sizes(packed, [samples] * len(starts))).values
        images = rearrange(columns, "(segments time) bins -> segments 1 bins time", time=width)
        return Jagged.from_sizes(images.contiguous(), counts)

    def _find_starts(self, sizes: tuple[int, ...], width: int) -> tuple[list[int], list[int]]:
        """Returns the packed samples at which segments start, and the number of segments of each clip."""
        starts: list[int] = []
        counts: list[int] = []
        offset = 0
        for size in sizes:
            count = self._count_segments(size)
            starts += [offset + k * self.columns_hop * self.hop for k in range(count)]
            counts.append(count)
            offset += size
        return starts, counts


def _cut_images(rows: Tensor, width: int, step: int) -> Tensor:
    """Cuts the columns ``(bins, columns)`` of a clip into segments ``(segments, 1, bins, width)``."""
    images: Tensor = rearrange(rows.unfold(1, width, step), "bins segments time -> segments 1 bins time")
    return images


def _count_columns(option: str, seconds: float, sample_rate: int, hop: int) -> int:
    columns = seconds * sample_rate / hop
    whole = round(columns)
    if whole < 1 or abs(columns - whole) > 1e-6:
        nearest = max(1, whole) * hop / sample_rate
        raise RecipeError(
            [Problem(option, f"{seconds} s are {columns:.6g} hops of {hop} samples", f"the nearest is {nearest:.9g} s")]
        )
    return whole


def _standardize(clips: Jagged) -> Jagged:
    parts = []
    for clip in clips.unbind():
        if len(clip):
            mean = clip.mean()
            centred = clip - mean
            deviation = centred.square().mean().sqrt()  # torch.std_mean is much slower on a CPU
            # Silence has no deviation; what rounding leaves of it must not be blown up to noise.
            floor = 4 * torch.finfo(clip.dtype).eps * mean.abs()
            parts.append(centred / torch.where(deviation > floor, deviation, 1.0))
    return clips.with_values(torch.cat(parts))


def _lengthen(clips: Jagged, samples: int) -> Jagged:
    if all(size >= samples or size == 0 for size in clips.sizes):
        return clips
    short = [samples - size if 0 < size < samples else 0 for size in clips.sizes]
    zeros = clips.values.new_zeros(samples)
    pieces = [piece for clip, lack in zip(clips.unbind(), short, strict=True) for piece in (clip, zeros[:lack])]
    return Jagged.from_sizes(torch.cat(pieces), [size + lack for size, lack in zip(clips.sizes, short, strict=True)])
