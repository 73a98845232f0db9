"""Numbers as a person reads them: sizes, durations, moments, counts and small numbers."""

import math
from datetime import UTC, datetime

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def size(n_bytes: int | float) -> str:
    """`32.5 MB`; decimal units."""
    for unit, bytes_a_unit in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= bytes_a_unit:
            return f"{n_bytes / bytes_a_unit:.1f} {unit}"
    return f"{n_bytes:.0f} B"


def duration(seconds: int | float) -> str:
    """`13 s`, `2.5 h`: in the largest unit of which there are two."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def moment(at: float | None) -> str:
    """`2026-11-21 18:33 UTC` of seconds since the epoch."""
    return "unknown" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def counted(n: int, noun: str) -> str:
    """`no frame`, `one frame`, `eight frames`, `57,943 frames`: small numbers as words."""
    number = _WORDS[n] if 0 <= n < len(_WORDS) else f"{n:,}"
    return f"{number} {noun if n <= 1 else f'{noun}s'}"


def figure(x: float | None, digits: int = 2) -> str:
    """`1.9×10⁻⁶`, `0.596`, `4,810`: so many significant digits; a dash where nothing is known."""
    if x is None or not math.isfinite(x):
        return "–"
    if x and not 1e-3 <= abs(x) < 1e6:
        mantissa, exponent = f"{x:.{digits - 1}e}".split("e")
        return f"{mantissa.replace('-', '−')}×10{str(int(exponent)).translate(_RAISED)}"
    return f"{x:,.{max(0, digits - 1 - math.floor(math.log10(abs(x))))}f}".replace("-", "−") if x else "0"


def told_apart(a: float, b: float, digits: int = 4, most: int = 12) -> tuple[str, str]:
    """Both with as many significant digits as it takes to see which is larger, at least `digits`."""
    enough = next((n for n in range(digits, most) if a == b or figure(a, n) != figure(b, n)), most)
    return figure(a, enough), figure(b, enough)
