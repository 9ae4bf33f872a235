"""Numbers with units, for tables and sentences."""

from __future__ import annotations


def in_thousands(number: float) -> str:
    """Writes a count with a unit of thousands.

    Example:
        >>> in_thousands(512), in_thousands(99_328), in_thousands(10_904_960)
        ('512', '99.3 k', '10.9 M')
    """
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(int(number))


def in_bytes(number: float) -> str:
    """Writes a size in memory.

    Example:
        >>> in_bytes(100), in_bytes(785_176)
        ('100 B', '766.8 KiB')
    """
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{int(number)} B"


def in_time(hours: float) -> str:
    """Writes a duration, in the unit that suits it.

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


def in_seconds(seconds: float) -> str:
    """Writes a duration of less than some minutes, to three digits.

    Example:
        >>> in_seconds(0.00042), in_seconds(0.0123), in_seconds(1.234), in_seconds(250.0)
        ('0.42 ms', '12.3 ms', '1.23 s', '250 s')
    """
    return (
        f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"
    )


def in_rate(per_second: float) -> str:
    """Writes how many in a second, to three digits or to the last whole one.

    Example:
        >>> in_rate(0.1234), in_rate(12.34), in_rate(12_345.6)
        ('0.123', '12.3', '12,346')
    """
    return f"{per_second:.3g}" if per_second < 100 else f"{per_second:,.0f}"
