"""Cells of the text protocol, which arrive as bytes: other people's text in any encoding among them."""

from connaudit.engines.mysql.statements import TEXT_BYTES

PICOSECONDS = 1_000_000_000_000
_ROUNDED = 1.0  # seconds by which what has just begun may seem to lie ahead


def text(cell: bytes | None) -> str | None:
    r"""Return a cell as text, with what is no UTF-8 as backslash escapes; None for NULL.

    >>> text(b"caf\xe9")
    'caf\\xe9'
    """
    return None if cell is None else cell.decode("utf-8", "backslashreplace")


def words(cell: bytes | None) -> str | None:
    """Return a cell as text, None if there is nothing in it."""
    return text(cell) or None


def whole(cell: bytes | None) -> int | None:
    """Return a cell as an integer; None for NULL and for what is no number.

    >>> whole(b"12"), whole(b"-1"), whole(b"")
    (12, -1, None)
    """
    try:
        return None if cell is None else int(cell)
    except ValueError:
        return None


def number(cell: bytes | None) -> float | None:
    """Return a cell as a number; None for NULL and for what is none."""
    try:
        return None if cell is None else float(cell)
    except ValueError:
        return None


def age(cell: bytes | None) -> float | None:
    """Return whole seconds as an age; None where it is none, since a clock was set back.

    >>> age(b"7"), age(b"-1"), age(b"-3590")
    (7.0, 0.0, None)
    """
    seconds = number(cell)
    return None if seconds is None or seconds < -_ROUNDED else max(0.0, seconds)


def cut(statement: bytes | None) -> tuple[str | None, bool]:
    """Return a statement text of at most TEXT_BYTES, and whether it was longer; no character is cut in two.

    >>> cut(b"select 1")
    ('select 1', False)
    """
    if not statement or len(statement) <= TEXT_BYTES:
        return words(statement), False
    end = TEXT_BYTES
    while end > TEXT_BYTES - 4 and statement[end] & 0xC0 == 0x80:  # in the middle of a character
        end -= 1
    return words(statement[:end]), True
