"""Visits to one server: connect if need be, ask, and keep the connection or leave."""

from dataclasses import replace

import pymysql

from connaudit.engines import Taken
from connaudit.engines.mysql import failures
from connaudit.engines.mysql.attempt import Attempt
from connaudit.engines.mysql.reading import read
from connaudit.engines.mysql.wire import Refusal, Wire, connected
from connaudit.errors import TargetError
from connaudit.snapshot import Fact, Snapshot
from connaudit.targets import Host, Target


class Visitor:
    """Visits one server as often as wanted, over one connection that rests in between.

    One that broke, or on which a statement did not end in time, is given up: the next visit makes a new one.
    """

    def __init__(self, target: Target, facts: frozenset[Fact], *, keep: bool) -> None:
        self.target = target
        self._facts = facts
        self._keep = keep  # False: each visit ends the connection
        self._kept: tuple[Wire, Host] | None = None

    def another(self) -> "Visitor":
        """Return somebody for the same visits, where this one is stuck."""
        return Visitor(self.target, self._facts, keep=self._keep)

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection; one that was lost meanwhile counts until it is wanted."""
        return self._kept is not None

    def visit(self, attempt: Attempt) -> Taken:
        """Return a snapshot, or why there is none; a driver's error is dropped, for its frames hold the password."""
        can_stay = False
        try:
            snapshot = self._snapshot(attempt)
            can_stay = self._keep and not attempt.over
        except TargetError as error:
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        finally:
            is_open = attempt.end()
            if not (can_stay and is_open):
                self.leave()
        return snapshot

    def _snapshot(self, attempt: Attempt) -> Snapshot:
        lost = self._wake(attempt)
        self._kept = wire, host = self._kept or connected(self.target, attempt)
        attempt.enter("query")
        failure: TargetError
        try:
            snapshot = read(wire, self.target, host, self._facts, attempt)
            if self._keep:
                wire.rest()
        except Refusal as refusal:
            failure = failures.of_statement(refusal.code, refusal.text)
        except pymysql.MySQLError as error:
            failure = failures.of_driver(error, attempt)
        else:
            return replace(snapshot, notes=(*snapshot.notes, f"connected anew: {lost}")) if lost else snapshot
        raise failure

    def _wake(self, attempt: Attempt) -> str | None:
        """Return why the connection was lost since the last visit, if it was; there will be a new one."""
        if self._kept is None:
            return None
        wire, _ = self._kept
        try:
            wire.wake(attempt)
        except pymysql.MySQLError as error:
            lost = failures.of_driver(error, attempt).message
        else:
            return None
        self.leave()
        return lost

    def leave(self) -> None:
        """End the connection, if there is one."""
        if self._kept:
            wire, _ = self._kept
            self._kept = None
            wire.close()
