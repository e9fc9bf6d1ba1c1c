"""Comments by which frameworks say what code a statement comes from: sqlcommenter's and marginalia's.

    /*controller='cart',framework='django%3A5.2',route='cart/%3Cid%3E'*/     sqlcommenter: quoted, percent-encoded
    /*application:Shop,controller:orders,action:show*/                       marginalia, as Rails and others write it

They stand before the statement or behind it. Servers cut long texts, so the last one may end in the middle: what is
whole of it counts.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from connaudit.dataclass import dataclass
from connaudit.sqltext import comments

_QUOTED = re.compile(r"\s*(?P<key>[^=,'\s]+)\s*=\s*'(?P<value>(?:[^'\\]|\\.)*)'\s*(?P<more>,|$)", re.DOTALL)
_PLAIN = re.compile(r"\s*(?P<key>[A-Za-z_][\w.-]*):(?!\s)")
_DOUBLED = re.compile(r"%%(?=[0-9A-Fa-f]{2})")
# What the parts are called by those who write them: sqlcommenter, OpenTelemetry, Rails, marginalia, Prisma.
_MEANING = {
    "application": "application",
    "app": "application",
    "app_name": "application",
    "framework": "framework",
    "controller": "controller",
    "namespaced_controller": "controller",
    "action": "action",
    "route": "route",
    "job": "job",
    "task": "job",
    "file": "place",
    "line": "place",
    "source_location": "place",
    "caller": "place",
    "function": "function",
    "func": "function",
    "traceparent": "trace",
}


@dataclass(frozen=True, slots=True)
class Tags:
    """What a statement's comments say of the code it comes from. None: nothing."""

    application: str | None = None
    framework: str | None = None
    route: str | None = None
    controller: str | None = None
    action: str | None = None
    job: str | None = None
    place: str | None = None  # file:line
    function: str | None = None
    trace: str | None = None  # the id of W3C's traceparent
    others: tuple[tuple[str, str], ...] = ()

    @property
    def code(self) -> str | None:
        """Return the part that says most about where the code is."""
        controller = "#".join(part for part in (self.controller, self.action) if part)
        return self.place or self.function or self.route or controller or self.job


def tags(sql: str | None, engine: str = "postgresql") -> Tags | None:
    """Return what the comments of a statement say; None if none of them is a tag.

    >>> tags("select 1 /*application:Shop,controller:orders,action:show,line:/app/models/order.rb:12:in 'find'*/").code
    '/app/models/order.rb:12'
    """
    found = pairs(sql or "", engine)
    if not found:
        return None
    meant: dict[str, str] = {}
    others = []
    for key, value in found.items():
        meaning = _MEANING.get(key.lower())
        if meaning is None or meaning in meant:
            others.append((key, value))
        else:
            meant[meaning] = _place(value) if meaning == "place" else _trace(value) if meaning == "trace" else value
    return Tags(**meant, others=tuple(others))


def pairs(sql: str, engine: str = "postgresql") -> dict[str, str]:
    """Return the keys and values of a statement's tags, decoded; of a key that comes twice the first counts."""
    found: dict[str, str] = {}
    for comment in comments(sql, engine):
        if comment.startswith("/*") and not comment.startswith("/*+"):
            is_whole = comment.endswith("*/") and len(comment) > 3
            inside = comment[2:-2] if is_whole else comment[2:]
            for key, value in _sqlcommenter(inside, is_whole) or _marginalia(inside, is_whole):
                found.setdefault(key, value)
    return found


def _sqlcommenter(inside: str, is_whole: bool) -> list[tuple[str, str]]:
    """Return the pairs of one comment; none if any of it is not of that form, but for an end that was cut off."""
    found = []
    place = 0
    while match := _QUOTED.match(inside, place):
        found.append((_decoded(match["key"]), _decoded(match["value"])))
        place = match.end()
        if not match["more"]:
            return found
    return found if found and (not is_whole or not inside[place:].strip()) else []


def _decoded(text: str) -> str:
    r"""Return a value as it was before encoding.

    Some libraries double each % for drivers that take it for a parameter, and not every driver halves it again.
    """
    return unquote(_DOUBLED.sub("%", re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)), errors="backslashreplace")


def _marginalia(inside: str, is_whole: bool) -> list[tuple[str, str]]:
    """Return the pairs of one comment; none unless one of them has a known name: a remark may hold a colon, too."""
    found: list[tuple[str, str]] = []
    for part in inside.split(","):
        match = _PLAIN.match(part)
        if match:
            found.append((match["key"], part[match.end() :].strip()))
        elif found:  # a comma inside a value
            found[-1] = (found[-1][0], f"{found[-1][1]},{part}".strip())
        else:
            return []
    if not is_whole:
        found = found[:-1]
    return found if any(key.lower() in _MEANING for key, _ in found) else []


def _place(value: str) -> str:
    """Return file:line of what Ruby says of a caller.

    >>> _place("/app/models/order.rb:12:in 'find'")
    '/app/models/order.rb:12'
    """
    return re.sub(r"(:\d+):in\b.*$", r"\1", value, flags=re.DOTALL)


def _trace(value: str) -> str:
    """Return the trace id of a traceparent; what has another form stays."""
    parts = value.split("-")
    return parts[1] if len(parts) == 4 else value


def described(found: Tags) -> Iterator[tuple[str, str]]:
    """Yield what is told, by its name for people."""
    for name in ("application", "framework", "route", "controller", "action", "job", "place", "function", "trace"):
        value = getattr(found, name)
        if value is not None:
            yield name, value
    yield from found.others
