"""A database URL in its parts.

Stricter than libpq and urllib where they guess: a password with an unencoded `@`, `/`, `#` or `?` in it is an error
here, not a connection to the wrong host with half a password in the name that is looked up.
"""

import re

from connaudit.dataclass import dataclass
from connaudit.targets.malformed import ENCODE, Malformed

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:_-]*\Z")
_NEVER_RAW = re.compile(r"[\x00-\x20\x7f#{}<>\s]")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(%[0-9A-Za-z_.-]+)?\Z")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a URL says, decoded. A part that is absent and one that is empty are the same: None."""

    scheme: str  # in lower case
    user: str | None
    password: str | None
    hosts: tuple[tuple[str, str], ...]  # (name, port), each "" where it was left out
    database: str | None
    query: tuple[tuple[str, str, int], ...]  # (key, value, position of the key)

    def __repr__(self) -> str:
        return f"Parts({self.scheme}://...)"


def split(text: str) -> Parts:
    """Return the parts of a URL; Malformed says where it is wrong."""
    scheme, separator, rest = text.partition("://")
    if not separator or not _SCHEME.match(scheme):
        raise Malformed("a URL begins with its scheme, such as postgresql:// or mysql://", 1)
    start = len(scheme) + 3
    _refuse_raw(rest, start)
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    user, password, places = _split_authority(rest[:end], start)
    path, _, query = rest[end:].partition("?")
    return Parts(
        scheme.lower(),
        user,
        password,
        _split_hosts(places, start + end - len(places)),
        _decode(path[1:], start + end + 1) or None,
        _split_query(query, start + end + len(path) + 1),
    )


def _refuse_raw(rest: str, start: int) -> None:
    if bad := _NEVER_RAW.search(rest):
        raise Malformed(ENCODE, start + bad.start() + 1)
    at = rest.find("@")
    end = re.search(r"[/?]", rest)
    if end and at > end.start():  # the end of a user or password that holds a raw / or ?
        raise Malformed(ENCODE, start + end.start() + 1)
    again = rest.find("@", at + 1)
    if at >= 0 and again >= 0:
        raise Malformed(ENCODE, start + at + 1)


def _split_authority(authority: str, start: int) -> tuple[str | None, str | None, str]:
    """Return user, password and the still encoded list of hosts."""
    userinfo, at, places = authority.rpartition("@")
    if not at:
        return None, None, authority
    user, _, password = userinfo.partition(":")
    return _decode(user, start) or None, _decode(password, start + len(user) + 1) or None, places


def _split_hosts(places: str, start: int) -> tuple[tuple[str, str], ...]:
    if not places:
        return ()
    hosts = []
    for place in places.split(","):
        hosts.append(_split_host(place, start))
        start += len(place) + 1
    return tuple(hosts)


def _split_host(place: str, start: int) -> tuple[str, str]:
    """Return name and port; a port that is no number is most often a password cut at its unencoded slash."""
    if place.startswith("["):
        inside, closed, after = place[1:].partition("]")
        if not closed:
            raise Malformed("the [ of an IPv6 address is not closed", start + 1)
        name = _decode(inside, start + 1)
        if not _IPV6.match(name) or (after and not after.startswith(":")):
            raise Malformed("in brackets belongs an IPv6 address, and a port after it", start + 1)
        return name, _port(after[1:], start + len(inside) + 3)
    name, colon, port = place.partition(":")
    if ":" in port:
        raise Malformed("an IPv6 address belongs in [brackets]", start + 1)
    return _decode(name, start), _port(port, start + len(name) + 1) if colon else ""


def _port(digits: str, start: int) -> str:
    if digits and not is_port(digits):
        raise Malformed(f"a port is a number from 1 to 65535 ({ENCODE})", start + 1)
    return digits


def is_port(digits: str) -> bool:
    """Whether a text is the number of a port.

    >>> is_port("5432"), is_port("0"), is_port("65536"), is_port("٣")
    (True, False, False, False)
    """
    return bool(re.fullmatch(r"[0-9]{1,5}", digits)) and 0 < int(digits) < 65536


def _split_query(query: str, start: int) -> tuple[tuple[str, str, int], ...]:
    pairs = []
    for pair in query.split("&") if query else ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise Malformed("each option after the ? is written key=value, several are joined by &", start + 1)
        pairs.append((_decode(key, start), _decode(value, start + len(key) + 1), start + 1))
        start += len(pair) + 1
    return tuple(pairs)


def _decode(part: str, start: int) -> str:
    """Return a part without its percent-encoding."""
    raw = part.encode("utf-8", "surrogateescape")
    for escape in _ESCAPE.finditer(raw):
        if escape[1] is None or escape[1] == b"00":
            at = len(raw[: escape.start()].decode("utf-8", "surrogateescape"))
            raise Malformed(f"after a % stand two hexadecimal digits, not 00 ({ENCODE})", start + at + 1)
    text = _utf8(_ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), raw))
    if text is None:
        raise Malformed("a percent-encoded part is not UTF-8", start + 1)
    return text


def _utf8(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:  # it holds the bytes, so nothing is raised in its context
        return None
