"""The seam to libpq: every use of it is here, non-blocking, with values as the bytes that the server sent.

Texts of other databases come in other encodings than ours, so nobody but the reader of a row may decode them;
and only libpq's own state tells exactly how far an attempt to connect has come.
"""

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from connaudit.dataclass import dataclass
from connaudit.engines.postgresql.binding import OperationalError, abc, pq
from connaudit.engines.postgresql.loop import FAREWELL, Steps, Wait

_STAGES = {
    pq.ConnStatus.STARTED: "tcp",
    pq.ConnStatus.NEEDED: "tcp",
    pq.ConnStatus.SSL_STARTUP: "tls",
    pq.ConnStatus.GSS_STARTUP: "tls",
}
_SQLSTATE = pq.DiagnosticField.SQLSTATE
_PRIMARY = pq.DiagnosticField.MESSAGE_PRIMARY
_SEVERITY = pq.DiagnosticField.SEVERITY_NONLOCALIZED
Row = tuple[bytes | None, ...]


class ConnectFailed(Exception):
    """The attempt to connect failed; `text` is what libpq says, one line for each address it tried."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Broken(Exception):
    """The connection was lost, or the server ended it; `text` says why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one statement: rows, or an SQLSTATE with its message."""

    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    sqlstate: str | None = None
    message: str = ""


def _tell_sqlstate(pg: Any) -> None:
    """Have libpq put the SQLSTATE into the errors of a login, whose sentences may be in any language.

    psycopg has no name for the function; its compiled binding is linked with the libpq that has it. Where there is no
    such binding the sentences must do.
    """
    binding = getattr(sys.modules[type(pg).__module__], "__file__", None)
    with suppress(OSError, AttributeError):
        verbose = 2  # PQERRORS_VERBOSE
        ctypes.CDLL(binding).PQsetErrorVerbosity(ctypes.c_void_p(pg.pgconn_ptr), verbose)


class Connection:
    """One connection, from its first packet to its end; `stage` tells how far it is, `stages` how long each took."""

    def __init__(self, conninfo: str) -> None:
        self._pg = pq.PGconn.connect_start(conninfo.encode())
        _tell_sqlstate(self._pg)
        self._in_query = False
        self.stage = "tcp"
        self.stages: dict[str, float] = {}
        self._since = time.monotonic()

    def connect(self, until: float) -> Steps[bool]:
        """Connect and log in; return False when `until` came first. ConnectFailed says why there is no connection."""
        while True:
            if self._pg.status == pq.ConnStatus.BAD:
                raise ConnectFailed(self._error())
            status = self._pg.connect_poll()
            if status == pq.PollingStatus.OK:
                self._enter("query")
                self._pg.nonblocking = 1
                return True
            if status == pq.PollingStatus.FAILED:
                raise ConnectFailed(self._error())
            if self._pg.status != pq.ConnStatus.MADE:  # connected, and about to begin the next stage
                self._enter(_STAGES.get(pq.ConnStatus(self._pg.status), "login"))
            if not (yield Wait(until, self._pg.socket, status == pq.PollingStatus.WRITING)):
                return False

    def _enter(self, stage: str) -> None:
        now = time.monotonic()
        self.stages[self.stage] = self.stages.get(self.stage, 0.0) + now - self._since
        self.stage, self._since = stage, now

    def _error(self) -> str:
        return self._pg.get_error_message("utf-8").strip()

    def query(self, sql: str, until: float) -> Steps[list[Result] | None]:
        """Send statements as one simple query; return an answer for each, up to the first error.

        None when `until` came first: then the statements still run, until `close` cancels them.
        """
        self._in_query = True
        try:
            self._pg.send_query(sql.encode())
            while self._pg.flush():
                if not (yield Wait(until, self._pg.socket, write=True)):
                    return None
            results: list[Result] = []
            while True:
                self._pg.consume_input()
                while not self._pg.is_busy():
                    answer = self._pg.get_result()
                    if answer is None:
                        self._in_query = False
                        self._enter("query")
                        return results
                    results.append(self._read(answer))
                if not (yield Wait(until, self._pg.socket)):
                    return None
        except OperationalError:
            self._in_query = False
            raise Broken(self._last_words() or self._error()) from None

    def _last_words(self) -> str | None:
        """Return why the server ended the connection, where that came together with the end and is not read yet."""
        while self._pg.status == pq.ConnStatus.BAD and (answer := self._pg.get_result()) is not None:
            if said := _fatal(answer):
                return said[0]
        return None

    def wake(self) -> str | None:
        """Take up a connection that has rested; return why it was lost meanwhile, None if it is there for all we know.

        What each stage takes is counted anew.
        """
        self.stages, self._since = {}, time.monotonic()
        last_words: list[str] = []
        self._pg.notice_handler = lambda notice: last_words.extend(_fatal(notice))
        try:
            for _ in range(2):  # what the server said last, and then that nothing more comes
                self._pg.consume_input()
                self._pg.is_busy()
        except OperationalError:
            return last_words[-1] if last_words else self._error().partition("\n")[0]
        finally:
            self._pg.notice_handler = None
        return last_words[-1] if last_words else None

    def _read(self, answer: abc.PGresult) -> Result:
        """Copy an answer out of libpq, whose memory is given back at once."""
        if answer.status == pq.ExecStatus.TUPLES_OK:
            get, width = answer.get_value, range(answer.nfields)
            rows = tuple(tuple([get(row, column) for column in width]) for row in range(answer.ntuples))
            return Result(tuple((answer.fname(column) or b"").decode() for column in width), rows)
        if answer.status == pq.ExecStatus.COMMAND_OK:
            return Result()
        message = (answer.error_field(_PRIMARY) or answer.error_message).decode("utf-8", "backslashreplace")
        state = answer.error_field(_SQLSTATE)
        if state is None or _fatal(answer) or self._pg.status == pq.ConnStatus.BAD:
            self._in_query = False
            raise Broken(message.strip())
        return Result(sqlstate=state.decode(), message=message.strip())

    def close(self, leave: Callable[[Steps[None]], None]) -> None:
        """End the connection; a statement that still runs is cancelled by a request given to `leave`."""
        if self._in_query and self._pg.status == pq.ConnStatus.OK:
            leave(_cancel(self._pg))
        self._pg.finish()

    @property
    def server_version(self) -> int:
        """Return the version as libpq reads it: 160014 is 16.14."""
        return self._pg.server_version

    @property
    def backend_pid(self) -> int:
        """Return the process that the peer says serves us; a pooler tells one of its own making."""
        return self._pg.backend_pid

    @property
    def uses_tls(self) -> bool:
        """Return whether the connection is encrypted by TLS."""
        return bool(self._pg.ssl_in_use)

    @property
    def where(self) -> tuple[str, str, str]:
        """Return host, address and port in use; of an attempt, those that are being tried."""
        return _text(self._pg.host), _text(self._pg.hostaddr), _text(self._pg.port)

    @property
    def login(self) -> tuple[str, str]:
        """Return role and database, as libpq chose them."""
        return _text(self._pg.user), _text(self._pg.db)

    def parameter(self, name: str) -> str | None:
        """Return what the server said of itself at login."""
        value = self._pg.parameter_status(name.encode())
        return None if value is None else _text(value)


def _fatal(notice: abc.PGresult) -> list[str]:
    """Return the message with which the server ends the connection, if this is one."""
    is_fatal = notice.error_field(_SEVERITY) in (b"FATAL", b"PANIC")
    return [_text(notice.error_field(_PRIMARY))] if is_fatal else []


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "backslashreplace")


def _cancel(connection: abc.PGconn) -> Steps[None]:
    """Ask the server to cancel what the connection runs; made at once, sent by the loop."""
    if pq.version() < 170000:  # no non-blocking cancel request before libpq 17
        request = connection.get_cancel()
        return _in_thread(request)
    return _non_blocking(connection.cancel_conn())


def _in_thread(request: abc.PGcancel) -> Steps[None]:
    threading.Thread(target=request.cancel, name="connaudit-cancel", daemon=True).start()
    yield Wait(time.monotonic() + FAREWELL)


def _non_blocking(request: abc.PGcancelConn) -> Steps[None]:
    until = time.monotonic() + FAREWELL
    try:
        request.start()
        while True:
            status = request.poll()
            if status in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
                return
            if not (yield Wait(until, request.socket, status == pq.PollingStatus.WRITING)):
                return
    except OperationalError:
        return  # the server is gone, and with it the statement
    finally:
        request.finish()
