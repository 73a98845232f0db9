"""Numbers as a person reads them, on the screen, the page and the report: sizes, durations, times, counts and small numbers."""

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


def duration(seconds: float | int) -> str:
    """`42 s`, `4 min 10 s`, `3 h 05 min`, `2 d 7 h`."""
    whole = max(0, round(seconds))
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days} d {h} h"
    if hours:
        return f"{hours} h {m:02d} min"
    return f"{minutes} min {s:02d} s" if minutes else f"{s} s"


def moment(at: float | None) -> str:
    """`2026-11-21 18:33 UTC` of seconds since the epoch: for what is read later and elsewhere."""
    return "unknown" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def clock(at: float, now: float, exact: float = 3600.0) -> str:
    """Time of day on this machine, with seconds where it is less than `exact` away, with the day where that is not `now`'s."""
    then = datetime.fromtimestamp(at).astimezone()
    if then.date() != datetime.fromtimestamp(now).date():
        return f"{then:%a %d %b %H:%M}"
    return f"{then:%H:%M:%S}" if abs(at - now) < exact else f"{then:%H:%M}"


def zone(now: float) -> str:
    """This machine's time zone: `CET (UTC+01:00)`."""
    here = datetime.fromtimestamp(now).astimezone()
    offset = f"UTC{here:%z}"[:6] + ":" + f"{here:%z}"[3:5]
    return offset if not f"{here:%Z}".isalpha() else "UTC" if f"{here:%Z}" == "UTC" else f"{here:%Z} ({offset})"


def many(n: int, noun: str) -> str:
    """`0 frames`, `1 frame`, `2,000 frames`: for figures that change while they are read."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def counted(n: int, noun: str) -> str:
    """`no frame`, `one frame`, `eight frames`, `57,943 frames`: small numbers as words, for prose."""
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
