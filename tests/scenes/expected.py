"""What a scene expects of a command: rows that it must list or must not, sums, gaps, verdicts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.servers import Client

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """A command must list a row once, with these values; a callable value is asked whether it accepts.

    `which` are the values that the row is known by: its session, or the identifier of a prepared transaction.
    """

    command: str
    which: Row
    values: Row

    def differences(self, report: Row) -> Iterable[str]:
        """Yield what is not so in one target's report."""
        rows = [row for row in report["rows"] if self.which.items() <= row.items()]
        if len(rows) != 1:
            yield f"{self.command} lists {self.which} {len(rows)} times"
            return
        yield from _unlike(self.command, rows[0], self.values)

    def contradictions(self, report: Row) -> Iterable[str]:
        """Yield what is not so for a role without grants: a row or a value may be absent, and not wrong."""
        for row in report["rows"]:
            if self.which.items() <= row.items():
                told = {key: value for key, value in self.values.items() if row[key] is not None}
                yield from _unlike(self.command, row, told)


@dataclass(frozen=True, slots=True)
class Missing:
    """A command must not list a session."""

    command: str
    client: Client

    def differences(self, report: Row) -> Iterable[str]:
        """Yield what is not so in one target's report."""
        if any(row["pid"] == self.client.id for row in report["rows"]):
            yield f"{self.command} lists session {self.client.id}"

    contradictions = differences


@dataclass(frozen=True, slots=True)
class Told:
    """A command's summary must have these values; how many there are is told without grants, but for these."""

    command: str
    values: Row
    needs_grants: bool = False

    def differences(self, report: Row) -> Iterable[str]:
        """Yield what is not so in one target's report."""
        yield from _unlike(f"{self.command}'s summary", report["summary"] or {}, self.values)

    def contradictions(self, report: Row) -> Iterable[str]:
        """Yield what is not so of what needs no grants."""
        keys = () if self.needs_grants else ("used", "walsenders", "limits")
        told = {key: value for key, value in self.values.items() if key in keys}
        yield from _unlike(f"{self.command}'s summary", report["summary"] or {}, told)


@dataclass(frozen=True, slots=True)
class Untold:
    """A command must say that something was not told, why, and the cure; `partial`: that it was told in part."""

    command: str
    fact: str
    why: str
    cure: str
    partial: bool = False

    def differences(self, report: Row) -> Iterable[str]:
        """Yield what is not so in one target's report."""
        wanted = (self.fact, self.partial)
        gaps = [gap for gap in report["gaps"] if (gap["fact"], gap["partial"]) == wanted and self.why in gap["why"]]
        if not any(self.cure in str(gap["cure"]) for gap in gaps):
            yield f"{self.command}: no gap {self} among {report['gaps']}"

    def contradictions(self, report: Row) -> Iterable[str]:
        """Yield nothing: a role without grants has gaps enough of its own."""
        return ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A command must come to this verdict, and find this."""

    command: str
    status: str
    codes: tuple[str, ...] = ()

    def differences(self, report: Row) -> Iterable[str]:
        """Yield what is not so in one target's report."""
        found = tuple(finding["code"] for finding in report["findings"])
        if (report["status"], found) != (self.status, self.codes):
            yield f"{self.command} says {report['status']} {found}"

    def contradictions(self, report: Row) -> Iterable[str]:
        """Yield nothing: it has its own verdict."""
        return ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A command must find that the server has no connection left, and say who may still come in."""

    command: str
    hint: str = ""

    def differences(self, report: Row) -> Iterable[str]:
        """Yield what is not so in one target's report."""
        error = report["error"] or {"kind": None, "hint": None}
        if (report["status"], error["kind"]) != ("critical", "too_many_connections") or (
            self.hint not in str(error["hint"])
        ):
            yield f"{self.command} says {report['status']} {report['error']}"

    def contradictions(self, report: Row) -> Iterable[str]:
        """Yield what is not so: a role without grants is let in no sooner."""
        return () if report["error"] else (f"{self.command} was let in",)


def _unlike(where: str, row: Row, values: Row) -> Iterable[str]:
    for key, expected in values.items():
        value = row.get(key, "not told")
        if not (expected(value) if callable(expected) else value == expected):
            yield f"{where}: {key} is {value!r}"


Expectation = Listed | Missing | Told | Untold | Verdict | Refused
Expected = list[Expectation]


def idle_tx(client: Client, /, **values: Any) -> Listed:
    """`idle-tx` must list the session."""
    return Listed("idle-tx", {"pid": client.id}, values)


def prepared(**values: Any) -> Listed:
    """`idle-tx` must list the one prepared transaction."""
    return Listed("idle-tx", {"pid": None}, {"state": "prepared", **values})


def long_query(client: Client, /, **values: Any) -> Listed:
    """`long-queries` must list the session."""
    return Listed("long-queries", {"pid": client.id}, values)


def blocking(client: Client | None, /, **values: Any) -> Listed:
    """`blocking` must list the session, or a prepared transaction for None."""
    return Listed("blocking", {"pid": client.id if client else 0}, values)


def not_idle_tx(client: Client) -> Missing:
    """`idle-tx` must not list the session."""
    return Missing("idle-tx", client)


def not_long(client: Client) -> Missing:
    """`long-queries` must not list the session."""
    return Missing("long-queries", client)


def not_blocking(client: Client) -> Missing:
    """`blocking` must not list the session."""
    return Missing("blocking", client)


def at_least(low: float) -> Callable[[Any], bool]:
    """Accept numbers from there on; None is none."""
    return lambda value: value is not None and value >= low


def between(low: float, high: float) -> Callable[[Any], bool]:
    """Accept numbers from one to the other; None is none."""
    return lambda value: value is not None and low <= value <= high


def containing(part: str) -> Callable[[Any], bool]:
    """Accept texts with this part."""
    return lambda value: isinstance(value, str) and part in value


def states(**expected: int) -> Callable[[Any], bool]:
    """Accept a list of states with these counts, with blanks for underscores."""
    wanted = {name.replace("_", " "): number for name, number in expected.items()}
    return lambda rows: {row["state"]: row["count"] for row in rows} == wanted
