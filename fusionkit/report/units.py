"""Numbers with units, for tables and sentences."""

from __future__ import annotations


def in_thousands(number: float) -> str:
    """A count with a unit of thousands.

    Example:
        >>> in_thousands(512), in_thousands(99_328), in_thousands(10_904_960)
        ('512', '99.3 k', '10.9 M')
    """
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(int(number))


def in_bytes(number: float) -> str:
    """A size in memory.

    Example:
        >>> in_bytes(100), in_bytes(785_176)
        ('100 B', '766.8 KiB')
    """
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{int(number)} B"


def in_time(hours: float) -> str:
    """A duration, in the unit that suits it.

    Example:
        >>> in_time(0.00001), in_time(0.001), in_time(0.2), in_time(30.25), in_time(2400)
        ('36 ms', '4 s', '12 min', '30.2 h', '100.0 days')
    """
    if 0 < hours * 3600 < 1:
        return f"{hours * 3.6e6:.3g} ms"
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} days"
