"""Bytes of other databases into text: each by its own encoding, and never an exception."""

import codecs
import re
from functools import cache

# PostgreSQL's names where Python's own rules for names do not lead to the same codec.
# SQL_ASCII says that nobody knows; UTF-8 is the best guess. EUC_TW and MULE_INTERNAL have no codec in Python.
_CODECS = {
    "SQL_ASCII": "utf-8",
    "UTF8": "utf-8",
    "EUC_CN": "gb2312",
    "EUC_JIS_2004": "euc_jis_2004",
    "EUC_TW": "ascii",
    "MULE_INTERNAL": "ascii",
    "LATIN1": "iso8859-1",
    "LATIN2": "iso8859-2",
    "LATIN3": "iso8859-3",
    "LATIN4": "iso8859-4",
    "LATIN5": "iso8859-9",
    "LATIN6": "iso8859-10",
    "LATIN7": "iso8859-13",
    "LATIN8": "iso8859-14",
    "LATIN9": "iso8859-15",
    "LATIN10": "iso8859-16",
    "WIN866": "cp866",
    "WIN874": "cp874",
    "KOI8R": "koi8-r",
    "KOI8U": "koi8-u",
}
_ESCAPED = re.compile(rb"\\(\\|[0-7]{3})")


@cache
def codec_of(encoding: str) -> codecs.CodecInfo:
    """Return Python's codec for a server encoding; UTF-8 for one that it does not know.

    >>> codec_of("WIN1251").name, codec_of("EUC_JP").name, codec_of("LATIN5").name
    ('cp1251', 'euc_jp', 'iso8859-9')
    """
    name = _CODECS.get(encoding) or re.sub(r"^WIN(?=\d)", "cp", encoding).replace("ISO_", "iso")
    try:
        return codecs.lookup(name)
    except LookupError:
        return codecs.lookup("utf-8")


def decode(raw: bytes, encoding: str, *, cut: bool = False) -> str:
    r"""Return the text; what the encoding cannot say is written as `\xe9`. A character cut in two is left off.

    >>> decode(b"caf\xe9", "LATIN1"), decode(b"caf\xe9", "UTF8"), decode(b"caf\xc3", "UTF8", cut=True)
    ('café', 'caf\\xe9', 'caf')
    """
    codec = codec_of(encoding)
    if cut and codec.incrementaldecoder is not None:
        return codec.incrementaldecoder("backslashreplace").decode(raw)
    return codec.decode(raw, "backslashreplace")[0]


def decode_name(raw: bytes, encoding: str) -> str:
    """Return a name that all databases share, which has the encoding of whoever created it: UTF-8, or else ours."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return decode(raw, encoding)


def unescape(raw: bytes) -> bytes:
    r"""Return the bytes that bytea_output = escape stands for.

    >>> unescape(rb"a\\b\303\251")
    b'a\\b\xc3\xa9'
    """
    if b"\\" not in raw:
        return raw
    return _ESCAPED.sub(lambda match: b"\\" if match[1] == b"\\" else bytes([int(match[1], 8)]), raw)
