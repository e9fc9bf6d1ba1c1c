"""Durations, instants and ratios: read from what people type, written as people read them."""

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(text: str) -> float:
    """Return seconds; a bare number is seconds, `m` is always minutes.

    >>> parse_duration("1h30m"), parse_duration("250ms"), parse_duration("5")
    (5400.0, 0.25, 5.0)
    >>> parse_duration("5 parsecs")
    Traceback (most recent call last):
    ValueError: '5 parsecs' is not a duration; write 30s, 5m, 1h30m or 2d
    """
    compact = text.strip().lower()
    if re.fullmatch(r"\d+(?:\.\d+)?", compact):
        return float(compact)
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"{text!r} is not a duration; write 30s, 5m, 1h30m or 2d")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """Return the two units that a reader needs, never three.

    >>> [format_duration(s) for s in (0.143, 9.96, 41.2, 61, 2463, 8041, 266400)]
    ['143ms', '10s', '41s', '1m01s', '41m03s', '2h14m', '3d02h']
    """
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms" if seconds else "0s"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h"


def round_duration(seconds: float) -> str:
    """Return a duration that somebody chose, as they would write it.

    >>> [round_duration(s) for s in (600, 5400, 86400, 2.5)]
    ['10m', '1h30m', '1d', '2.5s']
    """
    return format_duration(seconds).replace("m00s", "m").replace("h00m", "h").replace("d00h", "d")


def instant(moment: str) -> float:
    """Return an RFC 3339 time as seconds since 1970.

    >>> instant("1970-01-01T00:01:00.5Z")
    60.5
    """
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()


def format_number(value: float) -> str:
    """Return the shortest plain decimal: no exponent, no trailing zeros.

    >>> format_number(90.0), format_number(87.3), format_number(1e7)
    ('90', '87.3', '10000000')
    """
    if float(value).is_integer():
        return str(int(value))
    return f"{value:.4f}".rstrip("0").rstrip(".")


def format_count(count: int) -> str:
    """Return a count in at most three digits and a letter; what is below ten thousand is written out.

    >>> [format_count(n) for n in (0, 9999, 10_000, 123_456, 999_999, 1_234_567, 45_600_000, 2_100_000_000)]
    ['0', '9999', '10k', '123k', '1M', '1.2M', '46M', '2.1G']
    """
    if count < 10_000:
        return str(count)
    for size, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        of_it = count / size
        if of_it >= 0.9995:
            return f"{of_it:.1f}".removesuffix(".0") + letter if of_it < 9.95 else f"{of_it:.0f}{letter}"
    return str(count)


def format_percent(ratio: float) -> str:
    """Return a ratio as a percentage with one decimal.

    >>> format_percent(94 / 97)
    '96.9%'
    """
    return f"{ratio * 100:.1f}%"


def plural(count: int, noun: str, several: str | None = None) -> str:
    """Return the count with its noun in the right number.

    >>> plural(1, "session"), plural(3, "query", "queries")
    ('1 session', '3 queries')
    """
    return f"{count} {noun if count == 1 else several or noun + 's'}"
