"""libpq's keyword strings: `host=db1 dbname=shop password='it''s'` in libpq's own quoting."""

import re

from connaudit.targets.malformed import Malformed

_BLANK = " \t\n\v\f\r"
_KEY = re.compile(rf"[{_BLANK}]*([^={_BLANK}]+)[{_BLANK}]*")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_PLAIN = re.compile(rf"(?:[^\\{_BLANK}]|\\.)*\\?", re.DOTALL)


def split(text: str) -> tuple[tuple[str, str, int], ...]:
    r"""Return (keyword, value, position of the keyword), as libpq reads them (fe-connect.c, conninfo_parse).

    >>> split(r"host=/tmp password='a b\'c' user=x\ y")
    (('host', '/tmp', 1), ('password', "a b'c", 11), ('user', 'x y', 29))
    """
    if (at := text.find("\0")) >= 0:
        raise Malformed("a NUL character ends what libpq would read", at + 1)
    pairs = []
    at = 0
    while text[at:].strip(_BLANK):
        at += len(text[at:]) - len(text[at:].lstrip(_BLANK))
        key = _KEY.match(text, at)
        if not key or text[key.end() : key.end() + 1] != "=":
            raise Malformed('after a keyword stands "="; a value with blanks stands in single quotes', at + 1)
        value, end = _value(text, key.end() + 1)
        pairs.append((key[1], value, at + 1))
        at = end
    return tuple(pairs)


def _value(text: str, at: int) -> tuple[str, int]:
    """Return the value that begins here or after blanks, and where it ends."""
    at += len(text[at:]) - len(text[at:].lstrip(_BLANK))
    if not text.startswith("'", at):
        plain = _PLAIN.match(text, at)
        assert plain  # it matches nothing at all  # noqa: S101
        return _unescape(plain[0]), plain.end()
    quoted = _QUOTED.match(text, at)
    if not quoted:
        raise Malformed("a quoted value is not closed", at + 1)
    return _unescape(quoted[1]), quoted.end()


def _unescape(value: str) -> str:
    return re.sub(r"\\(.?)", r"\1", value, flags=re.DOTALL)
