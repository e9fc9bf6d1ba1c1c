"""The driver's and the network's errors in our words: translated where they are caught, and then dropped.

A driver's exception never leaves: its frames hold the connection, and that the password.
"""

import socket
import struct

import pymysql

from connaudit.engines.mysql.attempt import Attempt
from connaudit.errors import (
    LoginRefused,
    NameUnknown,
    NoDatabase,
    NoSlotsLeft,
    NotAllowed,
    NotUnderstood,
    QueryFailed,
    Refused,
    TargetError,
    TimedOut,
    TlsFailed,
)

# What a peer that speaks something else makes of the driver's parsing.
GARBAGE = (IndexError, ValueError, struct.error, AssertionError, pymysql.err.InternalError)
MISSING_PACKAGE = 'pip install "connaudit[mysql-auth]"'

_SPARE_DOOR = (
    "let connaudit's account have CONNECTION_ADMIN (MariaDB: CONNECTION ADMIN) for the one extra slot, "
    "or use the server's admin_port (MySQL 8) or extra_port (MariaDB)"
)
_NO_SLOTS = {
    1040: ("server", "the server is full: too many connections", _SPARE_DOOR),
    1203: ("role", "the account has max_user_connections connections already", "audit as an account of its own"),
    1226: ("role", "the account has as many connections as it may", "audit as an account of its own"),
}
_EXPIRED = "the password has expired: set a new one with ALTER USER"
_LOCKED = "the account is locked: ALTER USER ... ACCOUNT UNLOCK"
_MUST_CHANGE = 1820  # lets one in, and do nothing but set a new password
_REFUSED_LOGIN = {
    1129: "run FLUSH HOSTS on the server (TRUNCATE TABLE performance_schema.host_cache), and see what kept failing",
    1130: "the account's host part does not cover this client",
    1698: "the account takes no password: it is for the system's user of its name, by the Unix socket",
    _MUST_CHANGE: _EXPIRED,
    1862: _EXPIRED,
    2059: "PyMySQL knows mysql_native_password, caching_sha2_password, sha256_password and ed25519",
    3118: _LOCKED,
    4151: _LOCKED,  # MariaDB
}
DENIED = (1142, 1143, 1227, 1356, 1370, 1401)  # table, column, global privilege, view, routine, XA RECOVER
_NO_DATABASE = (1044, 1049)
_LOST = (2006, 2013)
_ENDED = {1053: "the server is shutting down", 1927: "the connection was killed", 4031: "the server closed it as idle"}
_TOO_LONG = (1969, 3024)  # MariaDB, MySQL: a statement ran into the limit that we set


def of_statement(code: int, text: str) -> TargetError:
    """Translate what the server said of a statement that it would not run."""
    said = f"{text} ({code})"
    if code == _MUST_CHANGE:
        return LoginRefused(said, stage="login", hint=_EXPIRED)
    return (NotAllowed if code in DENIED else QueryFailed)(said, stage="query")


def of_name(error: OSError | UnicodeError, host: str) -> TargetError:
    """Translate a failed name lookup."""
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return NameUnknown(f"the name {host} cannot be looked up now: {error.strerror}", stage="dns")
    return NameUnknown(f"the name {host} has no address", stage="dns", hint="check the spelling, or the resolver")


def of_system(error: OSError) -> TargetError:
    """Translate that this machine has no socket for us."""
    hint = "raise the limit (ulimit -n), or audit fewer at once (--jobs)"
    return QueryFailed(f"no socket can be opened: {error.strerror}", stage="tcp", hint=hint)


def of_network(error: OSError, place: str, attempt: Attempt) -> TargetError:
    """Translate a failed connect to `place`."""
    if isinstance(error, TimeoutError) or attempt.over:
        return attempt.timed_out()
    if isinstance(error, FileNotFoundError):
        return Refused(f"there is no socket {place}", stage="tcp", hint="is the server running, and the path right?")
    if isinstance(error, ConnectionRefusedError):
        return Refused(f"nobody listens on {place}", stage="tcp", hint="is the server running, and the port right?")
    return Refused(f"cannot connect to {place}: {error.strerror or error}", stage="tcp")


def of_driver(error: pymysql.MySQLError, attempt: Attempt) -> TargetError:
    """Translate what PyMySQL raised."""
    code, text = code_and_text(error)
    stage = attempt.stage
    if code in _NO_SLOTS:
        return _no_slots(code, text, stage)
    if code in _LOST or code == 2003:
        return _lost(attempt)
    if code in _NO_DATABASE:
        return NoDatabase(text, stage=stage)
    if code == 2026 or code == 3159:
        hint = None if code == 2026 else "the server demands TLS: ssl-mode=REQUIRED"
        return TlsFailed("the server offers no TLS" if code == 2026 else text, stage="tls", hint=hint)
    if code in _ENDED:
        return QueryFailed(_ENDED[code], stage=stage)
    if code in _TOO_LONG:
        return TimedOut(f"a statement took longer than its limit: {text}", stage=stage)
    if code in DENIED:
        return NotAllowed(text, stage=stage)
    if code is None:
        return NotUnderstood(f"the server's answer makes no sense: {text}", stage=stage)
    if stage == "query":
        return QueryFailed(f"{text} ({code})", stage=stage)
    return LoginRefused(f"{text} ({code})", stage=stage, hint=_REFUSED_LOGIN.get(code))


def _no_slots(code: int, text: str, stage: str) -> TargetError:
    limit, message, hint = _NO_SLOTS[code]
    if code == 1226 and "max_user_connections" not in text:
        return LoginRefused(f"{message}: {text}", stage=stage)
    return NoSlotsLeft(f"{message} ({code})", limit=limit, stage=stage, hint=hint)


def _lost(attempt: Attempt) -> TargetError:
    if attempt.over:
        return attempt.timed_out()
    kind = QueryFailed if attempt.stage == "query" else Refused
    return kind(f"the server closed the connection during {attempt.stage}", stage=attempt.stage)


def of_package() -> TargetError:
    """Translate PyMySQL's RuntimeError: the account's authentication needs a package that is not installed."""
    message = "the account's way of authentication needs a Python package that is not installed"
    return LoginRefused(message, stage="login", hint=MISSING_PACKAGE)


def code_and_text(error: pymysql.MySQLError) -> tuple[int | None, str]:
    """Return the error number, None if it has none, and the server's or driver's text in one line."""
    first, *rest = error.args or (None,)
    if isinstance(first, int) and first:
        return first, " ".join(str(part) for part in rest).replace("\n", " ")
    return None, " ".join(str(part) for part in error.args).replace("\n", " ") or type(error).__name__
