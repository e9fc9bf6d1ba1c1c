"""Other people's text on a terminal: made harmless, measured in cells, cut and folded.

Names of applications, users and hosts, and statements, are written by whoever connects. They may hold escape
sequences, marks that turn the direction of writing, or commands to a CI system that reads logs.
"""

import re
from collections.abc import Iterator

MARK = "..."  # where something was cut off

# Every blank that Unicode knows but its line and paragraph separators: those are shown, as control characters are.
_BLANKS = re.compile("[ \t\r\n\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
# Printable by category, yet nothing is seen: joiners, fillers, selectors (Default_Ignorable_Code_Point).
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_ADDRESS = re.compile(r"::[0-9A-Fa-f.:]*(?:/\d+)?(?=\s|$)")  # ::1, ::ffff:10.0.0.1


def clean(text: str) -> str:
    r"""Return text on one line in which everything can be seen, for any human reader.

    Runs of blanks become one blank. Controls, marks of direction, invisible and unassigned characters and halves of
    surrogate pairs become escapes. `##[` is broken, because GitHub's runners obey it anywhere in a line of any log.

    >>> print(clean("\x1b[31mred\u202e  \n  select 1"))
    \x1b[31mred\u202e select 1
    """
    if text.isascii() and text.isprintable() and "  " not in text and "##[" not in text and text.strip(" ") == text:
        return text
    flat = _BLANKS.sub(" ", text).strip(" ")
    if not flat.isprintable():
        flat = "".join(character if character.isprintable() else escaped(character) for character in flat)
    if not flat.isascii():
        flat = _INVISIBLE.sub(lambda match: escaped(match[0]), flat)
    return flat.replace("##[", r"#\x23[")


def escaped(character: str) -> str:
    r"""Return one character as Python would write it, whatever it is.

    >>> print(escaped("\x1b"), escaped("\u202e"), escaped("\U000e0001"))
    \x1b \u202e \U000e0001
    """
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def to_ascii(text: str) -> str:
    r"""Return text with everything beyond ASCII escaped, for a stream that carries no more.

    >>> print(to_ascii("表 1"))
    \u8868 1
    """
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode("ascii")


def guarded(text: str) -> str:
    r"""Return text that may begin a line: GitHub's runners obey a line that begins with `::`, after blanks too.

    >>> print(guarded("::error::boo"), guarded("::1"))
    \x3a:error::boo ::1
    """
    if not text.startswith("::") or _ADDRESS.match(text):
        return text
    return r"\x3a" + text[1:]


def cell_width(text: str) -> int:
    """Return the cells that cleaned text takes on a terminal; characters of East Asia take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # 20 ms that plain text need not pay

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """Return cleaned text in at most that many cells, with a mark where something is missing.

    >>> cut("select 1", 8), cut("select 12", 8)
    ('select 1', 'selec...')
    """
    if cell_width(text) <= width:
        return text
    if width <= len(MARK):
        return MARK[:width]
    return _prefix(text, width - len(MARK)) + MARK


def _prefix(text: str, width: int) -> str:
    """Return as much of the beginning as fits; never half of a wide character."""
    if text.isascii():
        return text[:width]
    used = 0
    for index, character in enumerate(text):
        used += cell_width(character)
        if used > width:
            return text[:index]
    return text


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return text filled with blanks to that many cells."""
    blanks = " " * (width - cell_width(text))
    return blanks + text if right else text + blanks


def fold(text: str, width: int | None, indent: int = 0) -> list[str]:
    """Return cleaned text in lines of at most `width` cells, all but the first indented.

    >>> fold("94 of 97 in use", 10, indent=2)
    ['94 of 97', '  in use']
    """
    if width is None or cell_width(text) <= width:
        return [guarded(text)]
    indent = min(indent, width // 2)
    lines: list[str] = []
    line = ""
    for piece in _pieces(text, max(width - indent, 1)):
        if not line.strip():
            line += piece
        elif cell_width(line) + 1 + cell_width(piece) <= width:
            line += " " + piece
        else:
            lines.append(line)
            line = " " * indent + piece
    return [*lines, line]


def _pieces(text: str, width: int) -> Iterator[str]:
    """Yield the words, those too long in parts that fit; a character wider than the line is a dot."""
    for word in map(guarded, text.split(" ")):
        rest = word
        while cell_width(rest) > width:
            part = _prefix(rest, width) or "."
            yield part
            rest = rest[len(part) :]
        if rest:
            yield rest
