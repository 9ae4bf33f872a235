"""One rule for what can be told from noise, for every place that says so, or could be read so."""

from __future__ import annotations

import math

from fusionkit.evaluation.bootstrap import FEW_GROUPS
from fusionkit.storage.records.diagnosis import DiagnosedTarget, Diagnosis
from fusionkit.storage.records.document import Figure

NO_WIDTH = 1e-6
"""An interval that is narrower than this is none: every resample gave the same."""

TOO_FEW = "too few groups to tell"
NO_TIME = "no difference"


def has_interval(figure: Figure) -> bool:
    """Says whether a figure has an interval. One without width is none: of two groups every resample may give the same.

    Example:
        >>> has_interval(Figure(value=0.25, low=0.25, high=0.25)), has_interval(Figure(value=0.25, low=0.2, high=0.3))
        (False, True)
    """
    low, high = figure.low, figure.high
    return low is not None and high is not None and high - low > NO_WIDTH


def has_few_groups(diagnosis: Diagnosis, of: DiagnosedTarget) -> bool:
    """Says whether the test part has too few groups to tell anything from noise; merged folds have none of their own.

    Args:
        diagnosis: Of one run, or of several merged.
        of: What it says of the target.
    """
    return diagnosis.each is None and of.groups < FEW_GROUPS


def noise_words(gain: Figure, few: bool) -> str:
    """Says whether a difference is larger than noise, in words.

    Args:
        gain: The difference with its interval.
        few: Whether its interval is over too few groups.

    Example:
        >>> gain = Figure(value=0.15, low=0.1, high=0.2)
        >>> noise_words(gain, few=False), noise_words(gain, few=True)
        ('beyond noise', 'too few groups to tell')
    """
    if few:
        return TOO_FEW
    if not has_interval(gain):
        return "no interval to judge it by"
    return "within noise" if holds_zero(gain) else "beyond noise"


def holds_zero(gain: Figure) -> bool:
    """Says whether a difference with an interval may be none."""
    low, high = gain.low, gain.high
    return low is not None and high is not None and low <= 0 <= high


def spared_words(spared: Figure | None, *, sign: int = 1) -> str:
    """Milliseconds with as many digits as timing can tell; those within its noise are none.

    Args:
        spared: The time that is spared, with its interval.
        sign: -1 for the change of the time.

    Example:
        >>> spared_words(Figure(value=0.03172, low=0.0304, high=0.0331), sign=-1)
        '-0.032 ms'
        >>> spared_words(Figure(value=8.3e-05, low=-0.001, high=0.002))
        'no difference'
    """
    if spared is None or spared.value is None:
        return "unknown"
    value, low, high = sign * spared.value, spared.low, spared.high
    if low is None or high is None:
        return f"about {value:+.1g} ms"
    if low <= 0 <= high:
        return NO_TIME
    uncertain = -math.floor(math.log10((high - low) / 2)) if high > low else 3
    digits = max(uncertain, -math.floor(math.log10(abs(value))))  # at least one that counts
    return f"{round(value, digits):+.{max(0, digits)}f} ms"
