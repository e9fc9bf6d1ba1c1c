"""The server's own remedies for leaks: its timeouts, who overrides them, and whose values we were shown."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from connaudit.engines.postgresql.text import decode_name
from connaudit.snapshot import Fact, Gap, Guard

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_VALUE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)?\s*")
_SERVER_WIDE = {"default", "configuration file", "command line", "environment variable", "global", "override"}


class SettingRow(NamedTuple):
    """A row of SETTINGS."""

    name: bytes
    setting: bytes
    unit: bytes | None
    source: bytes


class OverrideRow(NamedTuple):
    """A row of OVERRIDES."""

    role: bytes | None
    database: bytes | None
    name: bytes
    value: bytes


def seconds(value: str, unit: str | None) -> float | None:
    """Return a setting in seconds, a bare number being in the setting's own unit; None if it is no duration.

    >>> seconds("5min", "ms"), seconds("1500", "ms"), seconds("9", None)
    (300.0, 1.5, 9.0)
    """
    match = _VALUE.fullmatch(value)
    if match is None:
        return None
    return float(match[1]) * _SECONDS.get(match[2] or unit or "s", 1.0)


def guards(settings: Iterable[SettingRow], overrides: Iterable[OverrideRow], encoding: str) -> tuple[Guard, ...]:
    """Return those settings whose values hold for the whole server."""
    by_name: dict[bytes, list[OverrideRow]] = {}
    for row in overrides:
        by_name.setdefault(row.name, []).append(row)
    return tuple(
        _guard(row, by_name.get(row.name, []), encoding) for row in settings if _is_server_wide(row) and _is_told(row)
    )


def _is_server_wide(row: SettingRow) -> bool:
    return row.source.decode() in _SERVER_WIDE


def _is_told(row: SettingRow) -> bool:
    """Return whether it is a value: on TCP settings 0 is what the operating system decides, not `off`."""
    return not (row.name.startswith(b"tcp_") and row.setting == b"0")


def _guard(row: SettingRow, overrides: list[OverrideRow], encoding: str) -> Guard:
    unit = row.unit.decode() if row.unit else None
    found = [(_whom(o, encoding), seconds(o.value.decode("ascii", "replace"), unit)) for o in overrides]
    return Guard(
        row.name.decode(),
        seconds(row.setting.decode(), unit),
        row.source.decode(),
        tuple(sorted((whom, value) for whom, value in found if value is not None)),
    )


def _whom(row: OverrideRow, encoding: str) -> str:
    role = decode_name(row.role, encoding) if row.role is not None else ""
    return role + (f"@{decode_name(row.database, encoding)}" if row.database is not None else "")


def hidden(settings: Iterable[SettingRow]) -> tuple[Gap, ...]:
    """Return a gap for settings that our own role, database or client has set: the server's own value lies beneath."""
    names = [row.name.decode() for row in settings if not _is_server_wide(row)]
    if not names:
        return ()
    why = f"{', '.join(names)}: set for our own role, database or session, so the server's value was not shown"
    return (Gap(Fact.GUARDS, why, "audit as a role and database without such settings", partial=True),)
