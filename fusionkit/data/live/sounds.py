"""Blocks of a microphone to samples at the rate of the training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fusionkit.data.films.sounds import FULL_SCALE, convert_to_float, convert_to_int16
from fusionkit.data.live.pictures import FILLED_SECONDS, Block, join_blocks
from fusionkit.data.readers.sound.tracks import resample
from fusionkit.errors import DataError, Problem
from fusionkit.nn.tensor_checks import check_finite

JITTER = 0.05
"""Seconds by which time stamps of any signal may be wrong: elements so near to the end of those before follow them."""

_CROSSINGS = 7
"""Zero crossings of the filter of `resample` on each side, rounded up with its band that is a little narrower."""


class Resampler:
    """Resamples a wave that comes in blocks: what `resample` makes of the whole, but for rounding.

    A sample of the result is given once all samples that it depends on are there: about seven periods of the lower
    rate later, which is less than a millisecond from 16,000 a second on.

    Args:
        own_rate: Samples per second of the blocks.
        rate: Those of the result.

    Example:
        >>> resampler = Resampler(48_000, 16_000)
        >>> len(resampler.push(torch.zeros(4_800))) + len(resampler.finish())
        1600
    """

    def __init__(self, own_rate: int, rate: int) -> None:
        self._own, self._rate = own_rate, rate
        divisor = math.gcd(own_rate, rate)
        self._down, self._up = own_rate // divisor, rate // divisor
        self._reach = 1 + math.ceil(_CROSSINGS * max(1.0, own_rate / rate))
        self._kept = torch.zeros(0)
        self._first = 0  # where what is kept begins, a multiple of `_down`: there a sample of the result lies too
        self.given = 0

    def push(self, block: Tensor) -> Tensor:
        """Returns the samples that are known now."""
        if self._own == self._rate:
            self.given += len(block)
            return block
        self._kept = torch.cat([self._kept, block])
        heard = self._first + len(self._kept)
        return self._give(max(self.given, (heard - self._reach) * self._up // self._down))

    def finish(self) -> Tensor:
        """Returns the last samples, as if silence followed."""
        if self._own == self._rate:
            return torch.zeros(0)
        return self._give(-(-(self._first + len(self._kept)) * self._up // self._down))

    def _give(self, end: int) -> Tensor:
        if end <= self.given:
            return torch.zeros(0)
        begin = self._first // self._down * self._up
        new = resample(self._kept, self._own, self._rate)[self.given - begin : end - begin]
        self.given = end
        needed = (end * self._down // self._up - self._reach) // self._down * self._down
        if needed > self._first:
            self._kept, self._first = self._kept[needed - self._first :].clone(), needed
        return new


class SoundStream:
    """Prepares sound as it comes: the mean of its channels, at the rate of the training, without clicks between blocks.

    Time without sound of up to half a second is filled with silence, as in films; a longer one is a gap.

    Args:
        rate: Samples per second of the training.
        own_rate: Those of the microphone; the same when left out.
        whole: Round to 16 bits, as the sound of films is stored.
    """

    def __init__(self, rate: float, own_rate: float | None = None, *, whole: bool = False) -> None:
        self._rate, self._own, self._whole = round(rate), round(own_rate or rate), whole
        self._begin(0.0)
        self._heard = 0
        self.cut = 0

    def _begin(self, at: float) -> None:
        self._resampler, self._origin, self._heard = Resampler(self._own, self._rate), at, 0

    def push(self, block: Tensor, at: float | None = None) -> list[Block]:
        """Returns the samples that are known now.

        Args:
            block: ``(samples,)`` or ``(samples, channels)``, in -1..1 or of 16 bits.
            at: Seconds of the first; the end of the block before when left out.

        Raises:
            DataError: It lies before the end of what was pushed, is no sound, or has NaN or infinite numbers.
        """
        wave = _make_wave(block)
        if not len(wave):
            return []
        end = self._origin + self._heard / self._own
        late = 0.0 if at is None else at - end
        before = list[Block]()
        if not self._heard or late > FILLED_SECONDS:
            before = self._flush()
            self._begin(end if at is None else at)
        elif late > JITTER:
            wave = torch.cat([torch.zeros(round(late * self._own)), wave])
        elif late < -JITTER:
            doubled = round(-late * self._own)
            if doubled >= len(wave):
                message = f"sound from {at:.3f} s on comes after that up to {end:.3f} s"
                raise DataError([Problem("audio", message, "push it in the order of time, or reset the stream")])
            wave = wave[doubled:]
            self.cut += doubled
        self._heard += len(wave)
        first = self._resampler.given
        return join_blocks([*before, *self._make_block(first, self._resampler.push(wave))], self._rate)

    def _flush(self) -> list[Block]:
        first = self._resampler.given
        return self._make_block(first, self._resampler.finish())

    def _make_block(self, first: int, wave: Tensor) -> list[Block]:
        if not len(wave):
            return []
        if self._whole:
            wave = convert_to_float(convert_to_int16(wave)[0])
        return [(self._origin + first / self._rate, wave)]


def _make_wave(block: Tensor) -> Tensor:
    if not isinstance(block, Tensor) or block.ndim not in (1, 2) or block.dtype == torch.bool:
        what = f"of shape {tuple(block.shape)}" if isinstance(block, Tensor) else f"of type {type(block).__name__}"
        raise DataError([Problem("audio", f"a block {what}", "give (samples,) or (samples, channels)")])
    if not block.is_floating_point():
        if block.dtype != torch.int16:
            message = f"samples of {str(block.dtype).removeprefix('torch.')}"
            raise DataError([Problem("audio", message, "give int16, or floating-point numbers in -1..1")])
        block = block.float() / FULL_SCALE
    wave = block.float() if block.ndim == 1 else block.float().mean(dim=1)
    check_finite(wave, "audio")
    return wave
